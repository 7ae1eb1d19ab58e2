"""A solver ends a build that was sent much, and begins the next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from benches import WORKSHOP, Bench
from locks import drv_path, make_lock
from memory_buildkit import MemoryBuild, MemoryCache, result_of

from nixbk.apply.solver import NEW_IN_0_32, Solver
from nixbk.buildkit.errors import BuildCancelledError
from nixbk.buildkit.protocols import Capabilities
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.compiler import RESULT_FILE
from nixbk.planner.realisation import Realisation
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

GRAPH = {f"d{i}": [f"d{i - 1}"] if i else [] for i in range(8)}


class Slow(MemoryBuild):
    """A build whose steps end when they may, or when they are abandoned."""

    def __init__(self, able: frozenset[str]) -> None:
        super().__init__(MemoryCache(), self._result)
        self.capabilities = Capabilities(able, frozenset())
        self.begun = Event()
        self.may_end = Event()

    def _result(self, step: dict[str, Any]) -> bytes:
        self.begun.set()
        assert self.may_end.wait(20)
        if self.cancelled:
            raise BuildCancelledError("cancelled")
        result: bytes = result_of({})(step)
        return result

    def abandon(self) -> None:
        """End what is under way."""
        self.cancelled = True
        self.may_end.set()


class Engine:
    """Begins builds, and notes how they end.

    Attributes:
        events: what happened.
        slow: the builds that begin next; ordinary ones follow.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.slow: list[Slow] = []
        self._cache = MemoryCache()
        self._count = 0

    @contextmanager
    def begin(self) -> Iterator[MemoryBuild]:
        """One build."""
        self._count += 1
        number = self._count
        self.events.append(f"begin {number}")
        try:
            yield self.slow.pop(0) if self.slow else MemoryBuild(self._cache, result_of({}))
        except RuntimeError:
            self.events.append(f"break {number}")
            raise
        self.events.append(f"end {number}")


def build_all(solver: Solver) -> None:
    """Build a chain, a step after the other."""
    graph = BuildGraph(Bench(make_lock(GRAPH), {}).lock, WORKSHOP)
    for name in GRAPH:
        result = solver.read(graph.step(drv_path(name), Flavour.RUN).root, RESULT_FILE)
        graph.realise(drv_path(name), Realisation.from_bytes(result))


def test_one_build_is_enough_for_little() -> None:
    """Nothing begins before it is needed, and all of it ends."""
    engine = Engine()
    with Solver(engine.begin) as solver:
        assert engine.events == []
        build_all(solver)
    assert engine.events == ["begin 1", "end 1"]


def test_builds_follow_each_other() -> None:
    """A build that was sent much ends before the next begins, when nothing else uses it."""
    engine = Engine()
    with Solver(engine.begin, build_bytes=1) as solver:
        build_all(solver)
    count = len(GRAPH)
    assert engine.events == [f"{word} {i + 1}" for i in range(count) for word in ("begin", "end")]


def test_a_failure_breaks_every_build() -> None:
    """What goes wrong in the block reaches the builds."""
    engine = Engine()

    def fail() -> None:
        with Solver(engine.begin) as solver:
            build_all(solver)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert engine.events == ["begin 1", "break 1"]


@contextmanager
def one_under_way(
    engine: Engine, able: frozenset[str] = frozenset()
) -> Iterator[tuple[Solver, Slow, Future[bytes]]]:
    """A solver whose only build is full and busy, and a second step that is asked of it."""
    first = Slow(able)
    engine.slow.append(first)
    graph = BuildGraph(Bench(make_lock({"a": [], "b": []}), {}).lock, WORKSHOP)
    roots = [graph.step(drv_path(name), Flavour.RUN).root for name in "ab"]
    with ThreadPoolExecutor(2) as pool, Solver(engine.begin, build_bytes=1) as solver:
        pool.submit(solver.read, roots[0], RESULT_FILE)
        assert first.begun.wait(20)
        try:
            yield solver, first, pool.submit(solver.read, roots[1], RESULT_FILE)
        finally:
            first.may_end.set()


def test_builds_of_an_old_builder_do_not_overlap() -> None:
    """It would run again what the busy build holds."""
    engine = Engine()
    with one_under_way(engine) as (_, first, second):
        with pytest.raises(TimeoutError):
            second.result(0.2)
        assert engine.events == ["begin 1"]
        first.may_end.set()
        assert second.result(20)
        assert engine.events[:3] == ["begin 1", "end 1", "begin 2"]


def test_builds_of_a_new_builder_overlap() -> None:
    """What is under way may take hours."""
    engine = Engine()
    with one_under_way(engine, frozenset({NEW_IN_0_32})) as (_, _, second):
        assert second.result(20)
        assert engine.events == ["begin 1", "begin 2", "end 2"]


def test_what_waits_for_a_build_is_abandoned_too() -> None:
    """It does not begin another."""
    engine = Engine()
    with one_under_way(engine) as (solver, _, second):
        solver.abandon()
        with pytest.raises(BuildCancelledError):
            second.result(20)
    assert engine.events == ["begin 1", "end 1"]
