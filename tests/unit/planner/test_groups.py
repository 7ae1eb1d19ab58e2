"""Which substitutes share a step, and what leaves that alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from locks import drv_path, make_lock, store_path, substitute, substituted_lock

from nixbk.nix.store_path import StorePath
from nixbk.planner.groups import BUDGET, MOST, MOST_BYTES, batches, groups
from nixbk.schema.lock import LockedImage, LockedInstallable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.schema.lock import Lock

SMALL = [f"p{number}" for number in range(BUDGET - 1)]
NAMES = st.sets(st.from_regex(r"[a-z]{1,8}(-[a-z]{1,3})?(-[0-9]\.[0-9])?", fullmatch=True))
SIZES = st.integers(0, MOST_BYTES * 2)


def image_of(*names: str) -> LockedImage:
    """An image of what caches have."""
    paths = [(name, store_path(name)) for name in names]
    return LockedImage(
        ("linux/amd64",),
        tuple(LockedInstallable(str(path), None, ("out",), {"out": path}) for _, path in paths),
    )


def lock_of(
    sizes: dict[str, int],
    *images: Sequence[str],
    needed: Sequence[str] = (),
    fallback: bool = False,
) -> Lock:
    """A lock whose images are of what caches have, of which *needed* is the input of a build."""
    found = [substitute(name)._replace(nar_size=size) for name, size in sizes.items()]
    graph = {**{name: [] for name in sizes}, "app": list(needed)}
    lock = substituted_lock(make_lock(graph), found, fallback=fallback)
    made = {str(number): image_of(*names) for number, names in enumerate(images)}
    kept = {drv_path("app")} if needed else set()
    derivations = {path: drv for path, drv in lock.derivations.items() if path in kept}
    return replace(lock, images=made, sources={}, derivations=derivations)


def of_names(lock: Lock) -> list[list[list[str]]]:
    """The groups, by name."""
    return [[[path.name for path in root] for root in group] for group in groups(lock)]


def test_paths_of_own_layers_lie_in_own_roots() -> None:
    """Several to a step, and never as much as would take long."""
    found = of_names(lock_of(dict.fromkeys(SMALL, 100), SMALL))
    assert sorted(name for group in found for (name,) in group) == sorted(SMALL)
    assert BUDGET / MOST <= len(found) < BUDGET / 3
    large = of_names(lock_of(dict.fromkeys(SMALL, MOST_BYTES), SMALL))
    assert [len(group) for group in large] == [1] * len(SMALL)


def test_paths_of_one_layer_lie_in_one_root() -> None:
    """They are those that have none of their own, the smallest."""
    tiny = [f"q{number}" for number in range(20)]
    sizes = {**dict.fromkeys(SMALL, 100), **dict.fromkeys(tiny, 1)}
    found = of_names(lock_of(sizes, [*SMALL, *tiny]))
    (shared,) = [group for group in found if len(group[0]) > 1]
    assert len(shared) == 1
    assert sorted(shared[0]) == sorted(tiny)


def test_what_others_need_is_alone() -> None:
    """Another image, a build, or whoever builds what no cache has any more."""
    sizes = dict.fromkeys(SMALL, 100)
    together = of_names(lock_of(sizes, SMALL))
    for lock in (
        lock_of(sizes, SMALL, ["p1"]),
        lock_of(sizes, SMALL, needed=["p1"]),
    ):
        found = of_names(lock)
        assert [["p1"]] in found
        assert len(found) <= len(together) + 1
    assert all(len(group) == 1 for group in of_names(lock_of(sizes, SMALL, fallback=True)))


@given(NAMES, SIZES)
def test_batches_are_a_partition(names: set[str], size: int) -> None:
    """None is empty, too many, or too large with more than one."""
    sizes = {store_path(name): size for name in names}
    found = list(batches(sizes))
    assert sorted(path for batch in found for path in batch) == sorted(sizes)
    for batch in found:
        assert 1 <= len(batch) <= MOST
        assert len(batch) == 1 or len(batch) * size <= MOST_BYTES
        assert list(batch) == sorted(batch)


@given(NAMES.filter(bool), st.data())
def test_a_new_version_leaves_other_batches_alone(names: set[str], data: st.DataObject) -> None:
    """As does one that comes or goes, except where it parts two batches or joins them."""
    sizes = {store_path(name): 1 for name in names}
    changed = data.draw(st.sampled_from(sorted(sizes)))
    before = {tuple(batch) for batch in batches(sizes)}
    renewed = StorePath(bytes(20), changed.name)
    after = {tuple(batch) for batch in batches({**sizes, renewed: 1})}
    without = {tuple(batch) for batch in batches({p: 1 for p in sizes if p != changed})}
    run = _run_of(changed, sizes)
    for others in (after, without):
        assert all(run & {path.name for path in batch} for batch in before - others)


def _run_of(path: StorePath, sizes: dict[StorePath, int]) -> set[str]:
    """The names that lie between the same two boundaries as that of *path*, and those beside it."""
    single = [tuple(batch) for batch in batches(dict.fromkeys(sizes, 1))]
    (place,) = [number for number, batch in enumerate(single) if path in batch]
    near = single[max(place - 1, 0) : place + 2]
    if len(single) > 1 and any(len(batch) == MOST for batch in near):
        return {found.name for found in sizes}  # a run that is cut, anywhere
    return {found.name for batch in near for found in batch}
