"""A manifest and its lock. Effect: reads both, the manifest in a thread of its own.

To load the manifest's models and to verify what caches have signed takes longer than all else that
a plan of nothing to do needs of this program, and the builder can be asked about a lock without
either. So both are done while the builder answers, and nothing is shown, fetched, built or
delivered before manifest and lock were seen to belong together, and their signatures were verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixbk.apply.meanwhile import Meanwhile
from nixbk.errors import NixbkError
from nixbk.schema.files import read_lock, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from nixbk.schema.lock import Lock, LockedSource
    from nixbk.schema.manifest import Manifest

DOCKER: Final = ({"type": "docker"},)
"""Where an image goes that says nothing of it."""


@dataclass(frozen=True, slots=True)
class Project:
    """A manifest, its lock, and which of the images are meant.

    Attributes:
        manifest_file: where the manifest lies.
        lock_file: where the lock lies.
        lock: the lock, proven.
        images: keys of the images that are meant; all are in the lock.
    """

    manifest_file: Path
    lock_file: Path
    lock: Lock
    images: tuple[str, ...]
    _manifest: Meanwhile[Manifest]

    def meanwhile(self) -> None:
        """Use the time in which the builder is waited for; may be called often, by any thread."""
        self._manifest.begin()

    @property
    def manifest(self) -> Manifest:
        """The manifest that the lock was made of; waits until it is read.

        Raises:
            NixbkError: it is wrong, or the lock is of another one.
        """
        return self._manifest.result()

    @property
    def names_in_docker(self) -> tuple[str, ...]:
        """What the images that go into Docker are called, as far as that can be told at once.

        It is told without the manifest's models, for who wants to look there meanwhile.
        """
        import tomli  # noqa: PLC0415  not every command needs it

        try:
            tables = tomli.loads(self.manifest_file.read_bytes().decode())["images"]
            return tuple(
                str(tables[key].get("name") or f"{key}:latest")
                for key in self.images
                if "docker" in (row["type"] for row in tables[key].get("outputs", DOCKER))
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return ()  # what is wrong is told by the models

    def open_source(self, source: LockedSource) -> BinaryIO:
        """The NAR of a source, which lies beside the lock."""
        from nixbk.resolve.sources import open_source  # noqa: PLC0415  not every apply sends one

        return open_source(self.lock_file, source, self.lock.inputs)


def open_project(
    manifest_file: Path, lock_file: Path | None, images: Sequence[str] | None
) -> Project:
    """Read the lock; the manifest is read when it is needed, or when there is time.

    Args:
        manifest_file: the manifest.
        lock_file: its lock; beside the manifest when None.
        images: keys of the images that are meant; all of them when None or empty.

    Raises:
        NixbkError: a file is wrong, the lock is stale, or an image is not in the manifest.
    """
    lock_file = lock_file or manifest_file.with_suffix(".lock")
    reading = Meanwhile(lambda: read_manifest(manifest_file).manifest)
    try:
        lock = read_lock(lock_file)
    except NixbkError:
        reading.result()  # what is wrong with the manifest comes first
        raise
    fresh = Meanwhile(lambda: _fresh(reading.result(), lock, manifest_file.name, lock_file.name))
    unknown = [name for name in images or () if name not in lock.images]
    if unknown:
        known = reading.result().images
        if unknown[0] not in known:
            raise NixbkError(
                f"there is no image {unknown[0]!r}",
                where=str(manifest_file),
                hint=f"the images are {', '.join(known)}",
            )
        fresh.result()
    chosen = tuple(dict.fromkeys(images or lock.images))
    return Project(manifest_file, lock_file, lock, chosen, fresh)


def _fresh(manifest: Manifest, lock: Lock, manifest_name: str, lock_name: str) -> Manifest:
    """The manifest, once it is seen to be what was locked, and to trust what was."""
    from nixbk.schema.freshness import require_fresh  # noqa: PLC0415  loads the models

    require_fresh(manifest, lock, manifest_name, lock_name)
    if lock.substitutes:
        from nixbk.schema.substitutes import require_trusted  # noqa: PLC0415  loads cryptography

        require_trusted(lock, manifest, lock_name)
    return manifest
