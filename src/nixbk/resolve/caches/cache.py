"""A binary cache as the user means it. Effect: reads the file of logins, once it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nixbk.resolve.caches.address import same_place
from nixbk.resolve.caches.logins import authorization

if TYPE_CHECKING:
    from pathlib import Path

    from nixbk.resolve.caches.address import CacheAddress


@dataclass(frozen=True)
class Cache:
    """A binary cache.

    Attributes:
        name: in the manifest.
        address: where it is.
        trust: whether what it says needs a signature.
        ca_file: certificates of a private authority.
        token: a bearer token.
        netrc: a file of logins.
    """

    name: str
    address: CacheAddress
    trust: bool = True
    ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    netrc: Path | None = None

    def headers(self, url: str) -> dict[str, str]:
        """What to send with a question for *url*: the login, if it is for that place."""
        if self._login is None or not same_place(self.address.base, url):
            return {}
        return {"authorization": self._login}

    @cached_property
    def _login(self) -> str | None:
        if self.address.kind == "file":
            return None
        host = urlsplit(self.address.base).hostname or ""
        return authorization(host, self.token, self.netrc)
