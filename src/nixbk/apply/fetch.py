"""Fetches what binary caches have, before anything is built of it. Effects: a builder, pauses.

Each file of a step that unpacks several, and each step, is a solve of its own, so many at once and
no more. Steps of many files come first: they are long in one container, which others run beside.

What cannot be fetched from one place is tried at the next; see :mod:`nixbk.apply.tries`. That is
another build: as long as a build runs, BuildKit remembers what failed in it, and whoever asks for
the same file from elsewhere is told the same.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Final, TypeAlias

from nixbk.apply.fetch_failures import (
    PathFailedError,
    TooSlowError,
    all_failures,
    blamed,
    builder_failed,
    is_down,
    is_gone,
    is_unpacking,
    unpacking_failed,
)
from nixbk.apply.prober import ProbeMetError, is_miss
from nixbk.apply.solver import MetError
from nixbk.apply.tries import Tries, is_final
from nixbk.buildkit.errors import BuildCancelledError, BuilderError, BuildFailed
from nixbk.planner.lost import makers
from nixbk.planner.survey import note_choices
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from nixbk.apply.archives import Archives
    from nixbk.apply.progress import Progress
    from nixbk.apply.solver import Solver
    from nixbk.apply.workbench import Workbench
    from nixbk.errors import NixbkError
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.leaves import Choice
    from nixbk.schema.lock import LockedArchive

Begin: TypeAlias = "Callable[[], AbstractContextManager[Solver]]"
Faults: TypeAlias = "Mapping[StorePath, NixbkError]"
Solve: TypeAlias = (
    "Callable[[Sequence[Output], Sequence[StorePath], StorePath, float | None], Future[Faults]]"
)

PARALLEL_FETCHES: Final = 16
CANCELLED: Final = "the build was cancelled"
DOWN: Final = 4
"""After so many failures in a row a cache is not asked any more the same way."""
PATIENCE_S: Final = 60.0
SLOWEST_BYTES_PER_S: Final = 50_000
"""Builders wait for ever; what takes longer than both together is tried another way."""


def fetch_missing(
    bench: Workbench, graph: BuildGraph, paths: Sequence[StorePath], progress: Progress
) -> None:
    """Have the builder fetch and unpack *paths*.

    Raises:
        LostError: some cannot be had, and the lock has their derivations.
        PathFailedError: one cannot be had.
        FetchesFailedError: several cannot be had.
        MetError: to be tried again in a new build.
    """
    fetcher = Fetcher(partial(bench.solving, progress), graph, bench.archives, progress)
    bench.settings.interruption.calls(fetcher.stop)
    try:
        fetcher.run(list(dict.fromkeys(graph.producer(path) for path in paths)))
    finally:
        note_choices(graph, bench.known)


class Fetcher:
    """Fetches the substitutes of several steps at once."""

    def __init__(
        self, begin: Begin, graph: BuildGraph, archives: Archives, progress: Progress
    ) -> None:
        self._begin = begin
        self._graph = graph
        self._archives = archives
        self._progress = progress
        self._stopped = Event()
        self._lock = Lock()
        self._tries: dict[StorePath, Tries] = {}
        self._failures: list[PathFailedError] = []
        self._reached: set[str] = set()
        self._down: Counter[tuple[str, bool]] = Counter()
        self._last: dict[tuple[str, bool], NixbkError] = {}

    def stop(self) -> None:
        """Begin nothing more, from any thread."""
        self._stopped.set()

    def run(self, steps: Sequence[StorePath]) -> None:
        """Fetch what *steps* unpack, those of many paths and then the largest first.

        See `fetch_missing` for what it raises.
        """
        graph = self._graph
        sizes = {step: self._size(step) for step in steps}
        self._tries = {
            found.substitute.path: Tries(found.substitute, self._archives.is_direct)
            for step in steps
            for found in graph.leaves.unpackings(step)
        }
        self._progress.begin_fetches(len(self._tries), sum(sizes.values()))
        paths = {step: graph.outputs(step).values() for step in steps}
        missed: dict[StorePath, Iterable[StorePath]] = {
            step: paths[step]
            for step in sorted(steps, key=lambda step: (-len(paths[step]), -sizes[step], step))
        }
        while missed:
            left, wait_s = self._choose(missed)
            if not left or (self._failures and not self._are_built()):
                break
            if self._stopped.wait(wait_s):
                raise BuildCancelledError(CANCELLED)
            missed = self._round(left)
        if self._failures:
            raise all_failures(graph.lock, self._failures)

    def _size(self, step: StorePath) -> int:
        found = self._graph.leaves.unpackings(step)
        return sum(f.archive.file_size or f.substitute.nar_size for f in found)

    def _are_built(self) -> bool:
        """Whether all that failed can be built instead."""
        lock = self._graph.lock
        paths = {failure.path for failure in self._failures}
        return lock.fallback and makers(lock, paths).keys() >= paths

    def _choose(
        self, steps: Mapping[StorePath, Iterable[StorePath]]
    ) -> tuple[list[StorePath], float]:
        """Choose what is tried now for paths of *steps*.

        Returns:
            The steps of which all paths can be tried, and how long to wait before.
        """
        leaves = self._graph.leaves
        left: list[StorePath] = []
        choices: dict[StorePath, Choice] = {}
        longest_s = 0.0
        for step, paths in steps.items():
            found = {path: self._tries[path].next() for path in paths}
            failed = [path for path, choice in found.items() if choice is None]
            self._failures += map(self._failure, failed)
            if failed:
                continue
            left.append(step)
            before = leaves.choices(step)
            for path, (choice, wait_s) in ((path, c) for path, c in found.items() if c is not None):
                longest_s = max(longest_s, wait_s)
                if choice.through_session:
                    self._archives.turn(self._archive(path, choice))
                if before[path] != choice:
                    choices[path] = choice
        if choices:
            self._graph.choose(choices)
        return left, longest_s

    def _failure(self, path: StorePath) -> PathFailedError:
        tries = self._tries[path]
        gone = is_gone(tries.faults.values())
        return PathFailedError(self._graph.lock, tries.substitute, tries.faults, gone=gone)

    def _round(self, steps: Sequence[StorePath]) -> dict[StorePath, Iterable[StorePath]]:
        """Try *steps*, all at once; the paths of those that failed at which they did."""
        missed: dict[StorePath, Faults] = {}
        met: MetError | None = None
        with (
            self._begin() as solver,
            ThreadPoolExecutor(PARALLEL_FETCHES) as calls,
            ThreadPoolExecutor(PARALLEL_FETCHES) as pool,
        ):
            solved = partial(self._solved, solver)
            under_way = {
                pool.submit(self._fetch, partial(calls.submit, solved), step): step
                for step in steps
            }
            try:
                for future in as_completed(under_way):
                    try:
                        faults = future.result()
                    except MetError as error:
                        met = error
                        continue
                    if faults:
                        missed[under_way[future]] = faults
            except BaseException:
                self._stopped.set()
                solver.abandon()
                raise
        if met:
            raise met
        for faults in missed.values():
            for path, fault in faults.items():
                self._note(path, fault)
        return {step: faults.keys() for step, faults in missed.items()}

    def _fetch(self, solve: Solve, step: StorePath) -> Faults:
        """Try one step; what is wrong with its paths, nothing when they are there.

        Args:
            solve: begins a call, in its turn; see `_solved`.
            step: what unpacks them.
        """
        if self._stopped.is_set():
            raise BuildCancelledError(CANCELLED)
        paths = list(self._graph.outputs(step).values())
        with self._lock:
            choices = self._graph.leaves.choices(step)
            compiled = self._graph.step(step, Flavour.RUN)
        waiting = self._hopeless(choices)
        if waiting:
            return waiting
        self._progress.fetching(step, paths)
        limits = {path: self._limit_s(path, choice) for path, choice in choices.items()}
        if len(paths) == 1:
            faults = solve(compiled.roots, paths, step, limits[paths[0]]).result()
        else:
            parts = zip(choices, compiled.archives, strict=True)
            faults = _all([solve([archive], [path], step, limits[path]) for path, archive in parts])
            if not faults:
                faults = solve(compiled.roots, paths, step, None).result()
        if faults:
            self._progress.not_fetched(step)
            return {path: self._told(path, choices[path], faults[path]) for path in faults}
        with self._lock:
            for path, choice in choices.items():
                name = self._archive(path, choice).substituter
                self._down[name, choice.through_session] = 0
                if not choice.through_session:
                    self._reached.add(name)
        self._progress.fetched(step, self._size(step))
        return {}

    def _limit_s(self, path: StorePath, choice: Choice) -> float | None:
        """How long a file may take; None when this client watches over it."""
        if choice.through_session:
            return None
        longest = max(
            self._archive(path, choice).file_size or 0, self._tries[path].substitute.nar_size
        )
        return PATIENCE_S + longest / SLOWEST_BYTES_PER_S

    def _solved(
        self,
        solver: Solver,
        outputs: Sequence[Output],
        paths: Sequence[StorePath],
        step: StorePath,
        limit_s: float | None,
    ) -> Faults:
        """Solve all roots of a step, or a file that it unpacks; what is wrong with the paths."""
        try:
            solver.solve(*outputs, limit_s=limit_s)
        except BuildFailed as error:
            if is_miss(error):
                raise ProbeMetError(step.name) from error
            about = blamed(error, paths)
            if not about:
                raise builder_failed(error, step.name) from error
            return dict.fromkeys(about, error)
        except BuilderError as error:
            if limit_s is None or error.code != "DEADLINE_EXCEEDED":
                raise
            return dict.fromkeys(paths, TooSlowError(limit_s))
        return {}

    def _hopeless(self, choices: Mapping[StorePath, Choice]) -> Faults:
        """What would come from a cache that is down."""
        found = {}
        with self._lock:
            for path, choice in choices.items():
                way = self._archive(path, choice).substituter, choice.through_session
                if self._down[way] >= DOWN:
                    found[path] = self._last[way]
        return found

    def _told(self, path: StorePath, choice: Choice, error: NixbkError) -> NixbkError:
        """What this client knows of a failure, which may be more than the builder tells."""
        if is_unpacking(error):
            return error
        archive = self._archive(path, choice)
        fault = error
        if choice.through_session:
            fault = self._archives.fault(archive) or error
        way = archive.substituter, choice.through_session
        with self._lock:
            self._down[way] += is_down(fault)
            self._last[way] = fault
        return fault

    def _note(self, path: StorePath, fault: NixbkError) -> None:
        """Take down why a try failed."""
        tries = self._tries[path]
        choice = self._graph.leaves.choice(path)
        if is_unpacking(fault):
            tries.refuse(choice.archive)
            fault = unpacking_failed(fault, tries.substitute)
        elif not choice.through_session:
            archive = self._archive(path, choice)
            if isinstance(fault, TooSlowError) or is_final(fault.message):
                tries.give_up(choice.archive)
            elif archive.substituter not in self._reached:
                self._archives.unreached(archive)
        tries.faults[choice.archive] = fault

    def _archive(self, path: StorePath, choice: Choice) -> LockedArchive:
        return self._tries[path].substitute.archives[choice.archive]


def _all(calls: Sequence[Future[Faults]]) -> Faults:
    """What all *calls* found; when one of them fails, those that wait are not made."""
    faults: dict[StorePath, NixbkError] = {}
    try:
        for call in calls:
            faults.update(call.result())
    except BaseException:
        for call in calls:
            call.cancel()
        raise
    return faults
