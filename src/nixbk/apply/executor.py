"""Builds what a survey found missing. Effect: solves on BuildKit, in threads."""

from __future__ import annotations

import secrets
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol

from nixbk.apply.failures import (
    DerivationFailedError,
    all_failed,
    derivation_failed,
    is_other_download,
    refused,
)
from nixbk.apply.prober import ProbeMetError, is_miss
from nixbk.apply.solver import MetError
from nixbk.buildkit.errors import BuildFailed
from nixbk.errors import NixbkError
from nixbk.nix.derivation import DerivationError
from nixbk.planner.compiler import FETCH_BUILDER, RESULT_FILE
from nixbk.planner.knowledge import RealisationChangedError
from nixbk.planner.realisation import Realisation
from nixbk.planner.schedule import Schedule
from nixbk.planner.steps import UnsupportedDerivationError
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixbk.apply.progress import Told
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


CALLS_PER_JOB: Final = 2
"""One for what runs, and one for what is ending."""
A_MOMENT_S: Final = 0.01
"""How long the threads that call the builder have this process to themselves."""


class Watch(Protocol):
    """Takes note of a step that is about to run."""

    def __call__(
        self, digest: str, step: StorePath, *, download: bool, told: Told | None = None
    ) -> None:
        """Follow the vertex *digest*, which is *step*; see ``Progress.watch``."""


class _LeantError(Exception):
    """A step failed, and so did one that it had to wait for."""


@dataclass(slots=True)
class _Building:
    """How far a run of the executor is.

    Attributes:
        schedule: which step may start next.
        pool: its threads call the builder.
        events: what happened to a step: its call ended, or its result was told before.
        calls: of the steps that were begun and have not ended.
        ending: those of them whose result was told: their builders run no more.
        done: the result files of what was built.
        unkept: of these, what is not kept for the next time yet.
        lost: what failed because something that it leant on did.
        met: why nothing new begins, if a probe got in the way.
    """

    schedule: Schedule
    pool: ThreadPoolExecutor
    events: SimpleQueue[tuple[StorePath, Future[bytes] | bytes]]
    calls: dict[StorePath, Future[bytes]] = field(default_factory=dict)
    ending: set[StorePath] = field(default_factory=set)
    done: dict[StorePath, bytes] = field(default_factory=dict)
    unkept: list[StorePath] = field(default_factory=list)
    lost: set[StorePath] = field(default_factory=set)
    met: MetError | None = None

    def has_room(self, jobs: int) -> bool:
        """Whether another step may begin, of *jobs* builders that run at once."""
        running = len(self.calls) - len(self.ending)
        return running < jobs and len(self.calls) < CALLS_PER_JOB * jobs


@dataclass(frozen=True, slots=True)
class Executor:
    """Builds derivations, inputs first, several at once.

    Attributes:
        solver: the running build on BuildKit.
        graph: what is known; findings are noted in it.
        known: where findings are kept for the next time.
        jobs: how many builders run at once.
        watch: told the digest of each step that is about to run, and who wants its result early.
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
            MetError: to be tried again in a new build.
        """
        with ThreadPoolExecutor(CALLS_PER_JOB * self.jobs) as pool:
            building = _Building(Schedule(self.graph, to_build), pool, SimpleQueue())
            try:
                self._build(building)
            except BaseException:
                self.solver.abandon()
                raise
            finally:
                self._keep(building)
        if building.met:
            raise building.met
        if self.failed:
            ended = building.done.keys() | self.failed.keys()
            waiting = [drv for drv in to_build if drv not in ended]
            blocked = _blocked(self.graph, self.failed, waiting)
            place = {drv: index for index, drv in enumerate(to_build)}.__getitem__
            raise all_failed([self.failed[drv] for drv in sorted(self.failed, key=place)], blocked)
        return frozenset(building.done)

    def _build(self, building: _Building) -> None:
        """Build until nothing runs and nothing may start."""
        while True:
            if building.met is None:  # else what runs may end
                self._start(building)
            if not building.calls:
                return  # what is left needs what failed
            drv, event = self._next(building)
            if isinstance(event, bytes):
                self._hear(building, drv, event)
            else:
                self._end(building, drv, event)

    def _start(self, building: _Building) -> None:
        """Have as much running as may be."""
        while building.has_room(self.jobs):
            drv = building.schedule.take()
            if drv is None:
                return
            self._begin(building, drv)

    def _begin(self, building: _Building, drv: StorePath) -> None:
        leaning = building.schedule.leaning(drv)
        if not leaning.isdisjoint(building.lost | self.failed.keys()):
            building.lost.add(drv)
            return
        step = self._step(drv)
        if step is None:
            return
        self._follow(drv, step, lambda result: building.events.put((drv, result)))
        before = [building.calls[item] for item in leaning if item in building.calls]
        call = building.pool.submit(self._build_step, drv, step, before)
        building.calls[drv] = call
        call.add_done_callback(lambda ended: building.events.put((drv, ended)))

    def _next(self, building: _Building) -> tuple[StorePath, Future[bytes] | bytes]:
        """What happens next; what there is time for is done meanwhile."""
        try:
            return building.events.get(timeout=A_MOMENT_S)
        except Empty:
            self._prepare(building)
            self._keep(building)
            return building.events.get()

    def _prepare(self, building: _Building) -> None:
        """Compile what comes next, so that it begins at once when there is room for it."""
        drv = building.schedule.coming()
        if drv is not None and drv not in self.failed:
            with suppress(UnsupportedDerivationError, DerivationError):  # told when it is begun
                self.graph.step(drv, Flavour.RUN)

    def _hear(self, building: _Building, drv: StorePath, result: bytes) -> None:
        """A step is ending and its result is told: no builder of it runs, so another may start.

        What waits for the result is begun by BuildKit when the step has ended, without a word from
        this client in between. The result file is read all the same, once it is there, and has to
        say so as well.
        """
        if drv not in building.calls or building.met is not None:
            return
        try:
            self.graph.realise(drv, Realisation.from_bytes(result))
        except NixbkError:
            return  # the file will tell
        building.schedule.told(drv)
        building.ending.add(drv)

    def _end(self, building: _Building, drv: StorePath, call: Future[bytes]) -> None:
        """Take note of how a build ended."""
        del building.calls[drv]
        building.ending.discard(drv)
        try:
            result = self._result(drv, call)
        except _LeantError:
            building.lost.add(drv)
            return
        except MetError as error:
            building.met = error
            return
        except DerivationFailedError as error:
            self._fail(drv, error)
            return
        self._note(drv, result)
        building.schedule.done(drv)
        building.done[drv] = result
        building.unkept.append(drv)

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

    def _follow(self, drv: StorePath, step: Step, told: Told | None = None) -> None:
        download = self.graph.lock.derivations[drv].builder == FETCH_BUILDER
        self.watch(step.digest, drv, download=download, told=told)

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

    def _keep(self, building: _Building) -> None:
        """Keep the results that are unkept for the next time."""
        while building.unkept:
            drv = building.unkept.pop()
            if self.graph.is_lasting(drv):
                self.known.store(self.graph.step(drv, Flavour.PROBE).digest, building.done[drv])

    def _build_step(self, drv: StorePath, step: Step, before: Sequence[Future[bytes]]) -> bytes:
        """Build a step and read its result file; *before* are calls that have to end first."""
        try:
            return self.solver.read(step.root, RESULT_FILE)
        except NixbkError as error:
            wait(before)
            if any(call.exception() is not None for call in before):
                raise _LeantError from error
            if isinstance(error, BuildFailed) and is_other_download(error):
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
