"""What a store object is: its type, and how its path follows from its content. Pure.

Source: ``ContentAddressMethod`` and ``makeFixedOutputPathFromCA`` of Nix; a path of the
store that no content leads to is an output of a build.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nixbk.nix import nar
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.store_path import fixed_output_path, source_path
from nixbk.schema.lock import BundleOrigin, ContentMethod, FileType, LockedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixbk.resolve.evaluator import PathInfo

FLAT_METHODS: tuple[ContentMethod, ...] = ("text", "flat")


def examine(info: PathInfo, archive: Callable[[], Iterator[bytes]]) -> LockedSource:
    """The source that *info* is about, with its origin still to be found.

    Args:
        info: what the store knows of it.
        archive: its bytes; read up to the root alone unless the path asks for more.

    Raises:
        NarError: the bytes are no archive.
    """
    events = nar.read(archive())
    root = next(events)
    file_type: FileType = "directory"
    target = ""
    if isinstance(root, nar.Symlink):
        file_type, target = "symlink", root.target
    elif isinstance(root, nar.RegularFile):
        file_type = "regular"
    method: ContentMethod = "none"
    content: Hash | None = None
    if source_path(info.path.name, info.nar_hash.digest, info.references) == info.path:
        method = "nar"
    elif isinstance(root, nar.RegularFile) and not root.executable:
        digest = hashlib.sha256()
        for event in events:
            if isinstance(event, nar.Data):
                digest.update(event.chunk)
        method, content = _flat(info, Hash(HashAlgorithm.SHA256, digest.digest()))
    return LockedSource(
        info.path,
        info.nar_hash,
        info.nar_size,
        tuple(sorted(info.references)),
        BundleOrigin(info.nar_hash.digest.hex()),
        file_type,
        target,
        method,
        content,
    )


def _flat(info: PathInfo, content: Hash) -> tuple[ContentMethod, Hash | None]:
    """How the path of a plain file follows from its bytes, if it does."""
    for method in FLAT_METHODS:
        if method == "flat" and info.references:
            continue
        if method in ("text", "flat"):
            path = fixed_output_path(info.path.name, content, method, info.references)
            if path == info.path:
                return method, content
    return "none", None
