"""How a store path follows from its content, as Nix writes it. Pure.

Grammar::

    address = "text:" hash / "fixed:" method hash
    method  = "" / "r:" / "git:"        ; flat, nar, git
    hash    = algorithm ":" base32

Source: ``ContentAddress::render`` and ``ContentAddress::parse``, Nix
``src/libstore/content-address.cc``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from nixbk.nix.hashes import Hash, HashAlgorithm, HashError
from nixbk.nix.store_path import StorePathError, fixed_output_path

if TYPE_CHECKING:
    from collections.abc import Collection

    from nixbk.nix.store_path import IngestionMethod, StorePath

_PREFIXES: Final[dict[IngestionMethod, str]] = {
    "text": "text:",
    "nar": "fixed:r:",
    "git": "fixed:git:",
    "flat": "fixed:",  # last, since the others begin with it
}


_TREES: Final = (_PREFIXES["nar"], _PREFIXES["git"])


def content_address(method: str, content: Hash) -> str:
    """The text of a content address; empty for a method by which no path follows from content."""
    for known, prefix in _PREFIXES.items():
        if known == method:
            return f"{prefix}{content.algorithm}:{content.base32()}"
    return ""


@lru_cache(maxsize=64)  # what is read is checked, and then looked at
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


def is_flat(address: str) -> bool:
    """Whether what has *address*, a content address, is one plain file, and so no symbolic link."""
    return address.startswith(("text:", "fixed:")) and not address.startswith(_TREES)


def follows_from_content(
    path: StorePath, address: str, references: Collection[StorePath], nar_hash: Hash
) -> bool:
    """Whether *path* is the one that *address* and *references* make; then it needs no signature.

    That the content hashes to *address* is known here only where the NAR hash is the content's:
    ``fixed:r:sha256:`` without a self-reference, where another hash makes this false. For all
    else, who has the content has to check it.

    Args:
        path: of the store object.
        address: its content address; empty or malformed follows from nothing.
        references: what it refers to; itself included, if so.
        nar_hash: of its NAR.

    Source: ``ValidPathInfo::isContentAddressed``, Nix ``src/libstore/path-info.cc``.
    """
    return _follows(path, address, tuple(references), nar_hash)


# A cache's answer, what is made of it, and the whole lock are each held against this.
@lru_cache(maxsize=1 << 14)
def _follows(
    path: StorePath, address: str, references: tuple[StorePath, ...], nar_hash: Hash
) -> bool:
    others = [reference for reference in references if reference != path]
    refers_to_itself = path in references
    try:
        method, content = parse_content_address(address)
        made = fixed_output_path(
            path.name, content, method, others, self_reference=refers_to_itself
        )
    except (HashError, StorePathError):
        return False
    if method == "nar" and content.algorithm is HashAlgorithm.SHA256 and not refers_to_itself:
        return made == path and content == nar_hash
    return made == path
