"""A builder in memory, what is known of its steps, and a lock: surveys and builds without one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from memory_buildkit import MemoryBuild, MemoryCache, result_of

from nixbk.apply.executor import Executor
from nixbk.apply.prober import CacheProber
from nixbk.apply.solver import Solver
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.images import wanted as wanted_by
from nixbk.planner.survey import Survey, examine
from nixbk.planner.workshop import Flavour, HelperFile, Workshop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nixbk.apply.progress import Told
    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock

WORKSHOP = Workshop(
    LINUX_AMD64,
    HelperFile("http://buildkit-session/build", "0" * 64),
    HelperFile("http://buildkit-session/builtin", "2" * 64),
    HelperFile("http://buildkit-session/unpack", "1" * 64),
    "http://buildkit-session/{}".format,
)


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
    """A cache, what is known, and a lock.

    Attributes:
        run: what stands for the builders.
        workshop: what all steps have in common.
        merges: whether the builder can merge file systems.
    """

    def __init__(
        self,
        lock: Lock,
        references: Mapping[str, tuple[StorePath, ...]],
        workshop: Workshop = WORKSHOP,
        *,
        merges: bool = True,
    ) -> None:
        self.lock = lock
        self.workshop = workshop
        self.merges = merges
        self.cache = MemoryCache()
        self.known = Known()
        self.run: Any = result_of(references)

    def survey(self, image: str | None = None) -> tuple[BuildGraph, Solver, Survey]:
        """What is missing now for one image or all, asked anew."""
        graph = BuildGraph(self.lock, self.workshop)
        build = MemoryBuild(self.cache, self.run, merges=self.merges)
        solver = Solver(lambda: nullcontext(build))
        prober = CacheProber(solver, graph.compiler(Flavour.PROBE))
        images = [self.lock.images[image]] if image else list(self.lock.images.values())
        wanted = [output for locked in images for output in wanted_by(graph, locked)]
        order = graph.build_order([step for step, _ in wanted])
        return graph, solver, examine(graph, order, wanted, self.known, prober)

    def apply(self, jobs: int = 2, *, keep_going: bool = False) -> list[str]:
        """Build what is missing; the names of what ran."""
        graph, solver, found = self.survey()
        self.cache.ran.clear()
        Executor(solver, graph, self.known, jobs, unwatched, keep_going).run(found.to_build)
        return [name for name in self.cache.ran if name != "seed"]


def unwatched(digest: str, step: StorePath, *, download: bool, told: Told | None = None) -> None:
    """Nobody looks on."""
