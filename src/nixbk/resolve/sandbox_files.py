"""What of the sandbox lies beside the manifest; it becomes sources of the lock.

Effect: reads those files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.resolve.locking import LockingError, at
from nixbk.schema.lock import LockedPath, LockedShell
from nixbk.schema.sandbox import SHELL_TARGET

if TYPE_CHECKING:
    from pathlib import Path

    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.source_places import SourcePlaces
    from nixbk.schema.lock import LockedSource
    from nixbk.schema.manifest_file import ManifestFile

SHELL_NAME: Final = "sh"
"""The store name of the builds' shell."""

PATH_NAME: Final = "sandbox-path"
"""The store name of other files that builds find."""


def shell(
    file: ManifestFile, folder: Path, places: SourcePlaces, sources: dict[StorePath, LockedSource]
) -> LockedShell | None:
    """The shell of the builds, if it is a file.

    Args:
        file: the manifest.
        folder: the manifest's.
        places: finds sources.
        sources: of the lock; the shell joins them.

    Raises:
        LockingError: it is no file, or cannot be read.
    """
    found = file.manifest.sandbox.sources.get(SHELL_TARGET)
    if found is None or found[0] != ("shell",) or found[1].installable is not None:
        return None
    place = folder / found[1].path
    try:
        if not place.is_file():
            raise LockingError("the shell is no file", hint="name a static shell")
        path = places.own(place, SHELL_NAME, sources)
    except NixbkError as error:
        raise at(file, error, "sandbox", "shell") from error
    return LockedShell(found[1].text, path)


def paths(
    file: ManifestFile, folder: Path, places: SourcePlaces, sources: dict[StorePath, LockedSource]
) -> dict[str, LockedPath]:
    """What else of the sandbox is a file or folder, by where builds find it; see `shell`."""
    found: dict[str, LockedPath] = {}
    for target, (below, source) in file.manifest.sandbox.sources.items():
        if source.installable is not None or below == ("shell",):
            continue
        place = folder / source.path
        try:
            if not place.exists():
                raise LockingError(f"there is no file {source.path!r}")
            path = places.own(place, PATH_NAME, sources)
        except NixbkError as error:
            raise at(file, error, "sandbox", *below) from error
        found[target] = LockedPath(source.text, path)
    return found
