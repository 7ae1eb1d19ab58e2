"""Vertices: operations marshalled once, and the edges between them. Pure.

A vertex keeps its *fragment*: the ``pb.Definition`` with this one operation and its
metadata and location. Protocol buffers merge messages by concatenation, so the
definition of a graph is its fragments one after the other, and no operation is
serialised a second time.

Source: ``Vertex``, ``Output``, ``MarshalConstraints`` of BuildKit's ``client/llb``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.llb.errors import LlbError
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixbk.llb.origin import Origin
    from nixbk.llb.platforms import Platform

CUSTOM_NAME: Final = "llb.customname"
SCRATCH: Final = -1
_CONSTRAINTS: Final = pb.WorkerConstraints()
"""BuildKit's client always sends it."""
_BARE_FRAME: Final = pb.Op(constraints=_CONSTRAINTS).SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Vertex:
    """One operation; made by the functions of this package alone.

    Two vertices are equal when BuildKit and the user would see the same.

    Attributes:
        digest: ``sha256:`` and the hash of its bytes; what other operations point at.
        name: what progress and errors call it.
        kind: ``source``, ``exec``, ``file``, ``merge`` or ``diff``.
        inputs: in the order in which the operation counts them.
        origin: where the user asked for it.
        caps: capabilities that BuildKit must have for it.
        all_caps: the same for it and all that it needs.
        depth: 0 without inputs, else one more than the deepest of them.
        ancestry: vertices of *inputs*, once each, deepest first; the order of a walk.
        fragment: the definition of this vertex alone.
        span: where in *fragment* the operation itself is.
    """

    digest: str
    name: str
    kind: str
    inputs: tuple[Output, ...]
    origin: Origin | None
    caps: frozenset[str]
    all_caps: frozenset[str]
    depth: int
    ancestry: tuple[Vertex, ...]
    fragment: bytes
    span: tuple[int, int] = field(default=(0, 0))

    @property
    def data(self) -> bytes:
        """The serialised operation, which hashes to *digest*."""
        return self.fragment[slice(*self.span)]

    @property
    def op(self) -> pb.Op:
        """The operation, parsed anew."""
        return pb.Op.FromString(self.data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vertex):
            return NotImplemented
        return self.fragment == other.fragment and self.origin == other.origin

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Vertex {self.kind} {self.name!r} {self.digest[7:19]}>"


@dataclass(frozen=True, slots=True)
class Output:
    """One file system that a vertex makes.

    Attributes:
        vertex: its maker.
        index: which of its outputs.
    """

    vertex: Vertex
    index: int = 0


class About(NamedTuple):
    """What goes with an operation and is not in its bytes.

    Attributes:
        name: what people call it; never a digest.
        origin: where the user asked for it.
        ignore_cache: run it although it is cached.
    """

    name: str
    origin: Origin | None = None
    ignore_cache: bool = False


class Inputs:
    """The inputs of one operation while it is put together, each once."""

    def __init__(self) -> None:
        self._indices: dict[tuple[str, int], int] = {}
        self.outputs: list[Output] = []

    def add(self, output: Output | None) -> int:
        """The index by which the operation points at *output*; -1, for None, is scratch."""
        if output is None:
            return SCRATCH
        index = self._indices.setdefault((output.vertex.digest, output.index), len(self.outputs))
        if index == len(self.outputs):
            self.outputs.append(output)
        return index


def seal(
    op: pb.Op,
    inputs: Sequence[Output],
    caps: Iterable[str],
    about: About,
    platform: Platform | None = None,
) -> Vertex:
    """The vertex of *op*, which has nothing but its one kind of operation yet.

    The bytes, and so the digest, are those of BuildKit's client: Go writes fields in the
    order of their numbers, but what is ``oneof`` several after all others. Of the metadata,
    BuildKit checks the capabilities of a whole definition, again for each one it is sent; so an
    operation leaves out what those below it say already.

    Raises:
        LlbError: it has no name.
    """
    if not about.name:
        raise LlbError("an operation has no name")
    data = _frame(inputs, platform) + op.SerializeToString(deterministic=True)
    digest = f"sha256:{sha256(data).hexdigest()}"
    caps = frozenset(caps)
    below = frozenset[str]().union(*(o.vertex.all_caps for o in inputs))
    described = pb.OpMetadata(
        ignore_cache=about.ignore_cache, description={CUSTOM_NAME: about.name}
    )
    metadata = described.SerializeToString(deterministic=True) + _caps(caps - below)
    head = b"\x0a" + varint(len(data))
    entry = delimited(1, digest.encode()) + delimited(2, metadata)
    entries = [head, data, delimited(2, entry)]
    if about.origin is not None and about.origin.located:
        entries.append(delimited(3, _location(digest, about.origin)))
    distinct = {o.vertex.fragment: o.vertex for o in inputs}
    return Vertex(
        digest=digest,
        name=about.name,
        kind=op.WhichOneof("op") or "",
        inputs=tuple(inputs),
        origin=about.origin,
        caps=caps,
        all_caps=caps | below,
        depth=1 + max((v.depth for v in distinct.values()), default=-1),
        ancestry=tuple(sorted(distinct.values(), key=lambda v: -v.depth)),
        fragment=b"".join(entries),
        span=(len(head), len(head) + len(data)),
    )


def _frame(inputs: Sequence[Output], platform: Platform | None) -> bytes:
    """What an operation has before its own part."""
    if not inputs and platform is None:
        return _BARE_FRAME
    return pb.Op(
        inputs=[pb.Input(digest=o.vertex.digest, index=o.index) for o in inputs],
        platform=None if platform is None else platform.to_proto(),
        constraints=_CONSTRAINTS,
    ).SerializeToString(deterministic=True)


@cache
def _caps(caps: frozenset[str]) -> bytes:
    """The part of an operation's metadata that names capabilities; there are few such sets."""
    message = pb.OpMetadata(caps=dict.fromkeys(caps, True))
    return message.SerializeToString(deterministic=True)


def _location(digest: str, origin: Origin) -> bytes:
    source = pb.Source()
    span = source.locations[digest].locations.add().ranges.add()
    span.start.line = origin.line
    span.end.line = max(origin.line, origin.end_line)
    return source.SerializeToString(deterministic=True)


def varint(number: int) -> bytes:
    """An unsigned number as protocol buffers write it."""
    groups = []
    while number > 0x7F:  # noqa: PLR2004  # seven bits to the byte
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def delimited(field_number: int, value: bytes) -> bytes:
    """A length-delimited field: bytes, text or a message."""
    return varint(field_number << 3 | 2) + varint(len(value)) + value
