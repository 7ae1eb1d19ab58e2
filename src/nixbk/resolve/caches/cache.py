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
    from nixbk.resolve.caches.buckets import Credentials


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
        credentials: for a bucket: what signs requests.
    """

    name: str
    address: CacheAddress
    trust: bool = True
    ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    netrc: Path | None = None
    credentials: Credentials | None = field(default=None, repr=False)

    @property
    def is_private(self) -> bool:
        """Whether it takes more than a header to be let in, which no builder has."""
        return self.token is not None or self.credentials is not None

    def headers(self, url: str) -> dict[str, str]:
        """What to send with a question for *url*: the login, if it is for that place."""
        if self._login is None or not same_place(self.address.base, url):
            return {}
        return {"authorization": self._login}

    def signer(self, url: str) -> Credentials | None:
        """What signs a question for *url*, if it is for that place."""
        if self.credentials is None or not same_place(self.address.base, url):
            return None
        return self.credentials

    @cached_property
    def _login(self) -> str | None:
        if self.address.kind == "file" or self.address.bucket is not None:
            return None
        host = urlsplit(self.address.base).hostname or ""
        return authorization(host, self.token, self.netrc)
