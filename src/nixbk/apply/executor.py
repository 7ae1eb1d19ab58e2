"""Builds what a survey found missing. Effect: solves on BuildKit, in threads.

Each derivation is two solves: one for its result file, which runs it, and one for its file
system, so that both are in BuildKit's cache even if everything else stops at once.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nixbk.apply.prober import is_miss
from nixbk.buildkit.errors import BuildFailed
from nixbk.planner.build_graph import RealisationChangedError
from nixbk.planner.compiler import RESULT_FILE, Flavour
from nixbk.planner.realisation import Realisation
from nixbk.planner.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.apply.solver import Solver
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.compiler import Step


class StepStore(Protocol):
    """Where result files are kept for the next time."""

    def store(self, digest: str, result: bytes) -> None:
        """Keep the result file of a step."""

    def forget(self, digest: str) -> None:
        """Drop what was kept of a step."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Builds derivations, inputs first, several at once.

    Attributes:
        solver: the running build on BuildKit.
        graph: what is known; findings are noted in it.
        known: where findings are kept for the next time.
        jobs: how many derivations are built at once.
    """

    solver: Solver
    graph: BuildGraph
    known: StepStore
    jobs: int

    def run(self, to_build: Sequence[StorePath]) -> None:
        """Build all of *to_build*, which has inputs first.

        Raises:
            BuildFailed: a builder failed; builds under way are then abandoned by the caller.
            RealisationChangedError: a rebuilt derivation left something new behind.
        """
        schedule = Schedule(self.graph, to_build)
        running: dict[Future[bytes], StorePath] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while schedule:
                    while len(running) < self.jobs and (drv := schedule.take()) is not None:
                        step = self.graph.step(drv, Flavour.RUN)
                        running[pool.submit(self._build_step, step)] = drv
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        drv = running.pop(future)
                        self._note(drv, future.result())
                        schedule.done(drv)
            except BaseException:
                self.solver.cancel()
                raise

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
        try:
            return self._solve_step(step)
        except BuildFailed as error:
            if not is_miss(error):
                raise
        # Somebody else's probe for this step was under way, and BuildKit let both share its fate.
        return self._solve_step(step)

    def _solve_step(self, step: Step) -> bytes:
        result = self.solver.read(step.result, RESULT_FILE)
        self.solver.solve(step.root)
        return result
