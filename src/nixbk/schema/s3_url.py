"""The address of a binary cache in a bucket of S3, and where its files are over HTTP. Pure.

Grammar::

    cache     = "s3://" bucket [ "/" prefix ] [ "?" parameter { "&" parameter } ]
    parameter = "region=" name                       ; us-east-1
              / "endpoint=" ( host [ ":" port ] / ( "http://" / "https://" ) host path )
              / "scheme=" ( "http" / "https" )       ; of an endpoint that has none
              / "addressing-style=" ( "auto" / "path" / "virtual" )
              / "profile=" name                      ; of the user's credentials
              / "priority=" number

Source: ``ParsedS3URL`` and ``S3BinaryCacheStoreConfig``, Nix ``src/libstore/s3-url.cc`` and
``include/nix/store/s3-binary-cache-store.hh``; the rules for buckets' names of S3 itself.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from nixbk.errors import NixbkError

SCHEME: Final = "s3"
DEFAULT_REGION: Final = "us-east-1"
PARAMETERS: Final = ("addressing-style", "endpoint", "profile", "region", "scheme")
"""Those of Nix that say where the bucket is; ``priority`` is every cache's."""

# Compiled for the first bucket: most manifests have none.
_BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_REGION: Final = r"[A-Za-z0-9-]{1,64}"
_PROFILE: Final = r"[^\x00-\x1f\[\]]{1,200}"
_ENDPOINT: Final = (
    r"(?:(?P<scheme>https?)://)?(?P<host>(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[1-9][0-9]{0,4})?)"
    r"(?P<path>(?:/[A-Za-z0-9._~%-]+)*)/?"
)
_STYLES: Final = ("auto", "path", "virtual")


class S3UrlError(NixbkError):
    """A text that is no address of a cache in a bucket."""


class S3Url(NamedTuple):
    """A cache in a bucket.

    Attributes:
        bucket: its name.
        prefix: before the names of all files; without a ``/`` at either end, nothing escaped.
        region: that requests are signed for.
        profile: of the user's credentials; empty for the usual one.
        base: where the files are over HTTP, escaped, without a ``/`` at its end.
    """

    bucket: str
    prefix: str
    region: str
    profile: str
    base: str

    def __str__(self) -> str:
        """The address without its parameters."""
        return f"{SCHEME}://{self.bucket}/{self.prefix}".rstrip("/")

    @classmethod
    def parse(cls, text: str) -> S3Url:
        """Take *text* apart; parameters of others are not looked at.

        Raises:
            S3UrlError: it is no such address.
        """
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise S3UrlError(f"expected an address: {error}") from error
        bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
        if not re.fullmatch(_BUCKET, bucket):
            raise S3UrlError(
                f"expected the name of a bucket, found {_told(bucket)}",
                hint="write s3://BUCKET/PREFIX; what is no bucket of AWS is named by '?endpoint='",
            )
        if not prefix.isprintable() or {"", ".", ".."} & set(prefix.split("/") if prefix else ()):
            raise S3UrlError(f"expected a path without '.' and '..', found {prefix!r}")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        region = _checked(given, "region", _REGION, "the name of a region") or DEFAULT_REGION
        profile = _checked(given, "profile", _PROFILE, "the name of a profile")
        return cls(bucket, prefix, region, profile, _base(bucket, prefix, region, given))


def _checked(given: dict[str, str], name: str, rule: str, what: str) -> str:
    value = given.get(name, "")
    if name in given and not re.fullmatch(rule, value):
        raise S3UrlError(f"expected {what}, found {value!r}")
    return value


def _base(bucket: str, prefix: str, region: str, given: dict[str, str]) -> str:
    """Where the files are.

    Source: ``ParsedS3URL::toHttpsUrl``. A name with dots has no certificate as part of a host's.
    """
    style = given.get("addressing-style", "auto")
    if style not in _STYLES:
        raise S3UrlError(f"expected an addressing style of {', '.join(_STYLES)}, found {style!r}")
    scheme, host, path = _endpoint(given)
    virtual = style == "virtual" or (style == "auto" and not host and "." not in bucket)
    if virtual and ("." in bucket or host.startswith("[")):
        raise S3UrlError(
            f"the bucket {bucket!r} cannot be part of a host's name",
            hint="write 'addressing-style=path'",
        )
    host = host or f"s3.{region}.amazonaws.com"
    steps = [path, "" if virtual else bucket, quote(prefix, safe="/")]
    return "/".join([f"{scheme}://{bucket}.{host}" if virtual else f"{scheme}://{host}"]
                    + [step for step in steps if step])  # fmt: skip


def _endpoint(given: dict[str, str]) -> tuple[str, str, str]:
    """Scheme, host and path of the server; no host for that of AWS."""
    endpoint, scheme = given.get("endpoint", ""), given.get("scheme", "https")
    if scheme not in {"http", "https"}:
        raise S3UrlError(f"expected the scheme http or https, found {scheme!r}")
    if "endpoint" not in given:
        return scheme, "", ""
    found = re.fullmatch(_ENDPOINT, endpoint)
    if found is None:
        raise S3UrlError(
            f"expected the address of a server as endpoint, found {_told(endpoint)}",
            hint="write 'endpoint=https://HOST', with the port if it has one",
        )
    path = quote(unquote(found["path"] or ""), safe="/")
    return found["scheme"] or scheme, found["host"].lower(), path.strip("/")


def _told(authority: str) -> str:
    """A host as messages have it: without a login."""
    return repr(authority.rpartition("@")[2])
