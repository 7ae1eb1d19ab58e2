"""What a survey finds missing is what the executor builds, on the in-memory twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from locks import drv_path, make_lock, store_path
from memory_buildkit import MemoryBuild, MemoryCache, result_of

from nixbk.apply.executor import Executor
from nixbk.apply.prober import CacheProber
from nixbk.apply.solver import Solver
from nixbk.buildkit.errors import BuildFailed
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.planner.build_graph import BuildGraph, RealisationChangedError
from nixbk.planner.compiler import Flavour, HelperFile, Workshop
from nixbk.planner.images import wanted_paths
from nixbk.planner.survey import Survey, learn, survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock

WORKSHOP = Workshop(
    LINUX_AMD64,
    HelperFile("http://buildkit-session/build", "0" * 64),
    HelperFile("http://buildkit-session/unpack", "1" * 64),
    "http://buildkit-session/{}".format,
)

# A compiler, a library that stays in the closure of the application, and a download.
APPLICATION = {
    "fetch-src": [],
    "gcc": [],
    "lib": ["gcc"],
    "app": ["gcc", "lib", "fetch-src"],
}
REFERENCES = {str(store_path("app")): (store_path("lib"),)}


class Known:
    """Result files kept in a dictionary."""

    def __init__(self) -> None:
        self.results: dict[str, bytes] = {}

    def load(self, digests: Iterable[str]) -> Mapping[str, bytes]:
        """Those that are there."""
        return {d: self.results[d] for d in digests if d in self.results}

    def store(self, digest: str, result: bytes) -> None:
        """Keep one."""
        self.results[digest] = result

    def forget(self, digest: str) -> None:
        """Drop one."""
        self.results.pop(digest, None)


class Bench:
    """A cache, what is known, and a lock."""

    def __init__(self, lock: Lock, references: Any = None) -> None:
        self.lock = lock
        self.cache = MemoryCache()
        self.known = Known()
        self.run = result_of(REFERENCES if references is None else references)

    def survey(self) -> tuple[BuildGraph, Solver, Survey]:
        """What is missing now, asked anew."""
        build = MemoryBuild(self.cache, self.run)
        graph = BuildGraph(self.lock, WORKSHOP)
        solver = Solver(build)
        prober = CacheProber(solver, graph.compiler(Flavour.PROBE))
        order = graph.build_order(self.lock.roots)
        learn(graph, order, self.known, prober)
        wanted = [path for image in self.lock.images.values() for path in wanted_paths(image)]
        return graph, solver, survey(graph, order, wanted, prober)

    def apply(self, jobs: int = 2) -> list[str]:
        """Build what is missing; the names of what ran."""
        graph, solver, found = self.survey()
        self.cache.ran.clear()
        Executor(solver, graph, self.known, jobs, lambda *_: None).run(found.to_build)
        return [name for name in self.cache.ran if name != "seed"]


def names(paths: Iterable[StorePath]) -> list[str]:
    """The names of derivation paths."""
    return [path.name.removesuffix(".drv") for path in paths]


def test_everything_then_nothing() -> None:
    """An empty cache needs all, each once; a full one nothing."""
    bench = Bench(make_lock(APPLICATION))
    planned = names(bench.survey()[2].to_build)
    assert sorted(planned) == ["app", "fetch-src", "gcc", "lib"]
    assert sorted(bench.apply()) == sorted(planned)
    assert bench.survey()[2].to_build == ()
    assert bench.apply() == []


def test_surveys_build_nothing() -> None:
    """A survey runs no builder."""
    bench = Bench(make_lock(APPLICATION))
    bench.survey()
    assert bench.cache.ran == []


def test_forgotten_realisations_are_read_from_the_builder() -> None:
    """A client that knows nothing finds everything in the builder's cache."""
    bench = Bench(make_lock(APPLICATION))
    bench.apply()
    bench.known.results.clear()
    assert bench.survey()[2].to_build == ()


def test_only_what_is_gone_is_built() -> None:
    """What is pruned and still needed is built again, and nothing else."""
    bench = Bench(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune("lib")
    assert names(bench.survey()[2].to_build) == ["lib"]
    assert bench.apply() == ["lib"]


def test_what_no_image_needs_may_be_gone() -> None:
    """A build-time dependency that nothing refers to is not missed."""
    bench = Bench(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune("gcc")
    assert bench.survey()[2].to_build == ()


def test_a_gone_chain_is_followed_down() -> None:
    """What is needed to build again what is gone is built again, too."""
    bench = Bench(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune("gcc")
    bench.cache.prune("lib")
    assert sorted(names(bench.survey()[2].to_build)) == ["gcc", "lib"]


def test_a_pruned_builder_needs_all_again() -> None:
    """What the client knows does not decide."""
    bench = Bench(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune()
    assert sorted(names(bench.survey()[2].to_build)) == ["app", "fetch-src", "gcc", "lib"]


def test_a_failure_keeps_what_was_built() -> None:
    """After a failed build only the rest is left."""
    bench = Bench(make_lock(APPLICATION))
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
    with pytest.raises(BuildFailed, match="app: builder failed with exit code 1"):
        bench.apply()
    bench.run = good
    assert names(bench.survey()[2].to_build) == ["app"]


def test_another_result_than_known_is_noticed() -> None:
    """A rebuilt derivation with other references makes everything be planned again."""
    bench = Bench(make_lock(APPLICATION))
    bench.apply()
    bench.cache.prune()
    bench.run = result_of({str(store_path("lib")): (store_path("gcc"),)})
    with pytest.raises(RealisationChangedError) as caught:
        for _ in range(2):
            bench.apply()
    assert caught.value.step in {drv_path("app"), drv_path("lib")}


def test_the_longest_way_goes_first() -> None:
    """Of what may start, what most waits for starts first."""
    chain: dict[str, list[str]] = {"short": [], "c1": [], "c2": ["c1"], "c3": ["c2"]}
    bench = Bench(make_lock({**chain, "top": ["short", "c3"]}), references={})
    assert bench.apply(jobs=1) == ["c1", "c2", "c3", "short", "top"]


def test_two_thousand_derivations() -> None:
    """Two thousand derivations are built and no definition comes near the limit."""
    graph: dict[str, list[str]] = {f"d{i}": [f"d{i - 1}"] if i % 50 else [] for i in range(2000)}
    top = {"top": [f"d{i}" for i in range(49, 2000, 50)]}
    bench = Bench(make_lock({**graph, **top}), references={})
    build_graph, solver, found = bench.survey()
    Executor(solver, build_graph, bench.known, 1, lambda *_: None).run(found.to_build)
    assert len(bench.cache.ran) == 2000 + 1 + 1
    assert solver.largest_definition_bytes < 12 * 1024 * 1024
