"""Serves a folder over HTTP: ``serve.py HOST PORT FOLDER``.

Effect: listens until it is killed.
"""

import functools
import http.server
import sys


class Server(http.server.ThreadingHTTPServer):
    """One thread per request, with room for everybody who comes at once."""

    request_queue_size = 256
    daemon_threads = True


def main() -> None:
    """Serve until killed."""
    host, port, folder = sys.argv[1:]
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with Server((host, int(port)), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
