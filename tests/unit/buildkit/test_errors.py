"""Errors of a builder, decoded."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from google.rpc import status_pb2  # type: ignore[import-untyped]

from nixbk.buildkit.errors import (
    CACHE_DAMAGED_HINT,
    CONTAINERD_HINT,
    DETAILS_KEY,
    DISK_FULL_HINT,
    BuildCancelledError,
    BuilderError,
    BuildFailed,
    ConnectError,
    Failure,
    SourceSpot,
    decode_details,
    from_rpc,
)
from nixbk.buildkit.rpc import grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "github.com/moby/buildkit/"
SOLVE = {
    "inputIDs": ["a"],
    "op": {
        "inputs": [{"digest": "sha256:aa", "index": "1"}],
        "exec": {"meta": {"args": ["/bin/sh", "-c"]}, "network": "NONE"},
        "platform": {"OS": "linux"},
        "somethingNew": {"x": 1},
    },
    "description": {"llb.customname": "hello-2.10", "nixbk.drv": "/nix/store/x"},
}
SOURCE = {
    "info": {"filename": "nixbk.toml", "data": base64.b64encode(b"[x]").decode()},
    "ranges": [{"start": {"line": 12, "character": 3}, "end": {"line": 12}}],
}


class Metadatum(NamedTuple):
    """As grpcio has it."""

    key: str
    value: bytes


class Rpc(grpc.RpcError):
    """An error as a call raises it."""

    def __init__(self, code: grpc.StatusCode, text: str, details: bytes = b"") -> None:
        super().__init__(text)
        self._code, self._text, self._details = code, text, details

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return the text."""
        return self._text

    def trailing_metadata(self) -> tuple[Metadatum, ...]:  # type: ignore[override]
        """Return what comes after the answer."""
        return (Metadatum("x", b""), Metadatum(DETAILS_KEY, self._details))


def _status(details: list[tuple[str, Mapping[str, object]]]) -> bytes:
    status = status_pb2.Status(code=2, message="failed")
    for name, value in details:
        status.details.add(type_url=PREFIX + name, value=json.dumps(value).encode())
    raw: bytes = status.SerializeToString()
    return raw


DETAILS = _status(
    [
        ("stack.Stack+json", {"frames": []}),
        ("errdefs.Solve+json", SOLVE),
        ("errdefs.Vertex+json", {"digest": "sha256:inner"}),
        ("errdefs.Vertex+json", {"digest": "sha256:outer"}),
        ("errdefs.Source+json", SOURCE),
        ("gatewayapi.ExitMessage+json", {"Code": 3}),
    ]
)


def test_details_are_decoded() -> None:
    """All that the typed details tell is there; what is not known is left out."""
    assert decode_details(DETAILS) == Failure(
        vertex="sha256:inner",
        name="hello-2.10",
        description=SOLVE["description"],  # type: ignore[arg-type]
        args=("/bin/sh", "-c"),
        exit_code=3,
        spots=(SourceSpot("nixbk.toml", 12, 3),),
        op=SOLVE["op"],  # type: ignore[arg-type]
    )


def test_broken_details_are_left_out() -> None:
    """Details that cannot be read do not hide the error."""
    assert decode_details(b"\xff\xff") == Failure()
    assert decode_details(_status([("errdefs.Solve+json", {"op": 7})])) == Failure(description={})


def test_a_failed_step_is_an_error_of_its_own() -> None:
    """A status with details of a step becomes BuildFailed, with the user's line in front."""
    error = from_rpc(Rpc(grpc.StatusCode.UNKNOWN, "process failed\nlong story", DETAILS))
    assert isinstance(error, BuildFailed)
    assert str(error) == "nixbk.toml:12: process failed"
    named = error.with_log("another name", ["line"])
    assert (named.failure.name, named.log) == ("hello-2.10", ("line",))


def test_a_step_without_a_name_gets_the_one_of_its_status() -> None:
    """Old daemons tell the name in the status stream only."""
    raw = _status([("errdefs.Vertex+json", {"digest": "sha256:x"})])
    error = from_rpc(Rpc(grpc.StatusCode.UNKNOWN, "rpc error: code = Unknown desc = no", raw))
    assert isinstance(error, BuildFailed)
    assert str(error.with_log("hello-2.10", [])) == "hello-2.10: no"


KINDS = [
    (grpc.StatusCode.UNAVAILABLE, ConnectError, "the builder closed the connection: text"),
    (grpc.StatusCode.CANCELLED, BuildCancelledError, "text"),
    (grpc.StatusCode.NOT_FOUND, BuilderError, "text"),
    (
        grpc.StatusCode.UNIMPLEMENTED,
        BuilderError,
        "the builder is too old for what was asked: text",
    ),
]


def test_an_exporter_that_docker_lacks_comes_with_a_way_out() -> None:
    """Docker with its old image store has one exporter."""
    error = from_rpc(Rpc(grpc.StatusCode.UNKNOWN, 'exporter "oci" could not be found'))
    assert error.hint == CONTAINERD_HINT


def test_a_full_disk_comes_with_a_way_out() -> None:
    """Whatever meets it, an operation or what BuildKit does around them."""
    text = "failed to commit x: write metadata.db: no space left on device"
    for details in (b"", DETAILS):
        assert from_rpc(Rpc(grpc.StatusCode.UNKNOWN, text, details)).hint == DISK_FULL_HINT


@pytest.mark.parametrize(
    "text",
    [
        "failed to stat active key during commit: snapshot does not exist: not found",
        "failed to stat active key during commit: snapshot k7pdbvx does not exist: not found",
        'mount source: "overlay", target: "/y", data: "", err: no such file or directory',
        "failed to commit x to y: stat /z/snapshots/snapshots/9/fs: no such file or directory",
    ],
)
def test_a_snapshot_that_was_lost_comes_with_a_way_out(text: str) -> None:
    """BuildKit stays in the way of all that needs it until it is pruned."""
    for details in (b"", DETAILS):
        assert from_rpc(Rpc(grpc.StatusCode.UNKNOWN, text, details)).hint == CACHE_DAMAGED_HINT


def test_other_errors_keep_their_code() -> None:
    """Errors without details are told apart by their code."""
    for code, kind, message in KINDS:
        error = from_rpc(Rpc(code, "text"))
        assert (type(error), error.message, error.code) == (kind, message, code.name)
