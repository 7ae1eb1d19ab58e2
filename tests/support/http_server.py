"""A small HTTP/1.1 server that answers as a function says. Effects: a socket, threads.

It keeps connections open, counts them, notes every request, and can misbehave while it answers:
break off, dawdle, or hang up without a word.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
_NO_BODY: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for.

    Attributes:
        method: ``GET`` and so on.
        path: with its query.
        headers: by name in lower case.
        body: of a PUT.
        connection: a number that all requests of one connection share.
        status: of the answer; 0 if there was none.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    connection: int = 0
    status: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told, and how.

    Attributes:
        status: 0 hangs up without a word.
        body: whole; what is left out of it is left to the server.
        headers: but for the length.
        cut: the connection ends after so many bytes of the body; None sends all.
        pieces: the body comes in so many.
        pause_s: the seconds before each piece.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    pieces: int = 1
    pause_s: float = 0.0


class Server:
    """A server at a port of loopback, from the beginning of the block to its end.

    Args:
        answer: called in the thread of each connection.
        certificate: and its key; None to serve without TLS.

    Attributes:
        requests: all so far, in the order they were answered.
        connections: how many there were.
    """

    def __init__(
        self, answer: Callable[[Request], Answer], certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._answer = answer
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._listener: _Listener | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http{'s' if self._tls else ''}://{LOOPBACK}:{self._port}"

    def start(self) -> None:
        """Listen; at the same port as before if it did already."""
        self._listener = _Listener(self, self._port, self._tls)
        self._port = self._listener.server_port
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and end those that are open."""
        if self._listener is not None:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener.hang_up()
            self._listener = None

    def asked(self, part: str = "", method: str = "") -> list[str]:
        """The paths of all requests so far that have *part* in them."""
        found = self.requests.copy()
        return [r.path for r in found if part in r.path and method in {"", r.method}]

    def forget(self) -> None:
        """Begin the list of requests, and the count of connections, anew."""
        self.requests.clear()
        self.connections = 0

    def respond(self, request: Request) -> Answer:
        """What *request* is answered; noted."""
        try:
            answer = self._answer(request)
        except Exception as error:  # noqa: BLE001  a fault of a test is seen by its client
            answer = Answer(500, f"the server of this test failed: {error!r}".encode())
        self.requests.append(replace(request, status=answer.status))
        return answer

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Listener(ThreadingHTTPServer):
    """Accepts connections, and knows them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: Server, port: int, tls: ssl.SSLContext | None) -> None:
        self.server = server
        self.tls = tls
        self.open: set[socket.socket] = set()
        super().__init__((LOOPBACK, port), _Connection)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept one; TLS begins in its own thread."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        self.server.connections += 1
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """End one."""
        self.open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all that are open."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients may leave as they like."""


class _Connection(BaseHTTPRequestHandler):
    """Asks the server what to answer, and sends that."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def setup(self) -> None:
        """Number the connection."""
        super().setup()
        self.number = self.server.server.connections

    def do_GET(self) -> None:
        """Answer."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self._body(), self.number)
        self._send(self.server.server.respond(request))

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  its base's names

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    def _send(self, answer: Answer) -> None:
        if not answer.status:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in _NO_BODY:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD" or answer.status in _NO_BODY:
            return
        body = answer.body if answer.cut is None else answer.body[: answer.cut]
        step = -(-len(body) // answer.pieces) or 1
        for start in range(0, len(body), step):
            time.sleep(answer.pause_s)
            self.wfile.write(body[start : start + step])
        if answer.cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its base's name
        """Say nothing."""
