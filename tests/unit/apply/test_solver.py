"""A solver ends a build that was sent much, and begins the next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from benches import WORKSHOP, Bench
from locks import drv_path, make_lock
from memory_buildkit import MemoryBuild, MemoryCache, result_of

from nixbk.apply.solver import Solver
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.compiler import RESULT_FILE
from nixbk.planner.realisation import Realisation
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAPH = {f"d{i}": [f"d{i - 1}"] if i else [] for i in range(8)}


class Engine:
    """Begins builds, and notes how they end."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._cache = MemoryCache()
        self._count = 0

    @contextmanager
    def begin(self) -> Iterator[MemoryBuild]:
        """One build."""
        self._count += 1
        number = self._count
        self.events.append(f"begin {number}")
        try:
            yield MemoryBuild(self._cache, result_of({}))
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
