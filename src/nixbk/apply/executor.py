"""Builds what a survey found missing. Effect: solves on BuildKit, in threads."""

from __future__ import annotations

import secrets
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from nixbk.apply.failures import (
    DerivationFailedError,
    all_failed,
    derivation_failed,
    is_other_download,
    refused,
)
from nixbk.apply.prober import ProbeMetError, is_miss
from nixbk.buildkit.errors import BuildFailed
from nixbk.nix.derivation import DerivationError
from nixbk.planner.compiler import FETCH_BUILDER, RESULT_FILE
from nixbk.planner.knowledge import RealisationChangedError
from nixbk.planner.realisation import Realisation
from nixbk.planner.schedule import Schedule
from nixbk.planner.steps import UnsupportedDerivationError
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixbk.apply.solver import Solver
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.workshop import Step


REFUSED_DOWNLOAD: Final = "HTTP error"


class StepStore(Protocol):
    """Where result files are kept for the next time."""

    def store(self, digest: str, result: bytes) -> None:
        """Keep the result file of a step."""

    def forget(self, digest: str) -> None:
        """Drop what was kept of a step."""


A_MOMENT_S: Final = 0.01
"""How long the threads that call the builder have this process to themselves."""


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
        keep_going: whether what does not need a failed derivation is built all the same.
        failed: derivations that failed, in this build or an earlier one of the same command.
    """

    solver: Solver
    graph: BuildGraph
    known: StepStore
    jobs: int
    watch: Watch
    keep_going: bool = False
    failed: dict[StorePath, DerivationFailedError] = field(default_factory=dict)

    def run(self, to_build: Sequence[StorePath]) -> frozenset[StorePath]:
        """Build all of *to_build*, which has inputs first.

        Returns:
            What was built, all of it.

        Raises:
            DerivationFailedError: a builder failed; what is under way is abandoned, unless it is
                to go on.
            BuildsFailedError: several failed, and everything else that can be built is.
            RealisationChangedError: a rebuilt derivation left something new behind.
            ProbeMetError: to be tried again in a new build.
        """
        schedule = Schedule(self.graph, to_build)
        running: dict[Future[bytes], StorePath] = {}
        done: dict[StorePath, bytes] = {}
        unkept: list[StorePath] = []
        met: ProbeMetError | None = None
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while schedule:
                    if met is None:  # else what runs may end; nothing new begins
                        self._start(schedule, pool, running)
                    if not running:
                        break  # what is left needs what failed
                    for future in self._finished(running, unkept, done):
                        drv = running.pop(future)
                        try:
                            self._finish(schedule, drv, future, done)
                        except ProbeMetError as error:
                            met = error
                        if drv in done:
                            unkept.append(drv)
            except BaseException:
                self.solver.abandon()
                raise
            finally:
                self._keep(unkept, done)
        if met:
            raise met
        if self.failed:
            waiting = [drv for drv in to_build if drv not in done and drv not in self.failed]
            blocked = _blocked(self.graph, self.failed, waiting)
            place = {drv: index for index, drv in enumerate(to_build)}.__getitem__
            raise all_failed([self.failed[drv] for drv in sorted(self.failed, key=place)], blocked)
        return frozenset(done)

    def _start(
        self, schedule: Schedule, pool: ThreadPoolExecutor, running: dict[Future[bytes], StorePath]
    ) -> None:
        """Have as much running as may be."""
        while len(running) < self.jobs and (drv := schedule.take()):
            step = self._step(drv)
            if step is not None:
                self._follow(drv, step)
                running[pool.submit(self._build_step, drv, step)] = drv

    def _finished(
        self,
        running: Mapping[Future[bytes], StorePath],
        unkept: list[StorePath],
        done: Mapping[StorePath, bytes],
    ) -> set[Future[bytes]]:
        """What of *running* has ended, at least one; what is *unkept* is kept meanwhile."""
        finished, _ = wait(running, A_MOMENT_S, FIRST_COMPLETED)
        if not finished:
            self._keep(unkept, done)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
        return finished

    def _finish(
        self,
        schedule: Schedule,
        drv: StorePath,
        future: Future[bytes],
        done: dict[StorePath, bytes],
    ) -> None:
        """Take note of how a build ended."""
        try:
            result = self._result(drv, future)
        except DerivationFailedError as error:
            self._fail(drv, error)
            return
        self._note(drv, result)
        schedule.done(drv)
        done[drv] = result

    def _step(self, drv: StorePath) -> Step | None:
        """What is to be run for *drv*; None when it failed."""
        if drv in self.failed:
            return None
        try:
            return self.graph.step(drv, Flavour.RUN)
        except (UnsupportedDerivationError, DerivationError) as error:
            failure = refused(self.graph.lock, drv, error)
            failure.__cause__ = error
            self._fail(drv, failure)
            return None

    def _fail(self, drv: StorePath, failure: DerivationFailedError) -> None:
        self.failed[drv] = failure
        if not self.keep_going:
            raise failure

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
        try:
            self.graph.realise(drv, realisation)
        except RealisationChangedError:
            self.known.forget(self.graph.step(drv, Flavour.PROBE).digest)
            raise

    def _keep(self, unkept: list[StorePath], done: Mapping[StorePath, bytes]) -> None:
        """Keep the results of *unkept*, which then is empty, for the next time."""
        while unkept:
            drv = unkept.pop()
            if self.graph.is_lasting(drv):
                self.known.store(self.graph.step(drv, Flavour.PROBE).digest, done[drv])

    def _build_step(self, drv: StorePath, step: Step) -> bytes:
        try:
            return self.solver.read(step.root, RESULT_FILE)
        except BuildFailed as error:
            if is_other_download(error):
                raise self._explained(drv, error) from error
            raise

    def _explained(self, drv: StorePath, error: BuildFailed) -> BuildFailed:
        """What the helper says when it tries the same download, if the server refuses it.

        BuildKit takes the page that a server sends with its refusal for the file itself.
        """
        step = self.graph.variant(drv, "download", secrets.token_hex())
        self._follow(drv, step)
        try:
            self.solver.read(step.root, RESULT_FILE)
        except BuildFailed as again:
            if any(REFUSED_DOWNLOAD in line for line in again.log):
                return again
        return error


def _blocked(
    graph: BuildGraph, failed: Mapping[StorePath, object], waiting: Sequence[StorePath]
) -> dict[StorePath, list[StorePath]]:
    """What of *waiting*, which has inputs first, needs each of *failed*."""
    needs: dict[StorePath, set[StorePath]] = {drv: {drv} for drv in failed}
    blocked: dict[StorePath, list[StorePath]] = {drv: [] for drv in failed}
    for drv in waiting:
        inputs = graph.below(drv)
        needs[drv] = set().union(*(needs.get(item, ()) for item in inputs))
        for root in needs[drv]:
            blocked[root].append(drv)
    return blocked
