"""What can be wrong with a binary cache. Pure."""

from __future__ import annotations

from nixbk.errors import NixbkError


class CacheError(NixbkError):
    """A cache did not do what it was asked for.

    Where is the name of the cache; the message has neither logins nor queries of addresses.
    """


class CacheUnreachableError(CacheError):
    """A cache is down: nothing answers, or nothing that is of use, however often it is asked."""


class CacheRefusedError(CacheError):
    """A cache does not let this user in."""


class NotInCacheError(CacheError):
    """A cache does not have the file."""


def told(url: str) -> str:
    """A URL as messages have it: without a login, a query or a fragment, which may be secret."""
    plain = url.partition("#")[0].partition("?")[0]
    scheme, separator, rest = plain.partition("://")
    if not separator:
        return repr(plain)
    authority, slash, path = rest.partition("/")
    return repr(f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}")
