"""Graphs as definitions, the form in which BuildKit takes them. Pure.

    definition = *operation, terminal; metadata by digest; source locations
    terminal   = an operation with one input and nothing else: the result

Operations come inputs first, in the order of a depth-first walk that takes the deepest
input first and equal ones in the order of the operation. It depends on the graph alone.

Source: ``State.Marshal`` of BuildKit's ``client/llb/state.go``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from nixbk.llb.vertex import Vertex, delimited
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixbk.llb.origin import SourceFile
    from nixbk.llb.vertex import Output

MAX_DEFINITION_BYTES: Final = 12 * 1024 * 1024
"""What nixbk sends at most; BuildKit refuses messages of 16 MiB."""

_REMEMBERED: Final = 4_000_000  # of one machine word each
_TERMINAL_CAPS: Final = ("constraints", "meta.description", "platform")


def marshal(output: Output | None) -> tuple[pb.Definition, int]:
    """The definition that makes *output*, and its size in bytes; empty for None."""
    data = Marshaller().to_bytes(output)
    return pb.Definition.FromString(data), len(data)


def capabilities(output: Output) -> frozenset[str]:
    """Capabilities that BuildKit must have for *output*."""
    return output.vertex.all_caps.union(_TERMINAL_CAPS)


def walk(output: Output) -> tuple[Vertex, ...]:
    """The vertices of *output*, inputs first, in the order of its definition."""
    return Marshaller().walk(output)


@dataclass(slots=True)
class Marshaller:
    """Marshals many outputs of one growing graph, remembering what they share.

    What it remembers never shows in what it returns.
    """

    _vertices: dict[bytes, Vertex] = field(default_factory=dict)
    _orders: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    _remembered: int = 0
    _digests: dict[str, bytes] = field(default_factory=dict)
    _ambiguous: bool = False

    def marshal(self, output: Output | None) -> tuple[pb.Definition, int]:
        """The definition that makes *output*, and its size in bytes; empty for None."""
        data = self.to_bytes(output)
        return pb.Definition.FromString(data), len(data)

    def to_bytes(self, output: Output | None) -> bytes:
        """The definition that makes *output*, serialised."""
        if output is None:
            return b""
        order = self._order(output.vertex)
        parts = [*order, _terminal(output)]
        files = sorted(self._files(order), key=lambda f: (f.name, f.data, f.language))
        if files:
            parts.append(_infos(files))
        data = b"".join(parts)
        if len(files) > 1:
            return _renumbered(data, map(self._vertices.__getitem__, order), files)
        return data

    def walk(self, output: Output) -> tuple[Vertex, ...]:
        """The vertices of *output*, inputs first, in the order of its definition."""
        return tuple(map(self._vertices.__getitem__, self._order(output.vertex)))

    def _order(self, root: Vertex) -> Sequence[bytes]:
        order = self._orders.get(root.fragment) or self._search(root)
        return _once_each(order, self._vertices) if self._ambiguous else order

    def _search(self, root: Vertex) -> tuple[bytes, ...]:
        seen: dict[bytes, None] = {}
        orders = self._orders
        path: list[tuple[Vertex, int]] = [(root, 0)]
        while path:
            vertex, position = path.pop()
            ancestry = vertex.ancestry
            while position < len(ancestry):
                parent = ancestry[position]
                position += 1
                if parent.fragment in seen:
                    continue
                if known := orders.get(parent.fragment):
                    seen.update(dict.fromkeys(known))
                    continue
                path.append((vertex, position))
                path.append((parent, 0))
                break
            else:
                if vertex.fragment not in seen:
                    seen[vertex.fragment] = None
                    self._learn(vertex)
        order = tuple(seen)
        self._remember(root.fragment, order)
        return order

    def _learn(self, vertex: Vertex) -> None:
        self._vertices.setdefault(vertex.fragment, vertex)
        if self._digests.setdefault(vertex.digest, vertex.fragment) != vertex.fragment:
            self._ambiguous = True

    def _remember(self, key: bytes, order: tuple[bytes, ...]) -> None:
        while self._orders and self._remembered + len(order) > _REMEMBERED:
            oldest = next(iter(self._orders))
            self._remembered -= len(self._orders.pop(oldest))
        self._orders[key] = order
        self._remembered += len(order)

    def _files(self, order: Iterable[bytes]) -> set[SourceFile]:
        origins = (self._vertices[fragment].origin for fragment in order)
        return {o.file for o in origins if o is not None and o.file is not None and o.located}


def _once_each(order: Iterable[bytes], vertices: dict[bytes, Vertex]) -> list[bytes]:
    """One fragment for each digest: the least of those that differ in metadata only."""
    chosen: dict[str, bytes] = {}
    for fragment in order:
        digest = vertices[fragment].digest
        chosen[digest] = min(chosen.get(digest, fragment), fragment)
    return list(chosen.values())


def _terminal(output: Output) -> bytes:
    op = pb.Op(inputs=[pb.Input(digest=output.vertex.digest, index=output.index)])
    data = op.SerializeToString(deterministic=True)
    metadata = pb.OpMetadata(caps=dict.fromkeys(_TERMINAL_CAPS, True))
    digest = f"sha256:{sha256(data).hexdigest()}".encode()
    value = metadata.SerializeToString(deterministic=True)
    return delimited(1, data) + delimited(2, delimited(1, digest) + delimited(2, value))


def _infos(files: Iterable[SourceFile]) -> bytes:
    infos = [pb.SourceInfo(filename=f.name, data=f.data, language=f.language) for f in files]
    return delimited(3, pb.Source(infos=infos).SerializeToString(deterministic=True))


def _renumbered(
    definition: bytes, vertices: Iterable[Vertex], files: Sequence[SourceFile]
) -> bytes:
    """A definition whose locations point at more files than the first."""
    message = pb.Definition.FromString(definition)
    for vertex in vertices:
        if vertex.origin is not None and vertex.origin.file in files:
            for location in message.Source.locations[vertex.digest].locations:
                location.sourceIndex = files.index(vertex.origin.file)
    return message.SerializeToString(deterministic=True)
