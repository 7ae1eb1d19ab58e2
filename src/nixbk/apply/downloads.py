"""Downloads with a login, for builders that ask nobody for one. Effects: sockets.

BuildKit 0.13, which is Docker 26, downloads without a login, whatever this client has. What a login
opens is downloaded here then, and comes through the session. The hash of a download is all that
keys it, so its way makes no difference to the cache.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from nixbk.apply.pieces import Pieces
from nixbk.buildkit.uploads import Upload
from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.buildkit.uploads import Uploads
    from nixbk.resolve.caches.transport import Cache, CacheClient


class Downloads:
    """Where a builder gets its downloads.

    Attributes:
        builder_logs_in: whether the builder takes logins for its downloads from the session.
    """

    def __init__(self, netrc: Path | None, uploads: Uploads, environ: Mapping[str, str]) -> None:
        """Know the user's logins.

        Args:
            netrc: the file that has them, if there is one.
            uploads: what the session serves.
            environ: the user's environment.
        """
        self.builder_logs_in = True
        self._netrc = netrc
        self._uploads = uploads
        self._environ = environ
        self._ends = ExitStack()
        self._lock = Lock()

    @property
    def has_logins(self) -> bool:
        """Whether it matters what the builder does with logins."""
        return self._netrc is not None

    def url(self, url: str, sha256: str) -> str:
        """Where the builder gets a download: where it is, or through the session.

        Args:
            url: where it is.
            sha256: of its bytes, in hexadecimal.
        """
        if self.builder_logs_in or self._netrc is None:
            return url
        place = self._place(url)
        if place is None or not place.headers(url):
            return url
        # how long it is nobody knows, and nobody asks
        return self._uploads.add(Upload(sha256, 0, partial(self._open, place, url)))

    def close(self) -> None:
        """End what is under way, from any thread."""
        with self._lock:
            self._ends.close()

    def _place(self, url: str) -> Cache | None:
        """The server that has *url*, with what the user has for it."""
        from nixbk.resolve.caches.address import CacheAddress  # noqa: PLC0415  for old builders
        from nixbk.resolve.caches.cache import Cache  # noqa: PLC0415

        with suppress(NixbkError, ValueError):  # which the builder then tells
            parts = urlsplit(url)
            address = CacheAddress.parse(f"{parts.scheme}://{parts.netloc}", Path())
            return Cache(parts.netloc, address, netrc=self._netrc)
        return None

    def _client(self, place: Cache) -> CacheClient:
        from nixbk.resolve.caches.transport import CacheClient  # noqa: PLC0415  loads libcurl

        with self._lock:
            return self._ends.enter_context(CacheClient(place, environ=self._environ))

    def _open(self, place: Cache, url: str) -> BinaryIO:
        return cast("BinaryIO", Pieces(self._client(place).open(url)))
