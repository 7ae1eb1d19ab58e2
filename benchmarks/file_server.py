"""Serves a folder on loopback, connections kept alive: ``python file_server.py FOLDER``."""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(SimpleHTTPRequestHandler):
    """Speaks HTTP/1.1 and says nothing of what it does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes as many connections at once as clients open."""

    request_queue_size = 256


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), partial(Handler, directory=sys.argv[1]))
    print(f"port {server.server_address[1]}", flush=True)
    server.serve_forever()
