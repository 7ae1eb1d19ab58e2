from __future__ import annotations

import pytest

from nixbk.nix.nar import (
    MAX_DEPTH,
    Data,
    Directory,
    Event,
    NarError,
    RegularFile,
    Symlink,
    file_nar,
    nar_hash,
    read,
    write,
)
from nixbk.nix.wire import length, string


def _nar(*words: str | bytes) -> bytes:
    """The words as strings; those of bytes as they are."""
    return b"".join(string(w.encode()) if isinstance(w, str) else w for w in words)


MAGIC = "nix-archive-1"
FILE = ("(", "type", "regular", "contents", "x", ")")
TREE: list[Event] = [
    Directory(""),
    RegularFile("a", 0, executable=True),
    Directory("b"),
    RegularFile("b/c", 9),
    Data(b"123456789"),
    Symlink("b/d", "../a"),
    Directory("e"),
]


def _entry(name: str | bytes, *node: str | bytes) -> tuple[str | bytes, ...]:
    return ("entry", "(", "name", name, "node", *node, ")")


TREE_NAR = _nar(
    MAGIC,
    "(",
    "type",
    "directory",
    *_entry("a", "(", "type", "regular", "executable", "", "contents", "", ")"),
    *_entry(
        "b",
        *("(", "type", "directory"),
        *_entry("c", "(", "type", "regular", "contents", "123456789", ")"),
        *_entry("d", "(", "type", "symlink", "target", "../a", ")"),
        ")",
    ),
    *_entry("e", "(", "type", "directory", ")"),
    ")",
)


def test_a_tree_is_written_as_nix_writes_it() -> None:
    """Nested strings, each with its length and padding."""
    assert b"".join(write(TREE)) == TREE_NAR


def test_an_archive_is_read_however_it_is_cut() -> None:
    """Chunks of any size give the same tree; only the data's chunks differ."""
    for size in (1, 7, 8, 64, len(TREE_NAR)):
        chunks = [TREE_NAR[i : i + size] for i in range(0, len(TREE_NAR), size)]
        events = list(read([b"", *chunks, b""]))
        assert [event for event in events if not isinstance(event, Data)] == [
            event for event in TREE if not isinstance(event, Data)
        ]
        data = b"".join(event.chunk for event in events if isinstance(event, Data))
        assert data == b"123456789"
        assert b"".join(write(events)) == TREE_NAR


# `nix-store --dump` of a file "abc" that holds "abc", and `nix hash path` of it.
def test_a_single_file() -> None:
    """A file is an archive, too."""
    known, size_bytes = nar_hash([file_nar(b"abc")])
    assert (known.sri(), size_bytes) == (
        "sha256-EacbR1TYEvSuogFhxTO9qhEqxchTAT5l06qWQLVzUjA=",
        120,
    )


def test_content_is_streamed() -> None:
    """A file is read and written in the chunks that come, never as a whole."""
    count, chunk = 1_000, bytes(65_536)
    events: list[Event] = [RegularFile("", count * len(chunk)), *[Data(chunk)] * count]
    sizes = [len(part) for part in write(events)]
    assert (max(sizes), sum(sizes)) == (len(chunk), count * len(chunk) + 112)
    assert sum(isinstance(event, Data) for event in read(write(events))) == count


def _directory(*words: str | bytes) -> bytes:
    return _nar(MAGIC, "(", "type", "directory", *words)


def _nested(depth: int) -> bytes:
    opened = ("(", "type", "directory", "entry", "(", "name", "a", "node") * depth
    return _nar(MAGIC, *opened, *FILE, *((")", ")") * depth))


