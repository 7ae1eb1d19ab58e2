"""The address of a binary cache, and that of a file in one, as manifest and lock write them. Pure.

Grammar::

    cache    = ( "http://" host path / "https://" host path / "file:" folder ) ["?priority=" number]
             / bucket                                  ; see `nixbk.schema.s3_url`
    folder   = "//" absolute path / relative path          ; relative to the manifest
    archive  = relative path [ "?" query ]                 ; relative to the cache
             / ( "http://" / "https://" ) host path

What an address leads to is `nixbk.resolve.caches.address`.

Source: ``HttpBinaryCacheStoreConfig``, ``LocalBinaryCacheStoreConfig`` and
``S3BinaryCacheStoreConfig`` of Nix.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from nixbk.errors import NixbkError
from nixbk.schema.s3_url import PARAMETERS, SCHEME, S3Url, S3UrlError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

DEFAULT_PRIORITY: Final = 50
"""Of a cache whose address names none, as of one whose ``nix-cache-info`` does not in Nix."""

HOSTED: Final = ("http", "https")

_MAX_LENGTH: Final = 4096
_PRINTABLE: Final = re.compile(r"[!-~]+")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HINTS: Final = {
    "trusted": "write 'trust = false' in the table of this substituter",
    "compression": "it is asked for when something is pushed to the cache",
    "secret-key": "it is asked for when something is pushed to the cache",
    "secret-keys": "it is asked for when something is pushed to the cache",
    "want-mass-query": "nixbk always asks for many paths at once",
    "store": "nixbk knows no store but /nix/store",
}


class CacheUrlError(NixbkError):
    """A text that is no address of a binary cache, or of a file in one."""


def check_cache_url(text: str) -> None:
    """See that *text* is the address of a binary cache.

    Raises:
        CacheUrlError: it is none; the message has no login of it.
    """
    if len(text) > _MAX_LENGTH or not text.isprintable():
        raise CacheUrlError("expected the address of a binary cache, found unprintable text")
    parts = _split(text)
    if "@" in parts.netloc:
        raise CacheUrlError(
            "a login has no place in an address, from where it gets into the lock and messages",
            hint="keep it in ~/.netrc, or in the file of --netrc-file",
        )
    if parts.fragment:
        raise CacheUrlError(f"expected an address without '#', found {text!r}")
    if parts.scheme == "file":
        _check_folder(parts)
    elif parts.scheme == SCHEME:
        _check_bucket(text)
    elif parts.scheme not in HOSTED:
        raise CacheUrlError(
            f"expected an address with http:, https:, s3: or file:, found {text!r}",
            hint="write http://host/path, https://host/path, s3://bucket or file:///folder",
        )
    elif not parts.hostname or not _PRINTABLE.fullmatch(text):
        raise CacheUrlError(f"expected an address with a host and without spaces, found {text!r}")
    _check_parameters(parts)


def _check_parameters(parts: SplitResult) -> None:
    known = ("priority", *PARAMETERS) if parts.scheme == SCHEME else ("priority",)
    for key, value in _parameters(parts):
        if key not in known:
            several = f"nixbk knows {', '.join(map(repr, known))}"
            only = several if known[1:] else "the only one that nixbk knows is 'priority'"
            raise CacheUrlError(
                f"unknown parameter {key!r} of the address", hint=_HINTS.get(key, only)
            )
        if key == "priority" and not _NUMBER.fullmatch(value):
            raise CacheUrlError(f"expected a number for the priority, found {value!r}")


def _check_bucket(text: str) -> None:
    try:
        S3Url.parse(text)
    except S3UrlError as error:
        raise CacheUrlError(error.message, hint=error.hint) from error


def _check_folder(parts: SplitResult) -> None:
    if parts.netloc:
        raise CacheUrlError(
            f"expected a folder of this machine, found the host {parts.netloc!r}",
            hint="write file:///folder, or file:./folder relative to the manifest",
        )
    if not parts.path or "\0" in unquote(parts.path):
        raise CacheUrlError("expected a folder behind 'file:'")


def cache_priority(text: str) -> int:
    """Which of several caches is asked first: the one with the lowest."""
    values = [int(value) for key, value in _parameters(_split(text)) if key == "priority"]
    return values[-1] if values else DEFAULT_PRIORITY


def check_archive_url(text: str) -> None:
    """See that *text* is the address of a file in a cache, which leads nowhere else.

    Raises:
        CacheUrlError: it is none.
    """
    shown = repr(text[:200])
    if len(text) > _MAX_LENGTH or not _PRINTABLE.fullmatch(text) or set(text) & set('#\\<>"'):
        raise CacheUrlError(f"expected the address of a file, found {shown}")
    if _SCHEME.match(text):
        parts = _split(text)
        if parts.scheme not in HOSTED or not parts.hostname or "@" in parts.netloc:
            raise CacheUrlError(
                f"expected an address relative to the cache, or one with http: or https:, "
                f"found {shown}"
            )
        return
    for step in unquote(text.partition("?")[0]).split("/"):
        if step in ("", ".", "..") or not step.isprintable():
            raise CacheUrlError(f"expected a path without '.' and '..', found {shown}")


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise CacheUrlError(f"expected an address: {error}") from error
    if port == 0:
        raise CacheUrlError("expected an address: the port is 0")
    return parts


def _parameters(parts: SplitResult) -> list[tuple[str, str]]:
    return parse_qsl(parts.query, keep_blank_values=True)
