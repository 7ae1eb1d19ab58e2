"""The Nix archive: a file tree as one stream of bytes. Pure.

Grammar::

    nar      = str("nix-archive-1") node
    node     = str("(") str("type") body str(")")
    body     = str("regular") [str("executable") str("")] str("contents") string
             / str("symlink") str("target") string      ; 1 to 4095 bytes, no NUL
             / str("directory") *entry                  ; sorted by name, unique
    entry    = str("entry") str("(") str("name") string str("node") node str(")")
    string   = length bytes padding
    length   = 8 bytes, little-endian
    padding  = zero bytes up to a multiple of 8

A name has 1 to 255 bytes, no ``/`` and no NUL, and is neither ``.`` nor ``..``.
A tree is at most 64 nodes deep. The end of the archive is the end of the data.

Reader and writer speak in events: a node with its path from the root, ``""`` for
the root itself, directories before what is in them; the content of a file
follows it in chunks. Neither holds more than a chunk and the names above it.

Source: ``parseDump`` and ``SourceAccessor::dumpPath``, Nix
``src/libutil/archive.cc``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.nix.aterm import to_bytes
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.wire import ALIGNMENT, Input, NarError, length, padding, string

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "MAX_DEPTH",
    "Data",
    "Directory",
    "Event",
    "NarError",
    "Node",
    "RegularFile",
    "Symlink",
    "file_nar",
    "nar_hash",
    "read",
    "write",
]

MAX_DEPTH: Final = 64

_MAGIC: Final = b"nix-archive-1"
_MAX_TAG: Final = 32
_MAX_NAME: Final = 255
_MAX_TARGET: Final = 4095


class Directory(NamedTuple):
    """A directory; what is in it follows."""

    path: str


class RegularFile(NamedTuple):
    """A file; `Data` of *size_bytes* together follows."""

    path: str
    size_bytes: int
    executable: bool = False


class Symlink(NamedTuple):
    """A symbolic link."""

    path: str
    target: str


class Data(NamedTuple):
    """The next bytes of the file before."""

    chunk: bytes


Node = Directory | RegularFile | Symlink
Event = Node | Data


def read(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The tree in an archive; the inverse of `write`.

    What was yielded is proven only once the iterator has ended without an error.

    Args:
        chunks: the archive, cut anywhere.

    Raises:
        NarError: the data breaks the grammar, ends early, or goes on after the end.

    Source: ``parseDump``, Nix ``src/libutil/archive.cc``.
    """
    data = Input(chunks)
    if data.take(ALIGNMENT + len(_MAGIC)) != length(len(_MAGIC)) + _MAGIC:
        raise NarError("the data does not begin as a Nix archive does")
    data.skip_padding(len(_MAGIC))
    directories: list[_Open] = []
    yield from _read_node(data, "", directories)
    while directories:
        tag = data.string(_MAX_TAG)
        if tag == b")":
            directories.pop()
            if directories:
                data.expect(b")")
        elif tag == b"entry":
            yield from _read_entry(data, directories)
        else:
            raise data.error(f"{tag!r} is neither 'entry' nor ')'")
    data.expect_end()


def write(events: Iterable[Event]) -> Iterator[bytes]:
    """The archive of a tree, in chunks; the inverse of `read`.

    Raises:
        NarError: the events are no tree, not in order, or of a tree no archive can hold.

    Source: ``SourceAccessor::dumpPath``, Nix ``src/libutil/archive.cc``.
    """
    writer = _Writer([])
    yield string(_MAGIC)
    for event in events:
        if isinstance(event, Data):
            after = writer.data(len(event.chunk))
            yield event.chunk
            yield after
        else:
            yield writer.node(event)
    yield writer.end()