BAD_ARCHIVES = {
    "empty": (b"", "bad archive before byte 0: the data ends early"),
    "another format": (b"PK\3\4" * 10, "the data does not begin as a Nix archive does"),
    "a huge magic": (
        b"\xff" * 8 + MAGIC.encode() + bytes(3),
        "the data does not begin as a Nix archive does",
    ),
    "padding of the magic": (
        _nar(MAGIC)[:-1] + b"\1",
        "bad archive before byte 24: the padding is not zero",
    ),
    "no node": (_nar(MAGIC), "bad archive before byte 24: the data ends early"),
    "no parenthesis": (_nar(MAGIC, "type"), "bad archive before byte 40: b'type' is not '('"),
    "no type": (_nar(MAGIC, "(", "kind"), "bad archive before byte 56: b'kind' is not 'type'"),
    "unknown type": (
        _nar(MAGIC, "(", "type", "fifo"),
        "bad archive before byte 72: b'fifo' is no type of file",
    ),
    "a huge word": (
        _nar(MAGIC, "(", length(2**64 - 1)),
        "bad archive before byte 48: a string has 18446744073709551615 bytes, more than 32",
    ),
    "executable with a value": (
        _nar(MAGIC, "(", "type", "regular", "executable", "yes"),
        "bad archive before byte 104: a string has 3 bytes, more than 0",
    ),
    "no contents": (
        _nar(MAGIC, "(", "type", "regular", ")"),
        "bad archive before byte 88: b')' is not 'contents'",
    ),
    "huge contents": (
        _nar(MAGIC, "(", "type", "regular", "contents", length(2**63), b"x" * 8),
        "bad archive before byte 104: the data ends 9223372036854775800 bytes early",
    ),
    "contents without padding": (
        _nar(MAGIC, *FILE[:4], length(1), b"xyyyyyyy"),
        "bad archive before byte 104: the padding is not zero",
    ),
    "file not closed": (
        _nar(MAGIC, *FILE[:-1]),
        "bad archive before byte 104: the data ends early",
    ),
    "bytes behind the end": (
        _nar(MAGIC, *FILE) + b"\0",
        "bad archive before byte 120: the data goes on after the end of the archive",
    ),
    "empty target": (
        _nar(MAGIC, "(", "type", "symlink", "target", "", ")"),
        "the symbolic link '' has a bad target",
    ),
    "target with NUL": (
        _nar(MAGIC, "(", "type", "symlink", "target", "a\0", ")"),
        "the symbolic link '' has a bad target",
    ),
    "long target": (
        _nar(MAGIC, "(", "type", "symlink", "target", "a" * 4096, ")"),
        "bad archive before byte 96: a string has 4096 bytes, more than 4095",
    ),
    "no entry": (
        _directory("node"),
        "bad archive before byte 96: b'node' is neither 'entry' nor ')'",
    ),
    "names unsorted": (
        _directory(*_entry("b", *FILE), *_entry("a", *FILE)),
        "the name 'a' is not in sorted order",
    ),
    "name twice": (
        _directory(*_entry("a", *FILE), *_entry("a", *FILE)),
        "the name 'a' is there twice",
    ),
    "empty name": (_directory(*_entry("", *FILE)), "'' is no file name"),
    "dot": (_directory(*_entry(".", *FILE)), "'.' is no file name"),
    "two dots": (_directory(*_entry("..", *FILE)), "'..' is no file name"),
    "slash": (_directory(*_entry("a/b", *FILE)), "'a/b' is no file name"),
    "NUL": (_directory(*_entry("a\0", *FILE)), "'a\\x00' is no file name"),
    "long name": (
        _directory(*_entry("a" * 256, *FILE)),
        "bad archive before byte 136: a string has 256 bytes, more than 255",
    ),
    "too deep": (
        _nested(MAX_DEPTH),
        "bad archive before byte 8728: directories are nested more than 64 deep",
    ),
    "endlessly deep": (
        _nested(5_000),
        "bad archive before byte 8728: directories are nested more than 64 deep",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_bad_archives_are_refused(data: bytes, message: str) -> None:
    """Hostile bytes give one error, and no more memory than they have."""
    with pytest.raises(NarError) as caught:
        list(read([data]))
    assert str(caught.value) == message


def test_the_deepest_tree_nix_takes() -> None:
    """One level below the limit is read and written."""
    data = _nested(MAX_DEPTH - 1)
    assert b"".join(write(read([data]))) == data


def test_no_part_of_an_archive_is_an_archive() -> None:
    """An archive that is cut anywhere is refused."""
    for size in range(len(TREE_NAR)):
        with pytest.raises(NarError):
            list(read([TREE_NAR[:size]]))


BAD_TREES: dict[str, tuple[list[Event], str]] = {
    "nothing": ([], "a tree without a root has no archive"),
    "no root": (
        [RegularFile("a", 0)],
        "'a' is out of place: a tree has one root, which comes first",
    ),
    "two roots": (
        [Directory(""), Directory("")],
        "'' is out of place: a tree has one root, which comes first",
    ),
    "in a file": (
        [RegularFile("", 0), RegularFile("a", 0)],
        "'a' is in no directory that is open",
    ),
    "in no directory": (
        [Directory(""), RegularFile("a/b", 0)],
        "'a/b' is in no directory that is open",
    ),
    "in a directory that is closed": (
        [Directory(""), Directory("a"), Directory("b"), Directory("a/c")],
        "'a/c' is in no directory that is open",
    ),
    "unsorted": (
        [Directory(""), Directory("b"), Directory("a")],
        "the name 'a' is not in sorted order",
    ),
    "twice": (
        [Directory(""), Directory("d"), Symlink("d/a", "x"), Symlink("d/a", "y")],
        "d: the name 'a' is there twice",
    ),
    "bad name": ([Directory(""), Directory("..")], "'..' is no file name"),
    "bad target": ([Symlink("", "")], "the symbolic link '' has a bad target"),
    "no text": ([Symlink("", "\ud800")], "'\\ud800' has characters that are no text"),
    "data without a file": ([Data(b"x")], "a file has more bytes than its size says"),
    "too much data": (
        [RegularFile("", 1), Data(b"xy")],
        "a file has more bytes than its size says",
    ),
    "too little data": (
        [Directory(""), RegularFile("a", 3), Data(b"xy"), Directory("b")],
        "a file has 1 bytes less than its size says",
    ),
    "no data": ([RegularFile("", 3)], "a file has 3 bytes less than its size says"),
    "negative size": ([RegularFile("", -1)], "-1 is no length"),
    "too deep": (
        [Directory(""), *(Directory("/".join("a" * depth)) for depth in range(1, 65))],
        f"{'/'.join('a' * 64)!r} is nested more than 64 deep",
    ),
}


@pytest.mark.parametrize(("events", "message"), BAD_TREES.values(), ids=BAD_TREES)
def test_bad_trees_are_refused(events: list[Event], message: str) -> None:
    """What is no tree, or none that an archive can hold, is not written."""
    with pytest.raises(NarError) as caught:
        list(write(events))
    assert str(caught.value) == message
