"""Builds what a survey found missing. Effect: solves on BuildKit, in threads.

Each derivation is two solves: one for its result file, which runs it, and one for its file
system, so that both are in BuildKit's cache even if everything else stops at once.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nixbk.apply.failures import derivation_failed
from nixbk.apply.prober import is_miss
from nixbk.buildkit.errors import BuildFailed
from nixbk.errors import NixbkError
from nixbk.planner.build_graph import RealisationChangedError
from nixbk.planner.compiler import FETCH_BUILDER, RESULT_FILE, Flavour
from nixbk.planner.realisation import Realisation
from nixbk.planner.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.apply.solver import Solver
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.compiler import Step


class ProbeMetError(NixbkError):
    """Another client's probe for a step was under way, and BuildKit let both share its fate.

    Nothing is wrong: the same in a new build of BuildKit's goes well.
    """

    def __init__(self, name: str) -> None:
        super().__init__("another client was asking for the same step", where=name)


class StepStore(Protocol):
    """Where result files are kept for the next time."""

    def store(self, digest: str, result: bytes) -> None:
        """Keep the result file of a step."""

    def forget(self, digest: str) -> None:
        """Drop what was kept of a step."""


class Watch(Protocol):
    """Takes note of a step that is about to run."""

    def __call__(self, digest: str, step: StorePath, *, download: bool) -> None:
        """Follow the vertex *digest*, which is *step*."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Builds derivations, inputs first, several at once.

    Attributes:
        solver: the running build on BuildKit.
        graph: what is known; findings are noted in it.
        known: where findings are kept for the next time.
        jobs: how many derivations are built at once.
        watch: told the digest of each step that is about to run.
    """

    solver: Solver
    graph: BuildGraph
    known: StepStore
    jobs: int
    watch: Watch

    def run(self, to_build: Sequence[StorePath]) -> None:
        """Build all of *to_build*, which has inputs first.

        Raises:
            DerivationFailedError: a builder failed; what is under way is abandoned.
            RealisationChangedError: a rebuilt derivation left something new behind.
            ProbeMetError: to be tried again in a new build.
        """
        schedule = Schedule(self.graph, to_build)
        running: dict[Future[bytes], StorePath] = {}
        met: ProbeMetError | None = None
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while schedule and not (met and not running):
                    while not met and len(running) < self.jobs and (drv := schedule.take()):
                        step = self.graph.step(drv, Flavour.RUN)
                        self._follow(drv, step)
                        running[pool.submit(self._build_step, step)] = drv
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        drv = running.pop(future)
                        try:
                            self._note(drv, self._result(drv, future))
                        except ProbeMetError as error:
                            met = error  # what runs may end; nothing new begins
                        else:
                            schedule.done(drv)
            except BaseException:
                self.solver.cancel()
                raise
        if met:
            raise met

    def _follow(self, drv: StorePath, step: Step) -> None:
        download = self.graph.lock.derivations[drv].builder == FETCH_BUILDER
        self.watch(step.digest, drv, download=download)

    def _result(self, drv: StorePath, future: Future[bytes]) -> bytes:
        try:
            return future.result()
        except BuildFailed as error:
            if is_miss(error):
                raise ProbeMetError(drv.name) from error
            raise derivation_failed(self.graph.lock, drv, error) from error

    def _note(self, drv: StorePath, result: bytes) -> None:
        realisation = Realisation.from_bytes(result)
        digest = self.graph.step(drv, Flavour.PROBE).digest
        try:
            self.graph.realise(drv, realisation)
        except RealisationChangedError:
            self.known.forget(digest)
            raise
        self.known.store(digest, result)

    def _build_step(self, step: Step) -> bytes:
        return self.solver.read(step.result, RESULT_FILE, keep=step.root)