def nar_hash(chunks: Iterable[bytes]) -> tuple[Hash, int]:
    """The SHA-256 of an archive and its size in bytes.

    Source: ``hashPath``, Nix ``src/libutil/file-content-address.cc``.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in chunks:
        digest.update(chunk)
        size_bytes += len(chunk)
    return Hash(HashAlgorithm.SHA256, digest.digest()), size_bytes


def file_nar(contents: bytes, *, executable: bool = False) -> bytes:
    """The archive of a single file.

    Source: ``dumpString``, Nix ``src/libutil/archive.cc``.
    """
    return b"".join(write([RegularFile("", len(contents), executable), Data(contents)]))


@dataclass(slots=True)
class _Open:
    """A directory that is being read or written, and the last name in it."""

    path: str
    last_name: bytes = b""

    def enter(self, name: bytes) -> str:
        """Check the next name and return the path of what it names."""
        text = name.decode("utf-8", "surrogateescape")
        if not 0 < len(name) <= _MAX_NAME or name in {b".", b".."} or b"/" in name or b"\0" in name:
            raise NarError(f"{text!r} is no file name", where=self.path or None)
        if name == self.last_name:
            raise NarError(f"the name {text!r} is there twice", where=self.path or None)
        if name < self.last_name:
            raise NarError(f"the name {text!r} is not in sorted order", where=self.path or None)
        self.last_name = name
        return f"{self.path}/{text}" if self.path else text


def _read_entry(data: Input, directories: list[_Open]) -> Iterator[Event]:
    data.expect(b"(")
    data.expect(b"name")
    path = directories[-1].enter(data.string(_MAX_NAME))
    data.expect(b"node")
    if len(directories) >= MAX_DEPTH:
        raise data.error(f"directories are nested more than {MAX_DEPTH} deep")
    yield from _read_node(data, path, directories)


def _read_node(data: Input, path: str, directories: list[_Open]) -> Iterator[Event]:
    """Read a node; that of a directory only up to its entries."""
    data.expect(b"(")
    data.expect(b"type")
    kind = data.string(_MAX_TAG)
    match kind:
        case b"directory":
            directories.append(_Open(path))
            yield Directory(path)
            return
        case b"regular":
            yield from _read_file(data, path)
        case b"symlink":
            data.expect(b"target")
            target = data.string(_MAX_TARGET).decode("utf-8", "surrogateescape")
            _target(path, target)
            yield Symlink(path, target)
        case _:
            raise data.error(f"{kind!r} is no type of file")
    data.expect(b")")
    if directories:
        data.expect(b")")


def _read_file(data: Input, path: str) -> Iterator[Event]:
    tag = data.string(_MAX_TAG)
    executable = tag == b"executable"
    if executable:
        data.string(0)
        tag = data.string(_MAX_TAG)
    if tag != b"contents":
        raise data.error(f"{tag!r} is not 'contents'")
    size_bytes = data.length()
    yield RegularFile(path, size_bytes, executable)
    yield from map(Data, data.stream(size_bytes))
    data.skip_padding(size_bytes)


@dataclass(slots=True)
class _Writer:
    """What is open while a tree is written.

    Attributes:
        directories: those that are open, outermost first.
        begun: whether the root was there.
        lacking_bytes: what the last file still lacks.
        after_file: what is due when it has all.
    """

    directories: list[_Open]
    begun: bool = False
    lacking_bytes: int = 0
    after_file: bytes = b""

    def node(self, node: Node) -> bytes:
        """Begin a node, after closing the directories that it is not in."""
        self._check_complete()
        begin = self._enter(node.path)
        match node:
            case Directory(path):
                self.directories.append(_Open(path))
                return begin + string(b"directory")
            case Symlink(path, target):
                body = string(b"symlink") + string(b"target") + string(_target(path, target))
                return begin + body + self._close()
            case RegularFile(_, size_bytes, executable):
                flag = string(b"executable") + string(b"") if executable else b""
                body = string(b"regular") + flag + string(b"contents") + length(size_bytes)
                self.lacking_bytes = size_bytes
                self.after_file = padding(size_bytes) + self._close()
                return begin + body + self.data(0)

    def data(self, size_bytes: int) -> bytes:
        """Take note of *size_bytes* more bytes of a file; what follows them."""
        self.lacking_bytes -= size_bytes
        if self.lacking_bytes < 0:
            raise NarError("a file has more bytes than its size says")
        if self.lacking_bytes:
            return b""
        after, self.after_file = self.after_file, b""
        return after

    def end(self) -> bytes:
        """Close whatever is open."""
        self._check_complete()
        if not self.begun:
            raise NarError("a tree without a root has no archive")
        return self._leave(0)

    def _check_complete(self) -> None:
        if self.lacking_bytes:
            raise NarError(f"a file has {self.lacking_bytes} bytes less than its size says")

    def _close(self) -> bytes:
        """Close a node, and the entry it is in."""
        return _CLOSE * (2 if self.directories else 1)

    def _leave(self, depth: int) -> bytes:
        """Close all but the outermost *depth* directories."""
        closed = b""
        while len(self.directories) > depth:
            self.directories.pop()
            closed += self._close()
        return closed

    def _enter(self, path: str) -> bytes:
        if self.begun == (not path):
            raise NarError(f"{path!r} is out of place: a tree has one root, which comes first")
        if not self.begun:
            self.begun = True
            return string(b"(") + string(b"type")
        parent, _, name = path.rpartition("/")
        depth = len(self.directories)
        while depth and self.directories[depth - 1].path != parent:
            depth -= 1
        if not depth:
            raise NarError(f"{path!r} is in no directory that is open")
        if depth >= MAX_DEPTH:
            raise NarError(f"{path!r} is nested more than {MAX_DEPTH} deep")
        closed = self._leave(depth)
        name_bytes = _bytes(name)
        self.directories[-1].enter(name_bytes)
        head = map(string, (b"entry", b"(", b"name", name_bytes, b"node", b"(", b"type"))
        return closed + b"".join(head)


def _bytes(text: str) -> bytes:
    try:
        return to_bytes(text)
    except UnicodeEncodeError as error:
        raise NarError(f"{text!r} has characters that are no text") from error


def _target(path: str, target: str) -> bytes:
    """Check the target of a symbolic link."""
    data = _bytes(target)
    if not 0 < len(data) <= _MAX_TARGET or b"\0" in data:
        raise NarError(f"the symbolic link {path!r} has a bad target")
    return data


_CLOSE: Final = string(b")")
