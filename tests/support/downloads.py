"""A server of files for builders to download. Effects: a socket, threads."""

from __future__ import annotations

import base64
import gzip
import lzma
import re
import socket
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from nixbk.nix import nar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD: Final = "open-5esame-42"  # noqa: S105  it opens nothing else
LOGIN: Final = "Basic " + base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
_OTHER_HOST: Final = re.compile("^http://[^/]*")
ARCHIVE: Final = b"".join(
    nar.write(
        [
            nar.Directory(""),
            nar.RegularFile("file", 5, executable=False),
            nar.Data(b"text\n"),
            nar.Symlink("link", "file"),
            nar.RegularFile("program", 3, executable=True),
            nar.Data(b"run"),
        ]
    )
)


class _Files(BaseHTTPRequestHandler):
    """Answers as the path says: see ``tests/differential/builds/cases/downloads.nix``.

    As a proxy it has the files of all other servers, too.
    """

    asked: Final[set[tuple[str, str]]] = set()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send what the path says."""
        path = _OTHER_HOST.sub("", self.path).lstrip("/")
        while True:
            word, _, rest = path.partition("/")
            if word == "redirect":
                self._send(302, b"", Location=f"/{rest}")
            elif word == "once" and self._first_time():
                self._send(503, b"later")
            elif word == "private" and self.headers.get("Authorization") != LOGIN:
                self._send(401, b"who?", **{"WWW-Authenticate": 'Basic realm="x"'})
            elif word == "gzip":
                found = gzip.compress(rest.rpartition("/")[2].encode())
                self._send(200, found, **{"Content-Encoding": "gzip"})
            elif word == "text":
                self._send(200, rest.encode())
            elif path == "archive.nar":
                self._send(200, ARCHIVE)
            elif path == "archive.nar.xz":
                self._send(200, lzma.compress(ARCHIVE))
            elif word in {"once", "private"}:
                path = rest
                continue
            else:
                self._send(500 if word == "broken" else 404, b"nothing")
            return

    do_HEAD = do_GET  # noqa: N815  its base's name

    def _first_time(self) -> bool:
        """Whether this client, by its user agent, asks for the first time."""
        key = (self.path, self.client_address[0] + self.headers.get("User-Agent", ""))
        first = key not in self.asked
        self.asked.add(key)
        return first

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its base's name
        """Say nothing."""


@contextmanager
def serve(certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """The address of a server that this machine and containers on it reach.

    Args:
        certificate: one for :func:`own_address`, and its key; None to serve without TLS.
    """
    with ThreadingHTTPServer(("0.0.0.0", 0), _Files) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if certificate else ''}://{own_address()}:{server.server_port}"
        server.shutdown()


def own_address() -> str:
    """An address of this machine that containers reach, too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        found: str = probe.getsockname()[0]
        return found
