"""The folder beside a lock with the archives that exist nowhere else.

Each is ``<sha256 of the archive>.nar.xz``. A file that is there and has the right content is
left as it is, so that another version of the compressor changes nothing.

Effect: writes and removes files of the bundle.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import lzma
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nixbk.resolve.bundle_files import bundle_file, bundle_folder
from nixbk.schema.files import FileError, write_atomically
from nixbk.schema.lock import BundleOrigin
from nixbk.schema.lock_document import to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nixbk.schema.lock import Lock

_NAME = re.compile(r"[0-9a-f]{64}\.nar\.xz")


class Saved(NamedTuple):
    """How many archives of a bundle were written and removed."""

    written: int
    removed: int


def save(
    lock_path: Path, lock: Lock, archives: Mapping[str, Callable[[], Iterator[bytes]]]
) -> Saved:
    """Write a lock and its bundle.

    The lock is replaced when its bundle is whole, and what it no longer needs goes last: when
    this is killed, the lock that is there has its bundle. Two of them take turns.

    Raises:
        FileError: a file cannot be written.
    """
    with _turn(lock_path.parent):
        _clear(lock_path)
        written = write_bundle(lock_path, archives)
        write_atomically(lock_path, to_bytes(lock))
        return Saved(written, prune_bundle(lock_path, lock))


def _clear(lock_path: Path) -> None:
    """Remove what one that was killed left half written: in our turn nobody writes."""
    half = re.compile(rf"\.{re.escape(lock_path.name)}\.[a-z0-9_]{{8}}")
    for place in lock_path.parent.iterdir():
        if half.fullmatch(place.name):
            place.unlink(missing_ok=True)


def is_whole(lock_path: Path, archives: Iterable[str]) -> bool:
    """Whether every one of *archives* is in the bundle, with its right content."""
    return all(_holds(bundle_file(lock_path, sha256), sha256) for sha256 in archives)


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Hold the folder, so that nobody else writes a lock in it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileError(f"cannot write the lock: {reason}", where=str(folder)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_bundle(lock_path: Path, archives: Mapping[str, Callable[[], Iterator[bytes]]]) -> int:
    """Write what is not there yet; returns how many files were written.

    Raises:
        FileError: a file cannot be written.
    """
    written = 0
    try:
        for sha256 in sorted(archives):
            place = bundle_file(lock_path, sha256)
            if not _holds(place, sha256):
                place.parent.mkdir(exist_ok=True)
                _write(place, archives[sha256]())
                written += 1
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        where = str(bundle_folder(lock_path))
        raise FileError(f"cannot write the bundle: {reason}", where=where) from error
    return written


def prune_bundle(lock_path: Path, lock: Lock) -> int:
    """Remove the archives that *lock* does not name; returns how many.

    What the bundle never wrote is left alone.
    """
    folder = bundle_folder(lock_path)
    origins = [source.origin for source in lock.sources.values()]
    needed = {f"{o.sha256}.nar.xz" for o in origins if isinstance(o, BundleOrigin)}
    removed = 0
    with contextlib.suppress(FileNotFoundError):
        for place in folder.iterdir():
            if _NAME.fullmatch(place.name) and place.name not in needed:
                place.unlink()
                removed += 1
        if not any(folder.iterdir()):
            folder.rmdir()
    return removed


def _holds(place: Path, sha256: str) -> bool:
    from nixbk.resolve.sources import unpacked  # noqa: PLC0415 - not every lock has a bundle

    digest = hashlib.sha256()
    try:
        for chunk in unpacked(place):
            digest.update(chunk)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is written anew
        return False
    return digest.hexdigest() == sha256


def _write(place: Path, chunks: Iterator[bytes]) -> None:
    """Pack an archive; nobody sees the file before it is whole."""
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=place.parent)
    temporary = Path(name)
    try:
        packer = lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=6)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(packer.compress(chunk))
            file.write(packer.flush())
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
