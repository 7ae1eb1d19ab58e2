"""Bytes carried between two sockets, and a private unix socket in front of a dialled stream.

grpcio can dial a path and not a connected socket, so it dials a unix socket that only this user
may open, and every connection made to it is joined to a freshly dialled one. Starts threads.
"""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixbk.buildkit.dial import Connection

_CHUNK_BYTES: Final = 256 * 1024
_PATH_LIMIT_BYTES: Final = 90
_AGAIN: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Flow:
    """One direction: what was read from *source* and not yet written to *sink*."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.data = memoryview(b"")
        self.ended = False

    def fill(self) -> None:
        """Read once, when nothing is left to write."""
        if self.data or self.ended:
            return
        try:
            self.data = memoryview(self.source.recv(_CHUNK_BYTES))
        except _AGAIN:
            return
        self.ended = not self.data

    def drain(self) -> None:
        """Write as much as is taken."""
        if not self.data:
            return
        try:
            self.data = self.data[self.sink.send(self.data) :]
        except _AGAIN:
            return


def pump(left: socket.socket, right: socket.socket) -> None:
    """Carry bytes both ways until either side ends; what was read by then is delivered.

    One thread serves both directions, for a TLS socket may not be used by two.
    """
    with contextlib.suppress(OSError, ValueError):  # closed by the other thread
        left.setblocking(False)  # noqa: FBT003
        right.setblocking(False)  # noqa: FBT003
        flows = (_Flow(left, right), _Flow(right, left))
        while not any(flow.ended and not flow.data for flow in flows):
            for flow in flows:
                flow.fill()
                flow.drain()
            if any(flow.ended and not flow.data for flow in flows):
                return
            if not _ready(flows):
                _wait(flows)


def _ready(flows: tuple[_Flow, _Flow]) -> bool:
    """Tell whether TLS holds bytes that no poll would announce."""
    return any(
        isinstance(flow.source, ssl.SSLSocket) and not flow.data and flow.source.pending()
        for flow in flows
    )


def _wait(flows: tuple[_Flow, _Flow]) -> None:
    poll = select.poll()
    masks: dict[int, int] = {flow.source.fileno(): 0 for flow in flows}
    for flow in flows:
        if flow.data:
            masks[flow.sink.fileno()] |= select.POLLOUT
        else:
            masks[flow.source.fileno()] |= select.POLLIN
    for number, mask in masks.items():
        if mask:  # even with no mask a poll would return for a side that hung up, over and over
            poll.register(number, mask)
    poll.poll()


def private_folder() -> Path:
    """Make a folder for sockets that only this user may enter, its path short enough for them."""
    folder = tempfile.gettempdir()
    if len(folder.encode()) > _PATH_LIMIT_BYTES - 30:
        folder = "/tmp"  # noqa: S108  the folder made in it is private
    return Path(tempfile.mkdtemp(prefix="nixbk-", dir=folder))


class Bridge:
    """A private unix socket whose every connection is joined to one that *dial* opens."""

    def __init__(self, dial: Callable[[], Connection]) -> None:
        self._dial = dial
        # dialled at once, so that a builder that does not answer is told of here
        self._first: Connection | None = dial()
        self._lock = threading.Lock()
        self._open: set[Connection] = {self._first}
        self._closed = False
        self._complaint = ""
        self._folder = private_folder()
        self.path = self._folder / "s"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        threading.Thread(target=self._accept, name="nixbk-bridge", daemon=True).start()

    @property
    def complaint(self) -> str:
        """What the program behind a connection that ended said last, or an empty text."""
        return self._complaint

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            self._closed = True
            connections = list(self._open)
            self._open.clear()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in connections:
            connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._join, args=(sock,), name="nixbk-pump", daemon=True
            ).start()

    def _join(self, sock: socket.socket) -> None:
        with sock:
            with self._lock:
                connection, self._first = self._first, None
            if connection is None:
                try:
                    connection = self._dial()
                except Exception:  # noqa: BLE001  the caller sees its connection close
                    return
                with self._lock:
                    if self._closed:
                        connection.close()
                        return
                    self._open.add(connection)
            pump(sock, connection.sock)
            if not self._closed:
                self._complaint = connection.complaint()
            with self._lock:
                if connection not in self._open:
                    return
                self._open.discard(connection)
            connection.close()
