"""Folders on the wire: sender and receiver against one another, and against hostile bytes."""

from __future__ import annotations

import os
import queue
import stat
from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit.folders import send_folder
from nixbk.buildkit.fsutil import GO_DIR, GO_SYMLINK, go_mode, matches, split_path
from nixbk.buildkit.receive import ReceiveError, receive_folder
from nixbk.proto import fsutil_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Packet = fsutil_pb2.Packet


def _copy(source: Path, target: Path) -> None:
    """Play both parts, each fed with what the other says."""
    for_sender: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def requests() -> Iterator[bytes]:
        while (raw := for_sender.get()) is not None:
            yield raw

    for raw in receive_folder(target, send_folder(source, requests())):
        for_sender.put(raw)
    for_sender.put(None)


def test_a_folder_survives_the_way(tmp_path: Path) -> None:
    """Bytes, modes, times and links arrive; a second copy over the first changes nothing."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "file").write_bytes(os.urandom(600_000))
    (source / "a-").write_text("sorts after a/b by bytes of whole paths")
    (source / "empty").write_text("")
    (source / "link").symlink_to("a/b")
    (source / "a" / "b").chmod(0o555)
    (source / "a" / "b" / "file").chmod(0o444)
    os.utime(source / "a", ns=(1_000_000_001, 1_000_000_001))
    for _ in range(2):
        _copy(source, target)
        for path in source.rglob("*"):
            other = target / path.relative_to(source)
            ours, theirs = path.lstat(), other.lstat()
            assert (ours.st_mode, ours.st_mtime_ns) == (theirs.st_mode, theirs.st_mtime_ns)
            if path.is_symlink():
                assert path.readlink() == other.readlink()
            elif path.is_file():
                assert path.read_bytes() == other.read_bytes()
    (source / "a" / "b").chmod(0o755)
    (target / "a" / "b").chmod(0o755)


def _stat(path: str, mode: int = 0o644, target: str = "") -> bytes:
    entry = fsutil_pb2.Stat(path=path, mode=mode, linkname=target)
    return Packet(type=Packet.PACKET_STAT, stat=entry).SerializeToString()


def _data(number: int, data: bytes = b"") -> bytes:
    return Packet(type=Packet.PACKET_DATA, ID=number, data=data).SerializeToString()


OUTSIDE = GO_SYMLINK | 0o777
HOSTILE = {
    "above": [_stat("../x")],
    "absolute": [_stat("/x")],
    "above within": [_stat("a", GO_DIR | 0o755), _stat("a/../../x")],
    "empty": [_stat("")],
    "below a link": [_stat("a", OUTSIDE, ".."), _stat("a/x")],
    "folder over a link": [_stat("a", OUTSIDE, ".."), _stat("a", GO_DIR | 0o755), _stat("a/x")],
    "hard link to above": [_stat("x", 0o644, "../secret")],
    "hard link through a link": [_stat("a", OUTSIDE, ".."), _stat("x", 0o644, "a/secret")],
    "device": [_stat("x", 1 << 26 | 0o644)],
    "data nobody asked for": [_data(7, b"x")],
    "an error": [Packet(type=Packet.PACKET_ERR, data=b"no").SerializeToString()],
    "the end too early": [_stat("x"), Packet(type=Packet.PACKET_FIN).SerializeToString()],
    "nothing": [],
}


@pytest.mark.parametrize("packets", HOSTILE.values(), ids=HOSTILE)
def test_nothing_outside_is_touched(tmp_path: Path, packets: list[bytes]) -> None:
    """Whatever a builder sends, only the folder changes, and the transfer fails."""
    (tmp_path / "secret").write_text("secret")
    with pytest.raises((ReceiveError, OSError)):
        list(receive_folder(tmp_path / "target", packets))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "target"]
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """A file takes the place of a link instead of being written through it."""
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "secret").write_text("secret")
    (target / "x").symlink_to("../secret")
    end = Packet(type=Packet.PACKET_STAT).SerializeToString()
    fin = Packet(type=Packet.PACKET_FIN).SerializeToString()
    replies = list(receive_folder(target, [_stat("x"), end, _data(0, b"data"), _data(0), fin]))
    assert [Packet.FromString(raw).type for raw in replies] == [
        Packet.PACKET_REQ,
        Packet.PACKET_FIN,
    ]
    assert (target / "x").read_text() == "data"
    assert (tmp_path / "secret").read_text() == "secret"


MODES = {
    "file": (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
    "folder": (stat.S_IFDIR | 0o1777, GO_DIR | 1 << 20 | 0o777),
    "link": (stat.S_IFLNK | 0o777, GO_SYMLINK | 0o777),
    "group": (stat.S_IFREG | 0o2640, 1 << 22 | 0o640),
    "socket": (stat.S_IFSOCK | 0o777, None),
    "pipe": (stat.S_IFIFO | 0o644, None),
}


@pytest.mark.parametrize(("mode", "expected"), MODES.values(), ids=MODES)
def test_modes_are_those_of_go(mode: int, expected: int | None) -> None:
    """Types and special bits have Go's places."""
    assert go_mode(mode) == expected


PATTERNS = {
    "name": (["a"], {"a": True, "a/b": True, "ab": False, "b/a": False}),
    "star": (["*.c"], {"x.c": True, "d/x.c": False, ".c": True}),
    "two stars": (["**/*.c"], {"x.c": True, "a/b/x.c": True, "x.h": False}),
    "stars within": (["a/**/z"], {"a/z": True, "a/b/c/z": True, "b/z": False}),
    "stars at the end": (["a/**"], {"a/b": True, "a/b/c": True, "a": False}),
    "question mark": (["f?"], {"f1": True, "f": False, "f/": False, "f12": False}),
    "set": (["[a-c]x", "[^a]y"], {"bx": True, "dx": False, "by": True, "ay": False}),
    "quoted": ([r"a\*"], {"a*": True, "ab": False}),
    "taken back": (["a", "!a/b", "a/b/c"], {"a/x": True, "a/b/x": False, "a/b/c": True}),
    "point": (["."], {"x": True, "a/b": True}),
    "slashes": (["/a/"], {"a": True}),
    "none": ([], {"a": False}),
}


@pytest.mark.parametrize(("patterns", "paths"), PATTERNS.values(), ids=PATTERNS)
def test_patterns_are_those_of_buildkit(patterns: list[str], paths: dict[str, bool]) -> None:
    """Each pattern finds what moby/patternmatcher finds with it."""
    assert {path: matches(patterns, path) for path in paths} == paths


def test_an_open_bracket_is_refused() -> None:
    """A set that does not end is told."""
    with pytest.raises(ValueError, match=r"^the bracket of '\[a' is not closed$"):
        matches(["[a"], "a")


@pytest.mark.parametrize("path", ["", "/", "/a", "a/", "a//b", ".", "a/..", "..", "a\0b"])
def test_paths_that_lead_astray_are_refused(path: str) -> None:
    """Only clean relative paths are split."""
    with pytest.raises(ValueError, match="is no path within a folder"):
        split_path(path)
