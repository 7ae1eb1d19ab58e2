"""Errors of a builder, decoded from gRPC status and its typed details.

The details travel as ``google.rpc.Status`` in the trailer ``grpc-status-details-bin``. The value
of each is JSON, its type URL ends in ``<package>.<Name>+json``.

Source: BuildKit ``util/grpcerrors/grpcerrors.go`` and ``solver/errdefs``. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc
    from google.protobuf.message import Message

    from nixbk.proto import errdefs_pb2, gateway_pb2

_Detail = TypeVar("_Detail", bound="Message")

_RPC_PREFIX: Final = re.compile(r"rpc error: code = \w+ desc = ")
_NO_EXPORTER: Final = re.compile(r'exporter "\w+" could not be found')
DETAILS_KEY: Final = "grpc-status-details-bin"

CONTAINERD_HINT: Final = (
    "Docker does this with its containerd image store only: put "
    '{"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and restart it'
)


class BuilderError(NixbkError):
    """A builder refused or failed something.

    Attributes:
        code: gRPC's name of the status, such as ``UNKNOWN``; empty outside gRPC.
    """

    def __init__(
        self, message: str, *, where: str | None = None, hint: str | None = None, code: str = ""
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.code = code


class ConnectError(BuilderError):
    """No builder answers at an address."""


class BuildCancelledError(BuilderError):
    """The build was cancelled on this side."""


@dataclass(frozen=True, slots=True)
class SourceSpot:
    """A place in the user's file that a builder blames.

    Attributes:
        filename: as the definition named it.
        line: from 1; 0 when not known.
        character: from 0.
    """

    filename: str
    line: int
    character: int

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}" if self.line else self.filename


@dataclass(frozen=True, slots=True)
class Failure:
    """What the typed details of an error tell.

    Attributes:
        vertex: digest of the operation that failed, ``sha256:<hex>``, as the builder computed it;
            empty when the error is not an operation's.
        name: the operation's name for people, else empty.
        description: all of the operation's description, as its metadata carried it.
        args: command of a failed exec, else empty.
        exit_code: of the command, or None.
        spots: places in the user's files.
        op: the operation, serialised; empty when not told.
    """

    vertex: str = ""
    name: str = ""
    description: Mapping[str, str] | None = None
    args: tuple[str, ...] = ()
    exit_code: int | None = None
    spots: tuple[SourceSpot, ...] = ()
    op: bytes = b""


class BuildFailed(BuilderError):  # noqa: N818  an outcome of a build more than an error of nixbk
    """An operation failed on the builder.

    Attributes:
        failure: what is known of it.
        log: its last lines of output.
    """

    def __init__(
        self, message: str, *, failure: Failure, log: Sequence[str] = (), code: str = ""
    ) -> None:
        where = str(failure.spots[0]) if failure.spots else failure.name or None
        super().__init__(message, where=where, code=code)
        self.failure = failure
        self.log = tuple(log)

    def with_log(self, name: str, log: Sequence[str]) -> BuildFailed:
        """Return the same error with the operation's last lines of output.

        Args:
            name: the operation's, where the error does not tell it: daemons before 0.15.
            log: without line ends.
        """
        failure = self.failure if self.failure.name else replace(self.failure, name=name)
        return BuildFailed(self.message, failure=failure, log=log, code=self.code)


def from_rpc(error: grpc.RpcError) -> BuilderError:
    """Decode what a call to a builder raised."""
    code = error.code().name
    text = _clean(error.details() or code.lower())
    trailer = {pair.key: pair.value for pair in error.trailing_metadata() or ()}
    failure = decode_details(trailer.get(DETAILS_KEY, b""))
    if failure.vertex or failure.op or failure.exit_code is not None:
        return BuildFailed(text, failure=failure, code=code)
    if code == "UNAVAILABLE":
        return ConnectError(
            f"the builder closed the connection: {text}",
            hint="see that it is still running, then run the same command again",
            code=code,
        )
    if code == "CANCELLED":
        return BuildCancelledError(text, code=code)
    if code == "UNIMPLEMENTED":
        return BuilderError(
            f"the builder is too old for what was asked: {text}",
            hint="use Docker 24 or BuildKit 0.12, or later ones",
            code=code,
        )
    hint = CONTAINERD_HINT if _NO_EXPORTER.search(text) else None
    return BuilderError(text, hint=hint, code=code)


def decode_details(raw: bytes) -> Failure:
    """Decode the bytes of ``grpc-status-details-bin``; what is not understood is left out."""
    if not raw:
        return Failure()
    from google.protobuf.message import DecodeError  # noqa: PLC0415  only failures need it
    from google.rpc import status_pb2  # type: ignore[import-untyped]  # noqa: PLC0415

    from nixbk.proto import errdefs_pb2, gateway_pb2  # noqa: PLC0415

    try:
        status = status_pb2.Status.FromString(raw)
    except DecodeError:
        return Failure()
    vertex, solve, exit_message = "", errdefs_pb2.Solve(), None
    spots: list[SourceSpot] = []
    for detail in status.details:
        name = detail.type_url.rpartition("/")[2]
        if name == "errdefs.Vertex+json":
            # the innermost comes first
            vertex = vertex or _json(detail.value, errdefs_pb2.Vertex()).digest
        elif name == "errdefs.Solve+json":
            solve = _json(detail.value, solve)
        elif name == "gatewayapi.ExitMessage+json":
            exit_message = _json(detail.value, gateway_pb2.ExitMessage())
        elif name == "errdefs.Source+json":
            spots.extend(_spots(_json(detail.value, errdefs_pb2.Source())))
    return _failure(vertex, solve, exit_message, tuple(spots))


def _failure(
    vertex: str,
    solve: errdefs_pb2.Solve,
    exit_message: gateway_pb2.ExitMessage | None,
    spots: tuple[SourceSpot, ...],
) -> Failure:
    description = dict(solve.description)
    return Failure(
        vertex=vertex,
        name=description.get("llb.customname", ""),
        description=description,
        args=tuple(solve.op.exec.meta.args),
        exit_code=exit_message.Code if exit_message is not None else None,
        spots=spots,
        op=solve.op.SerializeToString(deterministic=True) if solve.HasField("op") else b"",
    )


def _spots(source: errdefs_pb2.Source) -> list[SourceSpot]:
    filename = source.info.filename
    places = [
        SourceSpot(filename, place.start.line, place.start.character) for place in source.ranges
    ]
    return places or ([SourceSpot(filename, 0, 0)] if filename else [])


def _json(value: bytes, message: _Detail) -> _Detail:
    """Read *value* into *message*, which stays as it was when that cannot be done."""
    from google.protobuf import json_format  # noqa: PLC0415  only failures need it

    try:
        return json_format.Parse(value, type(message)(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError):
        return message


def _clean(text: str) -> str:
    """Take the first line, without what gRPC puts before an error that passed through it."""
    return _RPC_PREFIX.sub("", text.strip().partition("\n")[0])
