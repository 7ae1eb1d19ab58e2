"""Where the bundle of a lock is, the folder of what exists nowhere else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def bundle_folder(lock_path: Path) -> Path:
    """The folder of what exists nowhere else: ``nixbk.sources`` beside ``nixbk.lock``."""
    return lock_path.with_name(f"{lock_path.stem}.sources")


def bundle_file(lock_path: Path, sha256: str) -> Path:
    """The file of one archive in the bundle."""
    return bundle_folder(lock_path) / f"{sha256}.nar.xz"
