"""Where a binary cache is. Pure, but for the folder that a relative address begins at.

Grammar::

    address = ( "http://" host path / "https://" host path / "file:" folder ) ["?priority=" digits]
            / bucket                                     ; see `nixbk.schema.s3_url`
    folder  = "//" absolute path / relative path         ; relative to the manifest

Source: ``HttpBinaryCacheStoreConfig`` and ``LocalBinaryCacheStoreConfig`` of Nix.
"""

from __future__ import annotations

import os.path
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urljoin, urlsplit

from nixbk.errors import NixbkError
from nixbk.resolve.caches.faults import told
from nixbk.schema.s3_url import PARAMETERS, SCHEME, S3Url, S3UrlError

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_PRIORITY: Final = 50
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_UNPRINTABLE: Final = re.compile(r"[^!-~]")
_PLAIN: Final = re.compile(
    r"(?![.]{0,2}/)(?!.*/[.]{0,2}(?:/|\?|\Z))[0-9A-Za-z._/+=-]+(?:[?][0-9A-Za-z._/+=&-]*)?"
)
_DIGITS: Final = re.compile(r"[0-9]{1,9}")
_ELSEWHERE: Final = {
    "trusted": "write 'trust = false' in the table of this substituter",
    "compression": "it is asked for when something is pushed to the cache",
    "secret-key": "it is asked for when something is pushed to the cache",
    "secret-keys": "it is asked for when something is pushed to the cache",
    "want-mass-query": "nixbk always asks for many paths at once",
    "store": "nixbk knows no store but /nix/store",
}
_ONLY: Final = "the only parameter that nixbk knows is 'priority'"
_SEVERAL: Final = f"nixbk knows {', '.join(map(repr, ('priority', *PARAMETERS)))}"


class AddressError(NixbkError):
    """A text that is no address of a binary cache, or of a file in one."""


class CacheAddress(NamedTuple):
    """A cache's address.

    Attributes:
        kind: how its files are had.
        base: the address without a query or a ``/`` at its end; ``file://`` and an absolute path
            for a folder, with nothing escaped.
        priority: which of several is asked first: the one with the lowest.
        bucket: of S3 that it is in; its files are had over HTTP.
    """

    kind: Literal["http", "https", "file"]
    base: str
    priority: int = DEFAULT_PRIORITY
    bucket: S3Url | None = None

    @classmethod
    def parse(cls, url: str, folder: Path) -> CacheAddress:
        """The address that a manifest has.

        Args:
            url: as the user wrote it.
            folder: of the manifest.

        Raises:
            AddressError: it is no address of a cache.
        """
        parts = _split(url)
        priority = _priority(url, parts)
        if parts.scheme == "file":
            if parts.netloc:
                raise AddressError(
                    f"the address {url!r} names the host {parts.netloc!r}",
                    hint="write file:///folder, or file:./folder relative to the manifest",
                )
            path = os.path.normpath(os.path.join(folder.absolute(), unquote(parts.path)))  # noqa: PTH118 - normpath
            return cls("file", f"file://{path}", priority)
        if parts.scheme in DEFAULT_PORTS:
            base = f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
            return cls("https" if parts.scheme == "https" else "http", base, priority)
        if parts.scheme == SCHEME:
            try:
                bucket = S3Url.parse(url)
            except S3UrlError as error:
                raise AddressError(f"{told(url)}: {error.message}", hint=error.hint) from error
            kind: Literal["http", "https"] = "https" if bucket.base.startswith("https:") else "http"
            return cls(kind, bucket.base, priority, bucket)
        raise AddressError(
            f"nixbk knows no binary caches at {told(url)}",
            hint="write http://host/path, https://host/path, s3://bucket or file:///folder",
        )

    def __str__(self) -> str:
        return self.base if self.bucket is None else str(self.bucket)

    @property
    def folder(self) -> str:
        """The folder of a ``file`` cache."""
        return self.base.removeprefix("file://")

    @property
    def host(self) -> str:
        """Host and port, as the address has them; empty for a folder."""
        return "" if self.kind == "file" else urlsplit(self.base).netloc

    def join(self, url: str) -> str:
        """The address of a file of this cache.

        Args:
            url: relative to the cache; of a cache on a host, it may be a whole address.

        Returns:
            A URL; for a folder, the absolute path of the file.

        Raises:
            AddressError: it is no address, or leads out of the folder.
        """
        if self.kind != "file" and _PLAIN.fullmatch(url):
            return f"{self.base}/{url}"  # as nearly all are; the rest of this is slow
        if not url or _UNPRINTABLE.search(url) or "#" in url or "\\" in url:
            raise AddressError(f"{url[:200]!r} is no address of a file in a cache")
        if self.kind == "file":
            return self._file(url)
        try:
            joined = urlsplit(urljoin(f"{self.base}/", url))
            known = bool(joined.hostname) and joined.scheme in DEFAULT_PORTS
            known = known and (joined.port is None or joined.port > 0)
        except ValueError as error:
            raise AddressError(f"{url[:200]!r} is no address of a file in a cache") from error
        if not known or "@" in joined.netloc:
            raise AddressError(f"{told(url[:200])} is no address of a file in a cache")
        return joined.geturl()

    def _file(self, url: str) -> str:
        parts = url.partition("?")[0].split("/")
        if ":" in parts[0] or any(part in {"", ".", ".."} for part in map(unquote, parts)):
            raise AddressError(f"{url[:200]!r} is no file of the folder {self.folder!r}")
        names = [unquote(part) for part in parts]
        if any("/" in name or "\0" in name for name in names):
            raise AddressError(f"{url[:200]!r} is no file of the folder {self.folder!r}")
        return "/".join([self.folder.rstrip("/"), *names])


def same_place(one: str, other: str) -> bool:
    """Whether what is meant for the host of *one* may be told to that of *other*.

    It may where scheme, host and port are the same, and where only TLS is new.
    """
    a, b = urlsplit(one), urlsplit(other)
    if a.hostname != b.hostname:
        return False
    ports = [part.port or DEFAULT_PORTS.get(part.scheme) for part in (a, b)]
    if a.scheme == b.scheme:
        return ports[0] == ports[1]
    return (a.scheme, b.scheme) == ("http", "https") and ports == [80, 443]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise AddressError(f"{told(url)} is no address: {error}") from error
    if "@" in parts.netloc:
        raise AddressError(
            f"the address {told(url)} has a login in it",
            hint="logins are kept in ~/.netrc or in the file of --netrc-file",
        )
    if parts.fragment or _UNPRINTABLE.search(parts.netloc) or port == 0:
        raise AddressError(f"{told(url)} is no address of a binary cache")
    if parts.scheme in DEFAULT_PORTS and (not host or _UNPRINTABLE.search(url)):
        raise AddressError(f"the address {told(url)} has no host, or a blank in it")
    return parts


def _priority(url: str, parts: SplitResult) -> int:
    priority = DEFAULT_PRIORITY
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if parts.scheme == SCHEME and key in PARAMETERS:
            continue
        if key != "priority":
            raise AddressError(
                f"the address {told(url)} has the parameter {key!r}",
                hint=_ELSEWHERE.get(key, _ONLY if parts.scheme != SCHEME else _SEVERAL),
            )
        if not _DIGITS.fullmatch(value):
            raise AddressError(f"the priority of {told(url)} is {value!r}, which is no number")
        priority = int(value)
    return priority
