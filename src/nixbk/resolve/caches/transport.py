"""One cache's files, one at a time: read as they come, written, asked whether they are there.

May be used from many threads. Effect: sockets, or the files of a folder.

Source: ``FileTransfer``, Nix ``src/libstore/filetransfer.cc``; ``HttpBinaryCacheStore``, Nix
``src/libstore/http-binary-cache-store.cc``.
"""

from __future__ import annotations

import os
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from nixbk.resolve.caches import folder
from nixbk.resolve.caches.address import AddressError
from nixbk.resolve.caches.attempts import Attempts
from nixbk.resolve.caches.cache import Cache
from nixbk.resolve.caches.faults import (
    CacheError,
    CacheRefusedError,
    CacheUnreachableError,
    NotInCacheError,
    told,
)
from nixbk.resolve.caches.verdicts import verdict
from nixbk.resolve.caches.wire import NoRangeError, Request, Timeouts, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    from nixbk.resolve.caches.wire import Line, Reply

__all__ = [
    "Cache",
    "CacheClient",
    "CacheError",
    "CacheRefusedError",
    "CacheUnreachableError",
    "NotInCacheError",
    "Timeouts",
]

PROGRESS_BYTES: Final = 1 << 20
"""So much more of a file than before makes it worth as many tries again."""

_CHUNK_BYTES: Final = 1 << 18
_ERROR_BYTES: Final = 1 << 13


class CacheClient:
    """Reads and writes the files of one cache; a context manager.

    Args:
        cache: which.
        timeouts: how long to wait.
        environ: of the user.
        line: makes what carries requests; libcurl by default.
        wait: waits so many seconds before a further try, or until the event; a twin in tests.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        timeouts: Timeouts | None = None,
        environ: Mapping[str, str] = os.environ,
        line: Callable[[], Line] | None = None,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self.cache = cache
        self._timeouts = timeouts or Timeouts()
        self._environ = environ
        self._make_line = line or self._line
        self._wait = wait
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._closed = threading.Event()

    def open(self, url: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a file, as they come.

        What is cut is gone on with where it ended: by a range where the server has them, else by
        leaving out what came already. So it takes a hash to tell whether it is all of one file.

        Args:
            url: as a narinfo has it.
            start: how many bytes to leave out.

        Raises:
            NotInCacheError: the cache does not have it.
            CacheError: it cannot be had.
        """
        whole = self._join(url)
        if self.cache.address.kind == "file":
            yield from folder.read_long(self.cache.name, whole, start)
            return
        attempts = Attempts(self.cache.name, whole)
        offset = good = start
        ranges = True
        while True:
            asked = offset if ranges else 0
            try:
                with self._ask(Request("GET", whole, asked)) as (reply, body):
                    pause_s = attempts.answered(self._with_error(reply, body))
                    if pause_s is None:
                        for chunk in _after(body, offset - asked):
                            offset += len(chunk)
                            if offset - good >= PROGRESS_BYTES:
                                good = offset
                                attempts.progressed()
                            yield chunk
                        return
            except NoRangeError:
                ranges = False
                pause_s = 0.0
            except WireError as error:
                pause_s = self._broke(attempts, whole, error)
            self._pause(pause_s)

    def read(self, url: str, limit_bytes: int) -> bytes:
        """All bytes of a file; see `open`.

        Raises:
            CacheError: it cannot be had, or is longer than *limit_bytes*.
        """
        data = bytearray()
        for chunk in self.open(url):
            data += chunk
            if len(data) > limit_bytes:
                raise CacheError(
                    f"{told(url)}: the file is longer than {limit_bytes} bytes",
                    where=self.cache.name,
                )
        return bytes(data)

    def exists(self, url: str) -> bool:
        """Whether the cache has a file.

        Raises:
            CacheError: it does not say.
        """
        whole = self._join(url)
        if self.cache.address.kind == "file":
            return folder.exists(self.cache.name, whole)
        try:
            self._short(Request("HEAD", whole))
        except NotInCacheError:
            return False
        return True

    def put(
        self, url: str, content: bytes | Path, media_type: str = "application/octet-stream"
    ) -> None:
        """Write a file to the cache.

        Args:
            url: relative to the cache.
            content: all of it, or a file that holds it.
            media_type: of the content.

        Raises:
            CacheError: the cache does not take it.
        """
        whole = self._join(url)
        if self.cache.address.kind == "file":
            folder.write(self.cache.name, whole, _chunks(content))
            return
        self._short(Request("PUT", whole, content=content, headers={"content-type": media_type}))

    def close(self) -> None:
        """End all connections, from any thread: what is under way fails with `CacheError`."""
        self._closed.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _join(self, url: str) -> str:
        try:
            return self.cache.address.join(url)
        except AddressError as error:
            raise CacheError(error.message, where=self.cache.name) from error

    def _short(self, request: Request) -> None:
        """Ask until there is an answer, whose body is of no interest."""
        attempts = Attempts(self.cache.name, request.url, private=request.method == "PUT")
        while True:
            try:
                with self._ask(request) as (reply, body):
                    pause_s = attempts.answered(self._with_error(reply, body))
                    if pause_s is None:
                        return
            except WireError as error:
                pause_s = self._broke(attempts, request.url, error)
            self._pause(pause_s)

    @contextmanager
    def _ask(self, request: Request) -> Iterator[tuple[Reply, Generator[bytes, None, None]]]:
        with self._lock:
            if self._closed.is_set():
                raise self._interrupted()
            line = self._idle.pop() if self._idle else self._make_line()
        try:
            reply, body = line.ask(request)
            with closing(body):
                yield reply, body
        finally:
            with self._lock:
                keep = not self._closed.is_set()
                if keep:
                    self._idle.append(line)
            if not keep:
                line.close()

    def _line(self) -> Line:
        from nixbk.resolve.caches.one import CurlLine  # noqa: PLC0415 - loads libcurl

        return CurlLine(self.cache, self._timeouts, self._environ, self._closed.is_set)

    def _with_error(self, reply: Reply, body: Iterator[bytes]) -> Reply:
        """An answer with its body if that tells of an error, as servers of buckets do."""
        if self.cache.address.bucket is None or verdict(reply.status) == "take":
            return reply
        data = b""
        with suppress(WireError):
            while len(data) < _ERROR_BYTES and (piece := next(body, None)) is not None:
                data += piece
        return reply._replace(body=data[:_ERROR_BYTES])

    def _broke(self, attempts: Attempts, url: str, error: WireError) -> float:
        if self._closed.is_set():
            raise self._interrupted() from error
        if error.final:
            raise CacheError(f"{told(url)}: {error.reason}", where=self.cache.name) from error
        return attempts.broke(error.reason, slow=error.slow)

    def _pause(self, seconds: float) -> None:
        if seconds:
            self._wait(self._closed, seconds)
        if self._closed.is_set():
            raise self._interrupted()

    def _interrupted(self) -> CacheError:
        return CacheError("it was not waited for", where=self.cache.name)


def _after(chunks: Iterator[bytes], start: int) -> Iterator[bytes]:
    """What comes after the first *start* bytes."""
    for chunk in chunks:
        left_out = min(start, len(chunk))
        start -= left_out
        if left_out < len(chunk):
            yield chunk[left_out:] if left_out else chunk
    if start:
        raise WireError("the file is shorter than it was")


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
