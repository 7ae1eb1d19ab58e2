"""What is wrong when a manifest cannot be locked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from nixbk.schema.manifest_file import ManifestFile


class LockingError(NixbkError):
    """A manifest cannot be locked."""


def at(file: ManifestFile, error: NixbkError, *path: str | int) -> LockingError:
    """*error*, with the key of the manifest that it belongs to."""
    return LockingError(error.message, where=file.where(*path), hint=error.hint)
