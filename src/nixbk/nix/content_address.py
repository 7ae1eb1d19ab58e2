"""How a store path follows from its content, as Nix writes it. Pure.

Grammar::

    address = "text:" hash / "fixed:" method hash
    method  = "" / "r:" / "git:"        ; flat, nar, git
    hash    = algorithm ":" base32

Source: ``ContentAddress::render`` and ``ContentAddress::parse``, Nix
``src/libstore/content-address.cc``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.nix.hashes import Hash, HashError

if TYPE_CHECKING:
    from nixbk.nix.store_path import IngestionMethod

_PREFIXES: Final[dict[IngestionMethod, str]] = {
    "text": "text:",
    "nar": "fixed:r:",
    "git": "fixed:git:",
    "flat": "fixed:",  # last, since the others begin with it
}


def content_address(method: str, content: Hash) -> str:
    """The text of a content address; empty for a method by which no path follows from content."""
    for known, prefix in _PREFIXES.items():
        if known == method:
            return f"{prefix}{content.algorithm}:{content.base32()}"
    return ""


def parse_content_address(text: str) -> tuple[IngestionMethod, Hash]:
    """Method and hash of a content address; the inverse of `content_address`.

    Raises:
        HashError: *text* is none.
    """
    for method, prefix in _PREFIXES.items():
        if text.startswith(prefix):
            found = Hash.parse(text.removeprefix(prefix))
            if content_address(method, found) == text:
                return method, found
            break
    raise HashError(f"{text!r} is no content address")
