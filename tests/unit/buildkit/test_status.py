"""Last lines of operations, and values made of messages."""

from __future__ import annotations

import threading

import pytest

from nixbk.buildkit.convert import capabilities_of, platform_message, platform_name, result_message
from nixbk.buildkit.protocols import Ref, Result, Worker
from nixbk.buildkit.status import LOG_LINES, LogTails
from nixbk.proto import control_pb2, gateway_pb2


def _log(vertex: str, text: bytes) -> control_pb2.StatusResponse:
    return control_pb2.StatusResponse(logs=[control_pb2.VertexLog(vertex=vertex, msg=text)])


def _end(vertex: str, error: str = "") -> control_pb2.StatusResponse:
    message = control_pb2.Vertex(digest=vertex, name=f"name of {vertex}", error=error)
    message.completed.seconds = 1
    return control_pb2.StatusResponse(vertexes=[message])


def test_the_last_lines_of_a_failed_operation_are_kept() -> None:
    """Pieces of lines are joined; only the last lines of what failed are told."""
    tails = LogTails()
    for number in range(1000):
        tails.add(_log("bad", f"line {number}".encode()))
        tails.add(_log("bad", b"\r\n" + b"x" * 100 + b"\n"))
    tails.add(_log("bad", b"end"))
    tails.add(_log("good", b"forgotten"))
    tails.add(_end("good"))
    tails.add(_end("bad", "exit code 1"))
    name, lines = tails.lines("bad", wait_s=0)
    assert (name, len(lines), lines[-3:]) == (
        "name of bad",
        LOG_LINES,
        ("line 999", "x" * 100, "end"),
    )
    assert tails.lines("good", wait_s=0) == ("", ())


def test_a_closed_stream_is_not_waited_for() -> None:
    """Once the status has ended nothing more can come."""
    tails = LogTails()
    tails.add(_log("x", b"\xffbyte\n"))
    tails.close()
    assert tails.lines("x", wait_s=60) == ("", ("\ufffdbyte",))


def test_what_runs_is_waited_for() -> None:
    """Nothing runs before the first operation and after the last, or when the stream has ended."""
    tails = LogTails()
    assert tails.settle(0)
    for digest in ("one", "two"):
        begun = control_pb2.Vertex(digest=digest)
        begun.started.seconds = 1
        tails.add(control_pb2.StatusResponse(vertexes=[begun]))
    tails.add(_end("one", "context canceled"))
    assert not tails.settle(0)
    threading.Timer(0.01, tails.add, [_end("two")]).start()
    assert tails.settle(60)
    tails.add(control_pb2.StatusResponse(vertexes=[begun]))
    tails.close()
    assert tails.settle(60)


RESULTS = {
    "nothing": (Result(), gateway_pb2.Result(ref=gateway_pb2.Ref())),
    "one": (
        Result(Ref("id"), metadata={"key": b"value"}),
        gateway_pb2.Result(ref=gateway_pb2.Ref(id="id"), metadata={"key": b"value"}),
    ),
    "several": (
        Result(refs={"linux/amd64": Ref("a"), "linux/arm64": None}),
        gateway_pb2.Result(
            refs=gateway_pb2.RefMap(
                refs={
                    "linux/amd64": gateway_pb2.Ref(id="a"),
                    "linux/arm64": gateway_pb2.Ref(),
                }
            )
        ),
    ),
}


@pytest.mark.parametrize(("result", "expected"), RESULTS.values(), ids=RESULTS)
def test_results_say_which_form_they_have(result: Result, expected: gateway_pb2.Result) -> None:
    """Even an empty result sets its oneof, for without it a daemon dies."""
    message = result_message(result)
    assert message == expected
    assert message.WhichOneof("result") is not None


def test_capabilities_are_those_enabled() -> None:
    """What a builder knows and has switched off does not count."""
    pong = gateway_pb2.PongResponse()
    pong.LLBCaps.add(ID="mergeop", Enabled=True)
    pong.LLBCaps.add(ID="diffop", Enabled=False)
    pong.FrontendAPICaps.add(ID="readdir", Enabled=True)
    worker = pong.Workers.add(ID="w", Labels={"a": "b"})
    worker.platforms.add(OS="linux", Architecture="arm", Variant="v7")
    found = capabilities_of(pong)
    assert (found.llb, found.frontend) == (frozenset({"mergeop"}), frozenset({"readdir"}))
    assert found.workers == (Worker("w", {"a": "b"}, ("linux/arm/v7",)),)
    assert found.missing(frozenset({"mergeop", "diffop", "a"})) == ("a", "diffop")


@pytest.mark.parametrize("name", ["linux/amd64", "linux/arm/v7"])
def test_platforms_are_spelled_both_ways(name: str) -> None:
    """A platform's name and message are inverses."""
    assert platform_name(platform_message(name)) == name
