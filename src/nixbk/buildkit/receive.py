"""A folder that the builder's ``local`` exporter sends, written below one folder of this client.

The receiver's part of the protocol told in ``nixbk.buildkit.folders``. Whatever the builder
names, nothing outside the folder is touched: paths are checked, and no link is followed. Owners
and set-id bits are not taken over.

Source: tonistiigi/fsutil ``receive.go``, ``diskwriter.go``. Writes files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.buildkit.fsutil import GO_DIR, GO_SYMLINK, GO_TYPE, open_folder, split_path
from nixbk.proto import fsutil_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# with more, requests nobody reads and data nobody reads would wait for one another
_AT_ONCE: Final = 64
_Packet = fsutil_pb2.Packet


class ReceiveError(Exception):
    """What the builder sends cannot be written."""


class _Open(NamedTuple):
    """A file that is being received."""

    file: int
    mode: int
    mtime_ns: int


class _Receiver:
    def __init__(self, root: int) -> None:
        self._root = root
        self._count = 0
        self._complete = False
        self._waiting: deque[tuple[int, fsutil_pb2.Stat]] = deque()
        self._open: dict[int, _Open] = {}
        self._folders: list[tuple[tuple[str, ...], int, int]] = []

    def close(self) -> None:
        for opened in self._open.values():
            os.close(opened.file)

    def take(self, packet: fsutil_pb2.Packet) -> None:
        """Take the next packet of the builder."""
        if packet.type == _Packet.PACKET_STAT:
            if packet.HasField("stat"):
                self._entry(self._count, packet.stat)
                self._count += 1
            else:
                self._complete = True
        elif packet.type == _Packet.PACKET_DATA:
            self._data(packet)
        elif packet.type == _Packet.PACKET_ERR:
            raise ReceiveError(f"the builder says: {packet.data.decode(errors='replace')}")

    def requests(self) -> Iterator[int]:
        """Numbers of the files to ask for now."""
        while self._waiting and len(self._open) < _AT_ONCE:
            number, entry = self._waiting.popleft()
            self._open[number] = self._create(entry)
            yield number

    @property
    def done(self) -> bool:
        """Whether every entry is written."""
        return self._complete and not self._waiting and not self._open

    def finish(self) -> None:
        """Give folders their modes and times, inner ones first."""
        for parts, mode, mtime_ns in reversed(self._folders):
            number = open_folder(self._root, parts)
            try:
                os.utime(number, ns=(mtime_ns, mtime_ns))
                os.fchmod(number, mode)
            finally:
                os.close(number)

    def _entry(self, number: int, entry: fsutil_pb2.Stat) -> None:
        kind = entry.mode & GO_TYPE
        if kind == GO_DIR:
            self._make_folder(entry)
        elif kind == GO_SYMLINK:
            with self._parent(entry.path) as (folder, name):
                _clear(folder, name)
                os.symlink(entry.linkname, name, dir_fd=folder)
                times = (entry.modTime, entry.modTime)
                os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
        elif kind:
            raise ReceiveError(f"{entry.path!r} is a device, a pipe or a socket")
        elif entry.linkname:
            with self._parent(entry.linkname) as source, self._parent(entry.path) as target:
                _clear(*target)
                os.link(
                    source[1],
                    target[1],
                    src_dir_fd=source[0],
                    dst_dir_fd=target[0],
                    follow_symlinks=False,
                )
        else:
            self._waiting.append((number, entry))

    def _make_folder(self, entry: fsutil_pb2.Stat) -> None:
        self._folders.append((_parts(entry.path), entry.mode & 0o777, entry.modTime))
        with self._parent(entry.path) as (folder, name):
            try:
                os.mkdir(name, 0o700, dir_fd=folder)
            except FileExistsError:
                number = open_folder(folder, [name])
                os.fchmod(number, 0o700)
                os.close(number)

    def _create(self, entry: fsutil_pb2.Stat) -> _Open:
        with self._parent(entry.path) as (folder, name):
            _clear(folder, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(name, flags, 0o600, dir_fd=folder)
        return _Open(file, entry.mode & 0o777, entry.modTime)

    def _data(self, packet: fsutil_pb2.Packet) -> None:
        opened = self._open.get(packet.ID)
        if opened is None:
            raise ReceiveError(f"the builder sends {packet.ID}, which was not asked for")
        if packet.data:
            rest = memoryview(packet.data)
            while rest:
                rest = rest[os.write(opened.file, rest) :]
            return
        del self._open[packet.ID]
        try:
            os.fchmod(opened.file, opened.mode)
            os.utime(opened.file, ns=(opened.mtime_ns, opened.mtime_ns))
        finally:
            os.close(opened.file)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The open folder that *path* is in, and its name there."""
        parts = _parts(path)
        folder = open_folder(self._root, parts[:-1])
        try:
            yield folder, parts[-1]
        finally:
            os.close(folder)


def receive_folder(target: Path, packets: Iterable[bytes]) -> Iterator[bytes]:
    """Play the receiver's part, writing below *target*, which is made when it is not there.

    Raises:
        ReceiveError: the builder sends what cannot be written.
        OSError: the folder cannot be written to.
    """
    target.mkdir(parents=True, exist_ok=True)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    receiver = _Receiver(root)
    finished = False
    try:
        for raw in packets:
            packet = _Packet.FromString(raw)
            if packet.type == _Packet.PACKET_FIN:
                break
            receiver.take(packet)
            for number in receiver.requests():
                yield _Packet(type=_Packet.PACKET_REQ, ID=number).SerializeToString()
            if receiver.done and not finished:
                receiver.finish()
                finished = True
                yield _Packet(type=_Packet.PACKET_FIN).SerializeToString()
        if not finished:
            raise ReceiveError("the builder stopped in between")
    finally:
        receiver.close()
        os.close(root)


def _parts(path: str) -> tuple[str, ...]:
    try:
        return split_path(path)
    except ValueError as error:
        raise ReceiveError(str(error)) from error


def _clear(folder: int, name: str) -> None:
    """Remove what is at *name*, so that something else can be there."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(name, dir_fd=folder)
