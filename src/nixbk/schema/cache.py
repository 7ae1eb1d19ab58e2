"""Where BuildKit's own cache is taken from and kept, as ``docker buildx build`` writes it.

::

    entry     = reference | field { "," field }     (one record of CSV: a field may stand in quotes)
    field     = "type=" kind | name "=" value
    reference = an image reference, short for type=registry,ref=reference

Source: ``ParseCacheEntry``, buildx ``util/buildflags/cache.go``, and the attributes that are named
in BuildKit ``cache/remotecache``. Pure.
"""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping

Direction = Literal["from", "to"]

_COMPRESSION: Final = ("compression", "compression-level", "force-compression")
_FORM: Final = ("image-manifest", "oci-mediatypes")
_WRITTEN: Final = ("mode", "ignore-error")
_GHA: Final = (
    "scope", "timeout", "token", "url", "url_v2", "version", "repository", "ghtoken",
)  # fmt: skip
_S3: Final = (
    "bucket", "region", "name", "prefix", "endpoint_url", "blobs_prefix", "manifests_prefix",
    "use_path_style", "access_key_id", "secret_access_key", "session_token", "touch_refresh",
    "upload_parallelism",
)  # fmt: skip
_AZBLOB: Final = (
    "account_url", "account_name", "container", "name", "prefix", "blobs_prefix",
    "manifests_prefix", "secret_access_key",
)  # fmt: skip
_REGISTRY: Final = ("ref", "registry.insecure")

KNOWN: Final[Mapping[Direction, Mapping[str, tuple[str, ...]]]] = {
    "from": {
        "azblob": _AZBLOB,
        "gha": _GHA,
        "local": ("src", "digest", "tag"),
        "registry": _REGISTRY,
        "s3": _S3,
    },
    "to": {
        "azblob": (*_AZBLOB, *_WRITTEN),
        "gha": (*_GHA, *_WRITTEN),
        "inline": (),
        "local": ("dest", "tag", "reset", *_WRITTEN, *_COMPRESSION, *_FORM),
        "registry": (*_REGISTRY, *_WRITTEN, *_COMPRESSION, *_FORM),
        "s3": (*_S3, *_WRITTEN),
    },
}
"""The attributes of each kind. One that is not here may be of a BuildKit to come."""
_NEEDED: Final[Mapping[tuple[Direction, str], str]] = {
    ("from", "local"): "src",
    ("from", "registry"): "ref",
    ("to", "local"): "dest",
    ("to", "registry"): "ref",
}
_EXAMPLES: Final[Mapping[Direction, str]] = {
    "from": "type=registry,ref=registry.example.org/cache",
    "to": "type=registry,ref=registry.example.org/cache,mode=max",
}
_SECRET: Final = frozenset(
    {"access_key_id", "ghtoken", "secret_access_key", "session_token", "token"}
)
_SECRET_WORDS: Final = re.compile(r"token|secret|password|credential|(^|_)key($|_)")
YES: Final = frozenset({"1", "t", "true"})
_NO: Final = frozenset({"0", "f", "false"})
_MODES: Final = ("min", "max")
_HIDDEN: Final = "***"


class CacheError(NixbkError):
    """The text names no place for a cache."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One place that cache is taken from or kept in.

    Attributes:
        type: ``registry``, ``local``, ``inline``, ``gha``, ``s3`` or ``azblob``.
        attrs: its attributes but for the type, names in lower case.
    """

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """The entry as it is written, without its secrets."""
        fields = [f"type={self.type}"]
        for name, value in self.attrs.items():
            shown = f"{name}={_HIDDEN if is_secret(name) else value}"
            if any(char in shown for char in ',"\n\r'):
                shown = '"' + shown.replace('"', '""') + '"'
            fields.append(shown)
        return ",".join(fields)

    @classmethod
    def parse(cls, text: str, direction: Direction) -> CacheEntry:
        """Take *text* apart.

        Args:
            text: as the user wrote it; no message repeats all of it, since it may hold secrets.
            direction: whether cache is taken from there or kept there.

        Raises:
            CacheError: it names no place.
        """
        fields = _fields(text, direction)
        if not any("=" in item for item in fields):
            return cls("registry", {"ref": _one_reference(fields, direction)})
        attrs: dict[str, str] = {}
        for item in fields:
            name, equals, value = item.partition("=")
            name = name.strip().lower()
            if not equals or not name:
                raise CacheError(f"expected name=value, found {name!r}", hint=_example(direction))
            if name in attrs:
                raise CacheError(f"the attribute {name!r} is there twice")
            attrs[name] = value
        kind = attrs.pop("type", "")
        _check(kind, attrs, direction)
        return cls(kind, attrs)


def is_secret(name: str) -> bool:
    """Whether the attribute *name* is never to be shown."""
    return name in _SECRET or _SECRET_WORDS.search(name) is not None


def _fields(text: str, direction: Direction) -> list[str]:
    try:
        rows = [row for row in csv.reader([text], strict=True) if row]
    except csv.Error as error:
        raise CacheError(f"the quotes do not match: {error}", hint=_example(direction)) from error
    if len(rows) != 1 or not text.strip():
        raise CacheError("expected a place for a cache, found nothing", hint=_example(direction))
    return rows[0]


def _one_reference(fields: list[str], direction: Direction) -> str:
    if len(fields) != 1:
        raise CacheError(
            f"expected one image reference, found {len(fields)}",
            hint="write one entry for each place",
        )
    reference = fields[0].strip()
    if reference in KNOWN[direction]:
        raise CacheError(
            f"{reference!r} alone is an image reference", hint=f"write 'type={reference}'"
        )
    return reference


def _check(kind: str, attrs: Mapping[str, str], direction: Direction) -> None:
    known = KNOWN[direction]
    if not kind:
        raise CacheError("expected 'type=…' among the attributes", hint=_example(direction))
    if kind not in known:
        raise CacheError(_unknown_kind(kind, known), hint=_kind_hint(kind, direction))
    needed = _NEEDED.get((direction, kind))
    other = {"src": "dest", "dest": "src"}.get(needed or "", "")
    if needed and not attrs.get(needed):
        hint = f"'{other}' is for --cache-{'to' if direction == 'from' else 'from'}"
        raise CacheError(
            f"a cache of type {kind} needs '{needed}=…'", hint=hint if other in attrs else None
        )
    for name in attrs:
        near = difflib.get_close_matches(name, (*known[kind], "type"), n=1, cutoff=0.7)
        if name not in known[kind] and near:
            raise CacheError(f"unknown attribute {name!r} of {kind}, did you mean {near[0]!r}?")
    if attrs.get("mode", "max") not in _MODES:
        raise CacheError(f"expected mode=min or mode=max, found {attrs['mode']!r}")
    if kind == "local" and attrs.get("reset", "true").lower() not in YES | _NO:
        raise CacheError(f"expected reset=true or reset=false, found {attrs['reset']!r}")


def _unknown_kind(kind: str, known: Mapping[str, object]) -> str:
    return f"expected a type of {', '.join(known)}, found {kind!r}"


def _kind_hint(kind: str, direction: Direction) -> str | None:
    if kind == "inline" and direction == "from":
        return "a cache inside an image is taken from 'type=registry,ref=' and the image's name"
    near = difflib.get_close_matches(kind, KNOWN[direction], n=1)
    return f"did you mean {near[0]!r}?" if near else None


def _example(direction: Direction) -> str:
    return f"write it as in '{_EXAMPLES[direction]}'"
