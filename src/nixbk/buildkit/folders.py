"""Folders of this client, read by the builder as ``local://`` sources.

    sender                       receiver
    STAT entry (0), STAT … (1)
    STAT without entry     ──►
                           ◄──   REQ 1
    DATA 1 bytes, …
    DATA 1 without bytes   ──►
                           ◄──   FIN
    FIN                    ──►

Entries come folder by folder, names sorted as bytes. Owners are sent as root and extended
attributes not at all, as buildctl does. No link is followed.

Source: tonistiigi/fsutil ``send.go``, BuildKit ``session/filesync``. Reads the folders.
"""

from __future__ import annotations

import os
import queue
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixbk.buildkit.fsutil import go_mode, matches, open_folder, split_path
from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.service import Service, both_streams, metadata
from nixbk.proto import fsutil_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CHUNK_BYTES: Final = 256 * 1024
_Packet = fsutil_pb2.Packet


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder a builder may read.

    Attributes:
        path: where it is.
        include: patterns of what may be read of it; empty for everything.
        exclude: patterns of what may not.
    """

    path: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Filter:
    """Sets of patterns that must all let a path through."""

    include: tuple[tuple[str, ...], ...]
    exclude: tuple[str, ...]

    def lets(self, path: str) -> bool:
        return all(matches(patterns, path) for patterns in self.include) and not matches(
            self.exclude, path
        )


def folders_service(folders: Mapping[str, Folder]) -> Service:
    """Serve *folders* by the name of their source."""

    def copy(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        asked = metadata(context)
        name = (asked.get("dir-name") or ("",))[0]
        folder = folders.get(name)
        if folder is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"the folder {name!r} is not offered")
        wanted = [asked.get("include-patterns", ()), asked.get("followpaths", ()), folder.include]
        filtered = _Filter(
            tuple(patterns for patterns in wanted if patterns),
            (*asked.get("exclude-patterns", ()), *folder.exclude),
        )
        try:
            yield from send_folder(folder.path, requests, filtered)
        except (OSError, ValueError) as error:
            yield _Packet(type=_Packet.PACKET_ERR, data=str(error).encode()).SerializeToString()
            context.abort(grpc.StatusCode.INTERNAL, f"cannot read {name!r}: {error}")

    return Service("moby.filesync.v1.FileSync", {"DiffCopy": both_streams(copy)})


def send_folder(
    path: Path, requests: Iterator[bytes], filtered: _Filter | None = None
) -> Iterator[bytes]:
    """Play the sender's part for the folder at *path*."""
    # requests are read at once: a receiver whose requests nobody reads stops reading entries
    wanted: queue.SimpleQueue[fsutil_pb2.Packet | None] = queue.SimpleQueue()
    threading.Thread(
        target=_read_requests, args=(requests, wanted), name="nixbk-requests", daemon=True
    ).start()
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files: dict[int, str] = {}
        for number, entry in enumerate(_walk(root, filtered or _Filter((), ()))):
            if stat.S_ISREG(entry.mode):
                files[number] = entry.path
            packet = _Packet(type=_Packet.PACKET_STAT, stat=entry.message())
            yield packet.SerializeToString()
        yield _Packet(type=_Packet.PACKET_STAT).SerializeToString()
        while (request := wanted.get()) is not None:
            if request.type == _Packet.PACKET_FIN:
                yield _Packet(type=_Packet.PACKET_FIN).SerializeToString()
                return
            if request.type == _Packet.PACKET_ERR:
                raise ValueError(f"the builder says: {request.data.decode(errors='replace')}")
            if request.type == _Packet.PACKET_REQ:
                if request.ID not in files:
                    raise ValueError(f"the builder asks for {request.ID}, which is no file")
                yield from _send_file(root, files.pop(request.ID), request.ID)
    finally:
        os.close(root)


def _read_requests(
    requests: Iterator[bytes], wanted: queue.SimpleQueue[fsutil_pb2.Packet | None]
) -> None:
    try:
        for raw in requests:
            wanted.put(_Packet.FromString(raw))
    except grpc.RpcError:
        pass  # the other side is gone
    except Exception:  # noqa: BLE001, S110  grpcio raises a bare Exception when a call is over
        pass
    finally:
        wanted.put(None)


def _send_file(root: int, path: str, number: int) -> Iterator[bytes]:
    parts = split_path(path)
    folder = open_folder(root, parts[:-1])
    try:
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        while chunk := os.read(file, _CHUNK_BYTES):
            yield _Packet(type=_Packet.PACKET_DATA, ID=number, data=chunk).SerializeToString()
    finally:
        os.close(file)
    yield _Packet(type=_Packet.PACKET_DATA, ID=number).SerializeToString()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a walk."""

    path: str
    mode: int
    size: int
    mtime_ns: int
    target: str

    def message(self) -> fsutil_pb2.Stat:
        return fsutil_pb2.Stat(
            path=self.path,
            mode=go_mode(self.mode) or 0,
            size=self.size,
            modTime=self.mtime_ns,
            linkname=self.target,
        )


def _walk(root: int, filtered: _Filter) -> Iterator[_Entry]:
    """Every entry that *filtered* lets through, folders above them first; no recursion."""
    held: list[_Entry] = []  # folders above, not let through themselves, not sent yet
    stack: list[tuple[str, list[str]]] = [("", _names(root))]
    while stack:
        folder, names = stack[-1]
        if not names:
            stack.pop()
            if held and held[-1].path == folder:
                held.pop()
            continue
        path = f"{folder}/{names.pop()}".lstrip("/")
        entry = _entry(root, path)
        if entry is None:
            continue
        let = filtered.lets(path)
        if let:
            yield from held
            held.clear()
            yield entry
        if stat.S_ISDIR(entry.mode):
            if not let:
                held.append(entry)
            number = open_folder(root, split_path(path))
            try:
                stack.append((path, _names(number)))
            finally:
                os.close(number)


def _names(folder: int) -> list[str]:
    """The names of a folder, last first."""
    return sorted(os.listdir(folder), key=os.fsencode, reverse=True)


def _entry(root: int, path: str) -> _Entry | None:
    """Describe a file; None for sockets, pipes, devices, and names that are no UTF-8."""
    parts = split_path(path)
    try:
        parts[-1].encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the name {path!r} is no UTF-8") from error
    folder = open_folder(root, parts[:-1])
    try:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        if go_mode(found.st_mode) is None:
            return None
        link = stat.S_ISLNK(found.st_mode)
        target = os.readlink(parts[-1], dir_fd=folder) if link else ""
    finally:
        os.close(folder)
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return _Entry(path, found.st_mode, size, found.st_mtime_ns, target)
