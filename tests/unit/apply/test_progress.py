"""What is told and kept of steps as BuildKit reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locks import drv_path

from nixbk.apply.logs import StepLogs
from nixbk.apply.progress import STDOUT, Progress
from nixbk.planner.workshop import PROBE_IP
from nixbk.proto.control_pb2 import StatusResponse, Vertex, VertexLog

if TYPE_CHECKING:
    from pathlib import Path

APP = drv_path("app")


def status(*logs: bytes, end: bool = False, error: str = "") -> StatusResponse:
    """One message about the step ``sha256:a``, which began."""
    vertex = Vertex(digest="sha256:a", error=error)
    vertex.started.FromSeconds(10)
    if end:
        vertex.completed.FromSeconds(12)
    found = [VertexLog(vertex="sha256:a", msg=text) for text in logs]
    return StatusResponse(vertexes=[vertex], logs=found)


def followed(folder: Path, *messages: StatusResponse) -> tuple[list[str], bytes | None, set[str]]:
    """What was said, what was kept, and what ran."""
    said: list[str] = []
    with StepLogs(folder) as kept:
        progress = Progress(said.append, keep=kept)
        progress.watch("sha256:a", APP)
        for message in messages:
            progress.on_status(message)
    pieces = kept.read(APP)
    log = None if pieces is None else b"".join(pieces)
    return said, log, {step.name for step in progress.ran}


def test_a_step_that_ends_well(tmp_path: Path) -> None:
    """It is told when it begins and ends; all it printed is kept."""
    said, log, ran = followed(tmp_path, status(b"on"), status(b"e\n"), status(b"two", end=True))
    assert said == ["building app", "built app in 2.0 s"]
    assert (log, ran) == (b"one\ntwo", {"app.drv"})


def test_everything_in_one_message(tmp_path: Path) -> None:
    """A quick failure comes with its last words and the helper's report of it."""
    last = (b"one\n", b"nixbk: builder-failed: builder failed with exit code 1\n")
    said, log, _ = followed(tmp_path, status(*last, end=True, error="exit code: 1"))
    assert said == ["building app", "failed app in 2.0 s"]
    assert log == b"one\n"


def test_a_step_that_met_a_probe(tmp_path: Path) -> None:
    """It did not run, and has no log."""
    error = f"failed to parse IP {PROBE_IP}"
    _, log, ran = followed(tmp_path, status(), status(end=True, error=error))
    assert (log, ran) == (None, set())


def test_a_step_that_was_cached(tmp_path: Path) -> None:
    """It did not run, and its last log stays."""
    followed(tmp_path, status(b"one", end=True))
    message = status(end=True)
    message.vertexes[0].cached = True
    said, log, ran = followed(tmp_path, message)
    assert (said, log, ran) == ([], b"one", set())


def test_a_result_that_is_told(tmp_path: Path) -> None:
    """It is handed on once, whole, and is no part of the log."""
    told: list[bytes] = []
    said: list[str] = []
    with StepLogs(tmp_path) as kept:
        progress = Progress(said.append, logs=True, keep=kept)
        progress.watch("sha256:a", APP, told=told.append)
        for text in (b'{"out', b'puts":{}}\n', b"more\n"):
            message = status(b"line\n")
            message.logs.append(VertexLog(vertex="sha256:a", stream=STDOUT, msg=text))
            progress.on_status(message)
        progress.on_status(status(end=True))
    assert told == [b'{"outputs":{}}\n']
    assert b"".join(kept.read(APP) or ()) == b"line\n" * 3
    assert [line for line in said if "outputs" in line] == []
