"""What other clients get in the way of is tried again, in new builds."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from benches import WORKSHOP, Bench
from locks import drv_path, make_lock
from memory_buildkit import MemoryBuild, MemoryCache

from nixbk.apply import rounds
from nixbk.apply.prober import ProbeMetError
from nixbk.apply.rounds import MAX_SESSIONS, until_settled
from nixbk.apply.solver import SessionMetError, Solver
from nixbk.buildkit.errors import BuildFailed, Failure
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.compiler import RESULT_FILE
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = 'Get "http://buildkit-session/0123": no active sessions'


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no time."""
    monkeypatch.setattr(rounds, "PAUSE_S", (0.0, 0.0))


def failing(*faults: Exception) -> Callable[[], int]:
    """An attempt that meets one fault after the other, and then returns how many."""
    left = iter(faults)

    def attempt() -> int:
        for fault in left:
            raise fault
        return len(faults)

    return attempt


def test_what_is_met_passes() -> None:
    """However often a probe is met."""
    assert until_settled(failing(SessionMetError("x"), *[ProbeMetError("x")] * 40)) == 41


def test_clients_that_go_on_leaving() -> None:
    """In the end it is told."""
    with pytest.raises(SessionMetError, match="another client"):
        until_settled(failing(*[SessionMetError("x")] * MAX_SESSIONS))


def test_a_client_that_left() -> None:
    """BuildKit says so with the operation that two clients share."""
    graph = BuildGraph(Bench(make_lock({"a": []}), {}).lock, WORKSHOP)

    def left(_: dict[str, Any]) -> bytes:
        raise BuildFailed(SHARED, failure=Failure(name="source.nar"))

    build = MemoryBuild(MemoryCache(), left)
    with Solver(lambda: nullcontext(build)) as solver, pytest.raises(SessionMetError) as caught:
        solver.read(graph.step(drv_path("a"), Flavour.RUN).root, RESULT_FILE)
    assert caught.value.where == "source.nar"
