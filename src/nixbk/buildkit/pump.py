"""Bytes carried between two sockets, and a private unix socket in front of a dialled stream.

grpcio can dial a path and not a connected socket, so it dials a unix socket that only this user
may open, and the connection made to it is joined to the dialled one. Starts threads.
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
    """A private unix socket that leads to *connection*, for the first who connects to it.

    The socket is gone from the disk then, so that nothing is left behind however this process
    ends. A connection that broke is not made again: the builds it carried are over.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closed = False
        self._complaint = ""
        self._folder = private_folder()
        self.path = self._folder / "s"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        threading.Thread(target=self._serve, name="nixbk-bridge", daemon=True).start()

    @property
    def complaint(self) -> str:
        """What the program behind a connection that broke said last, or an empty text."""
        return self._complaint

    def close(self) -> None:
        """End the connection."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        with sock:
            pump(sock, self._connection.sock)
            if not self._closed:
                # told before the other side sees the end and asks for it
                self._complaint = self._connection.complaint()
