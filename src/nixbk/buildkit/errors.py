"""Errors of a builder, decoded from gRPC status and its typed details.

The details travel as ``google.rpc.Status`` in the trailer ``grpc-status-details-bin``. The value
of each is JSON, its type URL ends in ``<package>.<Name>+json``.

Source: BuildKit ``util/grpcerrors/grpcerrors.go`` and ``solver/errdefs``. Pure.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc

_RPC_PREFIX: Final = re.compile(r"rpc error: code = \w+ desc = ")
_NO_EXPORTER: Final = re.compile(r'exporter "\w+" could not be found')
NOT_TOLD: Final[Mapping[str, Any]] = MappingProxyType({})
DETAILS_KEY: Final = "grpc-status-details-bin"

CONTAINERD_HINT: Final = (
    "Docker does this with its containerd image store only: put "
    '{"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and restart it'
)
DISK_FULL: Final = "no space left on device"
DISK_FULL_HINT: Final = "the builder's disk is full: make room there, then run the same again"
CACHE_DAMAGED_HINT: Final = (
    "the builder's cache is damaged, as it can be when its disk was full: prune it "
    "(docker builder prune, buildctl prune), then run the same again"
)
# as BuildKit says it, as what mounts for it does (containerd's core/mount), and as the kernel does
_SNAPSHOT_LOST: Final = re.compile(
    r"\bsnapshot\b[^:]* does not exist"
    r"|\bmount source: .*, err: no such file or directory"
    r"|/snapshots/\d+/fs: no such file or directory"
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


class SourceSpot(NamedTuple):
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


class Failure(NamedTuple):
    """What the typed details of an error tell.

    Attributes:
        vertex: digest of the operation that failed, ``sha256:<hex>``, as the builder computed it;
            empty when the error is not an operation's.
        name: the operation's name for people, else empty.
        description: all of the operation's description, as its metadata carried it.
        args: command of a failed exec, else empty.
        exit_code: of the command, or None.
        spots: places in the user's files.
        op: the operation, as JSON writes messages; empty when not told.
    """

    vertex: str = ""
    name: str = ""
    description: Mapping[str, str] | None = None
    args: tuple[str, ...] = ()
    exit_code: int | None = None
    spots: tuple[SourceSpot, ...] = ()
    op: Mapping[str, Any] = NOT_TOLD


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
        super().__init__(message, where=where, hint=way_out(message), code=code)
        self.failure = failure
        self.log = tuple(log)

    def with_log(self, name: str, log: Sequence[str]) -> BuildFailed:
        """Return the same error with the operation's last lines of output.

        Args:
            name: the operation's, where the error does not tell it: daemons before 0.15.
            log: without line ends.
        """
        failure = self.failure if self.failure.name else self.failure._replace(name=name)
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
    hint = CONTAINERD_HINT if _NO_EXPORTER.search(text) else way_out(text)
    return BuilderError(text, hint=hint, code=code)


def way_out(text: str) -> str | None:
    """What to do about a builder that fails whatever it is asked; None when *text* tells of none.

    A snapshot that BuildKit could not commit for want of room stays in its cache, as does one
    that lost its files so, and fails everything above it until it is pruned.
    """
    if DISK_FULL in text:
        return DISK_FULL_HINT
    return CACHE_DAMAGED_HINT if _SNAPSHOT_LOST.search(text) else None


def decode_details(raw: bytes) -> Failure:
    """Decode the bytes of ``grpc-status-details-bin``; what is not understood is left out."""
    if not raw:
        return Failure()
    from google.protobuf.message import DecodeError  # noqa: PLC0415  only failures need it
    from google.rpc import status_pb2  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        status = status_pb2.Status.FromString(raw)
    except DecodeError:
        return Failure()
    vertex, exit_code = "", None
    solve: dict[str, Any] = {}
    spots: list[SourceSpot] = []
    # json_format would do it, in the time that an answered question takes in all
    for detail in status.details:
        name = detail.type_url.rpartition("/")[2]
        if name == "errdefs.Vertex+json":
            # the innermost comes first
            vertex = vertex or _text(_object(detail.value), "digest")
        elif name == "errdefs.Solve+json":
            solve = _object(detail.value)
        elif name == "gatewayapi.ExitMessage+json":
            exit_code = _number(_object(detail.value), "Code")
        elif name == "errdefs.Source+json":
            spots.extend(_spots(_object(detail.value)))
    return _failure(vertex, solve, exit_code, tuple(spots))


def _failure(
    vertex: str, solve: dict[str, Any], exit_code: int | None, spots: tuple[SourceSpot, ...]
) -> Failure:
    description, op = _table(solve, "description"), _table(solve, "op")
    args = _list(_table(_table(op, "exec"), "meta"), "args")
    return Failure(
        vertex=vertex,
        name=_text(description, "llb.customname"),
        description={key: text for key, text in description.items() if isinstance(text, str)},
        args=tuple(arg for arg in args if isinstance(arg, str)),
        exit_code=exit_code,
        spots=spots,
        op=op,
    )


def _spots(source: dict[str, Any]) -> list[SourceSpot]:
    filename = _text(_table(source, "info"), "filename")
    starts = [_table(place, "start") for place in _list(source, "ranges")]
    places = [
        SourceSpot(filename, _number(start, "line"), _number(start, "character"))
        for start in starts
    ]
    return places or ([SourceSpot(filename, 0, 0)] if filename else [])


# JSON leaves out what is empty or 0; what is of another type than it should be counts as left out


def _object(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _table(parent: Any, key: str) -> dict[str, Any]:
    found = parent.get(key) if isinstance(parent, dict) else None
    return found if isinstance(found, dict) else {}


def _list(parent: dict[str, Any], key: str) -> list[Any]:
    found = parent.get(key)
    return found if isinstance(found, list) else []


def _text(parent: dict[str, Any], key: str) -> str:
    found = parent.get(key)
    return found if isinstance(found, str) else ""


def _number(parent: dict[str, Any], key: str) -> int:
    found = parent.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _clean(text: str) -> str:
    """Take the first line, without what gRPC puts before an error that passed through it."""
    return _RPC_PREFIX.sub("", text.strip().partition("\n")[0])
