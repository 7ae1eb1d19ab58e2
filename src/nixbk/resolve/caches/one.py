"""One request at a time, by libcurl: what is long, or written. Effect: sockets, reads files."""

from __future__ import annotations

import io
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, Final

import pycurl

from nixbk.resolve.caches.curl import aim, fault, multi_handle, prepare, reply, select, trust
from nixbk.resolve.caches.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.wire import Reply, Request, Timeouts

POLL_S: Final = 0.1
"""So long it may take until it is seen that nobody waits any more."""

BUFFER_BYTES: Final = 1 << 18
_OK: Final = 200
_PARTIAL: Final = 206


class CurlLine:
    """Carries one request at a time; see `nixbk.resolve.caches.wire.Line`.

    Args:
        cache: who is asked.
        timeouts: how long to wait.
        environ: of the user.
        closed: whether nobody waits any more.
    """

    def __init__(
        self,
        cache: Cache,
        timeouts: Timeouts,
        environ: Mapping[str, str],
        closed: Callable[[], bool],
    ) -> None:
        self._cache = cache
        self._timeouts = timeouts
        self._environ = environ
        self._closed = closed
        self._trust = trust(cache, environ)
        self._multi = multi_handle()
        self._easy = pycurl.Curl()
        self._pieces: list[bytes] = []

    def ask(self, request: Request) -> tuple[Reply, Generator[bytes, None, None]]:
        """Ask; see `nixbk.resolve.caches.wire.Line`."""
        body = self._transfer(request)
        try:
            next(body)
        except BaseException:
            body.close()
            raise
        return reply(self._easy, b""), body

    def close(self) -> None:
        """End all connections."""
        self._easy.close()
        self._multi.close()

    def _transfer(self, request: Request) -> Generator[bytes, None, None]:
        """The pieces of the body; an empty one first, when the answer has begun."""
        easy, multi, pieces = self._easy, self._multi, self._pieces
        with ExitStack() as stack:
            stack.callback(pieces.clear)
            stack.callback(easy.reset)
            self._set_up(request, stack)
            multi.add_handle(easy)
            stack.callback(multi.remove_handle, easy)
            running, begun = True, False
            while running:
                running = bool(multi.perform()[1])
                if pieces and not begun:
                    begun = True
                    yield b""
                if pieces:
                    piece = b"".join(pieces)
                    pieces.clear()
                    yield piece
                elif running:
                    select(multi, POLL_S)
                if self._closed():
                    raise WireError("it was not waited for", final=True)
            self._check(request)
            if not begun:
                yield b""

    def _set_up(self, request: Request, stack: ExitStack) -> None:
        easy = self._easy
        prepare(easy, self._timeouts, self._environ)
        self._trust(easy)
        headers = [f"{name}: {value}" for name, value in request.headers.items()]
        headers += aim(easy, self._cache, request.url, self._environ)
        easy.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        easy.setopt(pycurl.LOW_SPEED_TIME, self._timeouts.idle_s)
        easy.setopt(pycurl.BUFFERSIZE, BUFFER_BYTES)
        easy.setopt(pycurl.WRITEFUNCTION, self._pieces.append)
        if request.method == "HEAD":
            easy.setopt(pycurl.NOBODY, 1)
        elif request.method == "PUT":
            headers.append("Expect:")  # servers that do not know it are waited for a second
            self._give(request, stack)
        elif request.start:
            easy.setopt(pycurl.RESUME_FROM_LARGE, request.start)
        easy.setopt(pycurl.HTTPHEADER, headers)

    def _give(self, request: Request, stack: ExitStack) -> None:
        file: BinaryIO
        if isinstance(request.content, bytes):
            file, size = io.BytesIO(request.content), len(request.content)
        else:
            file = stack.enter_context(request.content.open("rb"))
            size = request.content.stat().st_size

        def rewind(offset: int, origin: int) -> int:
            file.seek(offset, origin)
            return int(pycurl.SEEKFUNC_OK)

        self._easy.setopt(pycurl.UPLOAD, 1)
        self._easy.setopt(pycurl.INFILESIZE_LARGE, size)
        self._easy.setopt(pycurl.READFUNCTION, file.read)
        self._easy.setopt(pycurl.SEEKFUNCTION, rewind)

    def _check(self, request: Request) -> None:
        """Raise what the transfer failed of, if it did."""
        _, _, bad = self._multi.info_read()
        status = self._easy.getinfo(pycurl.RESPONSE_CODE)
        for _, code, message in bad:
            # a refusal is no part of a file, either, and says more
            if code != pycurl.E_RANGE_ERROR or status in {_OK, _PARTIAL}:
                raise fault(self._easy, code, message)
        if request.method == "PUT" and self._easy.getinfo(pycurl.EFFECTIVE_METHOD) != "PUT":
            raise WireError("it is redirected to where nothing is written", final=True)
