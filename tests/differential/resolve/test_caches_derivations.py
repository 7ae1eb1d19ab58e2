"""Derivations whose outputs caches may have: fetched, else built of what may be fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from binary_caches import CacheServer, hash_part, narinfo_file, nix
from cached_projects import CachedProject, cache_table, words
from fault_proxy import FaultProxy, down, edited, status, wrong_signature

from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_proxy import Fault
    from small_cache import SmallCache


@dataclass(frozen=True)
class Place:
    """A project with an expression, and with Nix.

    Attributes:
        project: where it is.
        small: its paths.
    """

    project: CachedProject
    small: SmallCache

    def lock(self, url: str, name: str, top: str = "", code: int = 0) -> str:
        """Lock an attribute with a cache, from the beginning; what is said."""
        (self.project.folder / "nixbk.lock").unlink(missing_ok=True)
        images = {"x": [f"./default.nix#{name}"]}
        self.project.write({"it": cache_table(url, self.small.key)}, images, top=top)
        return words(self.project.nixbk("lock", "--quiet", "--refresh", code=code).err)

    @property
    def locked(self) -> tuple[set[str], set[str], set[str]]:
        """The names of the derivations, of the substitutes and of what is substituted."""
        lock = self.project.locked
        return (
            {derivation.name for derivation in lock.derivations.values()},
            {path.name for path in lock.substitutes},
            {f"{drv.name}^{output}" for drv, output in lock.substituted},
        )


@pytest.fixture(scope="module")
def place(small: SmallCache, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A project with an expression."""
    made = CachedProject.make(tmp_path_factory.mktemp("derivations")).with_nix()
    small.write_expression(made.folder)
    return Place(made, small)


@pytest.fixture
def proxy(server: CacheServer) -> Iterator[FaultProxy]:
    """A proxy before the cache."""
    with FaultProxy(server.url) as started:
        yield started


def test_all_is_fetched(small: SmallCache, place: Place, server: CacheServer) -> None:
    """What a cache has is not built, and nobody asks for what only builds need."""
    place.lock(server.url, "app")
    assert place.locked == (set(), {"app", "lib"}, {"app.drv^out"})
    assert not place.project.locked.sources
    (row,) = place.project.locked.images["x"].installables
    assert row.paths == {"out": StorePath.parse(small.paths["app"])}
    drv = nix("nix-instantiate", place.project.folder / "default.nix", "-A", "app").strip()
    assert str(row.drv_path) == drv
    seed = nix("nix-store", "--query", "--references", drv)
    (seed_path,) = [path for path in seed.split() if path.endswith("-cache-seed")]
    assert server.asked(hash_part(seed_path)) == []


def test_the_rest_is_built(small: SmallCache, place: Place, proxy: FaultProxy) -> None:
    """What no cache has is built of what one has."""
    proxy.on(hash_part(small.paths["app"]), status(404))
    said = place.lock(proxy.url, "app")
    assert place.locked == ({"app"}, {"lib"}, {"lib.drv^out"})
    assert said == ""
    (derivation,) = place.project.locked.derivations
    assert place.project.locked.inputs_of(derivation) == {}
    assert [str(path) for path in place.project.locked.substituted_inputs(derivation)] == [
        small.paths["lib"]
    ]


def test_nothing_is_fetched(small: SmallCache, place: Place, proxy: FaultProxy) -> None:
    """A cache that has nothing changes nothing."""
    proxy.on(r"\.narinfo$", status(404))
    place.lock(proxy.url, "app")
    assert place.locked == ({"app", "lib"}, set(), set())


def test_fallback_keeps_the_recipes(small: SmallCache, place: Place, server: CacheServer) -> None:
    """They are in the lock, beside what is fetched."""
    place.lock(server.url, "app", top="fallback = true")
    assert place.locked[:2] == ({"app", "lib"}, {"app", "lib"})
    assert place.project.locked.fallback


def test_what_nix_never_fetches(small: SmallCache, place: Place, server: CacheServer) -> None:
    """``allowSubstitutes = false`` is built, of what is fetched."""
    place.lock(server.url, "own")
    assert place.locked == ({"own"}, {"lib"}, {"lib.drv^out"})


FAULTS: dict[str, tuple[Fault, str]] = {
    "down": (down, ""),
    "500": (status(500), "500"),
    "429": (status(429, Retry_After="0"), "429"),
    "wrong signature": (edited(wrong_signature), "signed"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_does_not_make_a_build(
    small: SmallCache, place: Place, proxy: FaultProxy, name: str
) -> None:
    """Whether something is built does not depend on whether a cache is well today."""
    fault, said = FAULTS[name]
    proxy.on(hash_part(small.paths["lib"]), fault)
    error = place.lock(proxy.url, "app", code=1)
    assert all(word in error for word in ("it", small.paths["lib"], said)), error
    assert not (place.project.folder / "nixbk.lock").exists()


def test_a_lost_reference_is_built(small: SmallCache, place: Place, tmp_path: Path) -> None:
    """A path without what it refers to is as good as none."""
    folder = small.copy()
    narinfo_file(folder, small.paths["lib"]).unlink()
    place.lock(f"file://{folder}", "app")
    assert place.locked == ({"app", "lib"}, set(), set())
