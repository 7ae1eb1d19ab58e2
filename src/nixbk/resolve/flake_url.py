"""Flake references: from the attributes Nix prints to the text it reads. Pure.

Source: ``FlakeRef::to_string`` and ``InputScheme::toURL``, Nix ``src/libflake`` and
``src/libfetchers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORGES = ("github", "gitlab", "sourcehut")
_PARAMETERS = {
    "forge": ("host", "dir", "narHash"),
    # Nix would take a hash for a part of the repository's own URL: the revision pins it.
    "git": ("allRefs", "dir", "exportIgnore", "lfs", "ref", "rev", "shallow", "submodules"),
    "hg": ("dir", "ref", "rev"),
    "path": ("dir", "lastModified", "narHash", "rev"),
    "tarball": ("dir", "lastModified", "narHash", "rev", "revCount"),
    "file": ("narHash",),
}


class FlakeUrlError(NixbkError):
    """A kind of flake reference that nixbk cannot write down."""


def flake_url(attributes: Mapping[str, Any]) -> str:
    """The locked reference with *attributes*, as ``locked`` of ``nix flake metadata`` has them.

    Raises:
        FlakeUrlError: the kind of it is not known.
    """
    kind = attributes.get("type")
    if kind in _FORGES:
        place = "/".join(
            quote(str(attributes[key]), safe="")
            for key in ("owner", "repo", "rev")
            if key in attributes
        )
        base, parameters = f"{kind}:{place}", _PARAMETERS["forge"]
    elif kind in ("git", "hg", "tarball", "file"):
        base, parameters = f"{kind}+{attributes['url']}", _PARAMETERS[kind]
    elif kind == "path":
        base, parameters = f"path:{quote(str(attributes['path']))}", _PARAMETERS["path"]
    else:
        raise FlakeUrlError(f"unknown kind of flake reference {kind!r}")
    query = "&".join(
        f"{key}={quote(_text(attributes[key]), safe='/:@')}"
        for key in parameters
        if attributes.get(key) not in (None, False)
    )
    if not query:
        return base
    return f"{base}{'&' if '?' in base else '?'}{query}"


def _text(value: object) -> str:
    return "1" if value is True else str(value)


def local_root(attributes: Mapping[str, Any]) -> str | None:
    """The folder of a reference that lies in the file system; None when it does not."""
    if attributes.get("type") == "path":
        return str(attributes["path"])
    url = str(attributes.get("url", ""))
    if attributes.get("type") in ("git", "hg") and url.startswith(("file:", "/")):
        return unquote(urlsplit(url).path)
    return None
