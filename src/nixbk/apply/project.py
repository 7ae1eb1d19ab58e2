"""A manifest and its lock. Effect: reads both, the manifest in a thread of its own.

The manifest's models take longer to load than everything else that a plan of nothing to do needs,
and the builder can be asked about a lock without them. So they are there when they are needed, and
nothing is built or delivered before manifest and lock were seen to belong together.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.resolve.sources import open_source
from nixbk.schema.files import read_lock, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from typing import BinaryIO

    from nixbk.schema.lock import Lock, LockedSource
    from nixbk.schema.manifest import Manifest


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
    _manifest: Future[Manifest]

    @property
    def manifest(self) -> Manifest:
        """The manifest that the lock was made of; waits until it is read.

        Raises:
            NixbkError: it is wrong, or the lock is of another one.
        """
        return self._manifest.result()

    def open_source(self, source: LockedSource) -> BinaryIO:
        """The NAR of a source, which lies beside the lock."""
        return open_source(self.lock_file, source, self.lock.inputs)


def open_project(
    manifest_file: Path, lock_file: Path | None, images: Sequence[str] | None
) -> Project:
    """Read the lock, and begin to read the manifest.

    Args:
        manifest_file: the manifest.
        lock_file: its lock; beside the manifest when None.
        images: keys of the images that are meant; all of them when None or empty.

    Raises:
        NixbkError: a file is wrong, the lock is stale, or an image is not in the manifest.
    """
    lock_file = lock_file or manifest_file.with_suffix(".lock")
    pool = ThreadPoolExecutor(1, thread_name_prefix="nixbk-manifest")
    try:
        reading = pool.submit(lambda: read_manifest(manifest_file).manifest)
        try:
            lock = read_lock(lock_file)
        except NixbkError:
            reading.result()  # what is wrong with the manifest comes first
            raise
        unknown = [name for name in images or () if name not in lock.images]
        if unknown:
            known = reading.result().images
            if unknown[0] not in known:
                raise NixbkError(
                    f"there is no image {unknown[0]!r}",
                    where=str(manifest_file),
                    hint=f"the images are {', '.join(known)}",
                )
        fresh = pool.submit(_fresh, reading, lock, manifest_file.name, lock_file.name)
        if unknown:
            fresh.result()
    finally:
        pool.shutdown(wait=False)
    chosen = tuple(dict.fromkeys(images or lock.images))
    return Project(manifest_file, lock_file, lock, chosen, fresh)


def _fresh(reading: Future[Manifest], lock: Lock, manifest_name: str, lock_name: str) -> Manifest:
    """The manifest, once it is read and seen to be what was locked, and to trust what was."""
    manifest = reading.result()
    from nixbk.schema.freshness import require_fresh  # noqa: PLC0415  loads the models

    require_fresh(manifest, lock, manifest_name, lock_name)
    if lock.substitutes:
        from nixbk.schema.substitutes import require_trusted  # noqa: PLC0415  loads cryptography

        require_trusted(lock, manifest, lock_name)
    return manifest
