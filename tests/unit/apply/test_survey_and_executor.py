"""What a survey finds missing is what the executor builds, on the in-memory twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from benches import Bench, unwatched
from locks import drv_path, make_lock, store_path
from memory_buildkit import result_of

from nixbk.apply.executor import Executor
from nixbk.apply.failures import DerivationFailedError
from nixbk.planner.knowledge import RealisationChangedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock

# A compiler, a library that stays in the closure of the application, and a download.
APPLICATION = {
    "fetch-src": [],
    "gcc": [],
    "lib": ["gcc"],
    "app": ["gcc", "lib", "fetch-src"],
}
REFERENCES = {str(store_path("app")): (store_path("lib"),)}


def bench_of(lock: Lock) -> Bench:
    """A bench whose application refers to its library."""
    return Bench(lock, REFERENCES)


def names(paths: Iterable[StorePath]) -> list[str]:
    """The names of derivation paths."""
    return [path.name.removesuffix(".drv") for path in paths]


def test_everything_then_nothing() -> None:
    """An empty cache needs all, each once; a full one nothing."""
    bench = bench_of(make_lock(APPLICATION))
    planned = names(bench.survey()[2].to_build)
    assert sorted(planned) == ["app", "fetch-src", "gcc", "lib"]
    assert sorted(bench.apply()) == sorted(planned)
    assert bench.survey()[2].to_build == ()
    assert bench.apply() == []


def test_surveys_build_nothing() -> None:
    """A survey runs no builder."""
    bench = bench_of(make_lock(APPLICATION))
    bench.survey()
    assert bench.cache.ran == []


def test_forgotten_realisations_are_read_from_the_builder() -> None:
    """A client that knows nothing finds everything in the builder's cache."""
    bench = bench_of(make_lock(APPLICATION))
    bench.apply()
    bench.known.results.clear()
    assert bench.survey()[2].to_build == ()


def test_only_what_is_gone_is_built() -> None:
    """What is pruned and still needed is built again, and nothing else."""
    bench = bench_of(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune("lib")
    assert names(bench.survey()[2].to_build) == ["lib"]
    assert bench.apply() == ["lib"]


@pytest.mark.parametrize("merges", [True, False], ids=["merges", "cannot merge"])
def test_every_builder_can_be_asked(merges: bool) -> None:
    """What a builder that merges is asked in one has the answer that others give."""
    bench = Bench(make_lock(APPLICATION), REFERENCES, merges=merges)
    bench.apply()
    assert bench.survey()[2].to_build == ()
    assert bool(bench.cache.merged) == merges
    bench.cache.prune("app")
    assert names(bench.survey()[2].to_build) == ["app"]


def test_what_no_image_needs_may_be_gone() -> None:
    """A build-time dependency that nothing refers to is not missed."""
    bench = bench_of(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune("gcc")
    assert bench.survey()[2].to_build == ()


def test_a_gone_chain_is_followed_down() -> None:
    """What is needed to build again what is gone is built again, too."""
    bench = bench_of(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune("gcc")
    bench.cache.prune("lib")
    assert sorted(names(bench.survey()[2].to_build)) == ["gcc", "lib"]


def test_a_pruned_builder_needs_all_again() -> None:
    """What the client knows does not decide."""
    bench = bench_of(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune()
    assert sorted(names(bench.survey()[2].to_build)) == ["app", "fetch-src", "gcc", "lib"]


def test_a_failure_keeps_what_was_built() -> None:
    """After a failed build only the rest is left."""
    bench = bench_of(make_lock(APPLICATION))
    good = bench.run

    def fail_on_app(step: dict[str, Any]) -> bytes:
        if step["outputs"]["out"] == str(store_path("app")):
            message = "builder failed with exit code 1"
            raise RuntimeError(message)
        assert callable(good)
        result = good(step)
        assert isinstance(result, bytes)
        return result

    bench.run = fail_on_app
    with pytest.raises(DerivationFailedError) as caught:
        bench.apply()
    assert str(caught.value) == (
        "app: builder failed with exit code 1\n"
        "  wanted by: images.image.installables[0] (./default.nix#app)"
    )
    bench.run = good
    assert names(bench.survey()[2].to_build) == ["app"]


def test_another_result_than_known_is_noticed() -> None:
    """A rebuilt derivation with other references makes everything be planned again."""
    bench = bench_of(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune()
    bench.run = result_of({str(store_path("lib")): (store_path("gcc"),)})
    with pytest.raises(RealisationChangedError) as caught:
        bench.apply()
    assert caught.value.step in {drv_path("app"), drv_path("lib")}


def test_the_longest_way_goes_first() -> None:
    """Of what may start, what most waits for starts first."""
    chain: dict[str, list[str]] = {"short": [], "c1": [], "c2": ["c1"], "c3": ["c2"]}
    bench = Bench(make_lock({**chain, "top": ["short", "c3"]}), {})
    assert bench.apply(jobs=1) == ["c1", "c2", "c3", "short", "top"]


def test_two_thousand_derivations() -> None:
    """Two thousand derivations are built and no definition comes near the limit."""
    graph: dict[str, list[str]] = {f"d{i}": [f"d{i - 1}"] if i % 50 else [] for i in range(2000)}
    top = {"top": [f"d{i}" for i in range(49, 2000, 50)]}
    bench = Bench(make_lock({**graph, **top}), {})
    build_graph, solver, found = bench.survey()
    Executor(solver, build_graph, bench.known, 1, unwatched).run(found.to_build)
    assert len(bench.cache.ran) == 2000 + 1 + 1
    assert solver.definitions.largest_bytes < 12 * 1024 * 1024
