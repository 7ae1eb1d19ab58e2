"""Reads the manifest and the lock from the disk, and writes the lock.

Effect: reads files; ``replacing`` and ``write_atomically`` replace one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.schema.lock import Lock
    from nixbk.schema.manifest_file import ManifestFile


class FileError(NixbkError):
    """A file of the user's cannot be read or written."""


def read_manifest(path: Path) -> ManifestFile:
    """The manifest at *path*.

    Raises:
        FileError: the file cannot be read.
        ManifestError: it is no manifest.
    """
    # pydantic, which words errors, else looks for plugins in all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from nixbk.schema.manifest_file import parse_manifest  # noqa: PLC0415 - not all read one

    return parse_manifest(_read(path, "run 'nixbk init' to write one"), path.name)


def read_lock(path: Path) -> Lock:
    """The lock at *path*, proven.

    Raises:
        FileError: the file cannot be read.
        LockError: it is no lock, or it does not prove itself.
    """
    from nixbk.schema.lock_file import parse_lock  # noqa: PLC0415 - as above

    return parse_lock(_read(path, "run 'nixbk lock' to make it"), path.name)


def _read(path: Path, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileError("no such file", where=str(path), hint=hint) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileError(f"cannot read the file: {reason}", where=str(path)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of *path* when the block ends well, and else is removed.

    Whoever reads *path* sees all of the old or all of the new. The mode of an old file is kept.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), _mode(path))
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at *path* as :func:`replacing` does.

    Raises:
        FileError: the file cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileError(f"cannot write the file: {reason}", where=str(path)) from error


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
