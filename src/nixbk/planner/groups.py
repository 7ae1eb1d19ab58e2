"""Which substitutes are unpacked by one step. Pure.

A container takes 50 to 100 ms to start, so paths that always come together share one: those that
share a layer of an image. Other than whole steps, layers are copies; so the paths of a step are
exactly those that :func:`nixbk.image.layers.plan_layers` puts together with the usual budget.
What shares a step shares its fate in BuildKit's cache, too, so whatever is of use beyond one
image keeps a step of its own, as does what can be built instead. The groups are a part of every
cache key above them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from nixbk.graph.closure import closure
from nixbk.image.layers import PathInfo, plan_layers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock, LockedImage

BUDGET: Final = 100
"""The layers of an image that says nothing of them."""


def groups(lock: Lock) -> tuple[tuple[StorePath, ...], ...]:
    """The paths of each step that unpacks substitutes.

    Returns:
        Every substitute of *lock* once; those of a group sorted, as the groups are.
    """
    if lock.fallback:  # what is lost is built instead, and the others of a group are not
        return tuple((path,) for path in sorted(lock.substitutes))
    closures = [_closure(lock, _fetched(lock, image)) for image in lock.images.values()]
    users = Counter(path for found in closures for path in found)
    inputs = _closure(lock, _inputs(lock))
    together: list[tuple[StorePath, ...]] = []
    for image, found in zip(lock.images.values(), closures, strict=True):
        # what is built adds paths that nobody knows yet, and changes the layers
        whole = all(_is_fetched(lock, image)) and found.isdisjoint(lock.sources)
        if not whole:
            continue
        layers = plan_layers([_info(lock, path) for path in sorted(found)], BUDGET)
        shared = (
            tuple(path for path in layer if users[path] == 1 and path not in inputs)
            for layer in layers
            if len(layer) > 1
        )
        together += [group for group in shared if len(group) > 1]
    grouped = {path for group in together for path in group}
    alone = ((path,) for path in lock.substitutes if path not in grouped)
    return tuple(sorted([*together, *alone]))


def _is_fetched(lock: Lock, image: LockedImage) -> Iterable[bool]:
    """Of each installable, whether it is fetched and not built."""
    return (
        len(lock.fetched(installable)) == len(installable.outputs)
        for installable in image.installables
    )


def _fetched(lock: Lock, image: LockedImage) -> Iterable[StorePath]:
    return (path for installable in image.installables for path in lock.fetched(installable))


def _inputs(lock: Lock) -> set[StorePath]:
    """The substitutes that steps other than those of images see."""
    found = {path for drv in lock.derivations for path in lock.substituted_inputs(drv)}
    found.update(entry.path for entry in lock.sandbox.values() if entry.path in lock.substitutes)
    return found


def _closure(lock: Lock, roots: Iterable[StorePath]) -> frozenset[StorePath]:
    """What is reachable from substitutes, sources of the lock included."""

    def references(path: StorePath) -> Iterable[StorePath]:
        found = lock.substitutes.get(path) or lock.sources.get(path)
        return found.references if found else ()

    return frozenset(closure(roots, references))


def _info(lock: Lock, path: StorePath) -> PathInfo:
    found = lock.substitutes[path]
    return PathInfo(path, found.nar_size, found.references)
