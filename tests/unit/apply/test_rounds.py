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
from nixbk.buildkit.uploads import URL_PREFIX
from nixbk.errors import NixbkError
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.compiler import RESULT_FILE
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Callable

UPLOAD = Failure(name="source.nar", op={"source": {"identifier": f"{URL_PREFIX}0123"}})
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


def _told_of(error: BuildFailed) -> NixbkError:
    """What is told of a step that fails with *error*."""
    graph = BuildGraph(Bench(make_lock({"a": []}), {}).lock, WORKSHOP)

    def fail(_: dict[str, Any]) -> bytes:
        raise error

    build = MemoryBuild(MemoryCache(), fail)
    with Solver(lambda: nullcontext(build)) as solver, pytest.raises(NixbkError) as caught:
        solver.read(graph.step(drv_path("a"), Flavour.RUN).root, RESULT_FILE)
    return caught.value


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (SHARED, "UNKNOWN"),
        ("error reading from server: EOF", "UNAVAILABLE"),
        ("grpc: the client connection is closing", "CANCELLED"),
    ],
)
def test_a_client_that_left(message: str, code: str) -> None:
    """BuildKit says so with the operation that two clients share, whosever it was."""
    told = _told_of(BuildFailed(message, failure=UPLOAD, code=code))
    assert isinstance(told, SessionMetError)
    assert told.where == "source.nar"


@pytest.mark.parametrize(
    ("failure", "code"),
    [(UPLOAD, "INTERNAL"), (UPLOAD, "UNKNOWN"), (Failure(name="tool"), "UNAVAILABLE")],
)
def test_other_failures_are_told(failure: Failure, code: str) -> None:
    """Bytes that a client cannot give, or that are others, are not asked for again."""
    error = BuildFailed("digest mismatch", failure=failure, code=code)
    assert _told_of(error) is error
