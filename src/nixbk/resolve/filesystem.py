"""File trees of the disk as Nix archives.

Effect: reads files. A tree is walked by directory descriptors that follow no symbolic
link, so what is swapped while it is read leads nowhere else; files are read in chunks.

Source: ``PosixSourceAccessor`` and ``SourceAccessor::dumpPath`` of Nix.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.nix.nar import MAX_DEPTH, Data, Directory, Event, RegularFile, Symlink, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK_BYTES = 1 << 18

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FilesystemError(NixbkError):
    """A tree of the disk cannot be read, or holds what no archive can."""


def nar_of(root: Path, keep: Callable[[str], bool] | None = None) -> Iterator[bytes]:
    """The archive of the tree at *root*, in chunks.

    Args:
        root: a file, a folder or a symbolic link, which is archived as such.
        keep: whether a path below the root belongs to the tree; by default all do.

    Raises:
        FilesystemError: the tree cannot be read, or changes while it is read.
        NarError: no archive can hold it.
    """
    return write(scan(root, keep))


def scan(root: Path, keep: Callable[[str], bool] | None = None) -> Iterator[Event]:
    """The events of the tree at *root*, as `nixbk.nix.nar.write` takes them.

    Raises:
        FilesystemError: the tree cannot be read, or changes while it is read.
    """
    parent, name = os.path.split(os.path.abspath(root))  # noqa: PTH100 - a link stays a link
    try:
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _error(root, error) from error
    try:
        if name:
            yield from _node(descriptor, name, "", root, keep)
        else:
            yield from _folder(os.dup(descriptor), "", root, keep)
    except OSError as error:
        raise _error(root, error) from error
    finally:
        os.close(descriptor)


def _error(root: Path, error: OSError) -> FilesystemError:
    reason = (error.strerror or str(error)).lower()
    return FilesystemError(f"cannot read the file: {reason}", where=str(root))


def _node(
    parent: int, name: str, path: str, root: Path, keep: Callable[[str], bool] | None
) -> Iterator[Event]:
    """One node; a folder with all that is in it."""
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        yield Symlink(path, nix_text(os.readlink(name, dir_fd=parent)))
    elif stat.S_ISREG(mode):
        yield from _file(parent, name, path, root)
    elif stat.S_ISDIR(mode):
        yield from _folder(os.open(name, _FOLDER, dir_fd=parent), path, root, keep)
    else:
        place = root / path if path else root
        raise FilesystemError("neither a file, a folder nor a symbolic link", where=str(place))


def _folder(
    descriptor: int, path: str, root: Path, keep: Callable[[str], bool] | None
) -> Iterator[Event]:
    try:
        if path.count("/") >= MAX_DEPTH:
            raise FilesystemError("the folders are nested too deeply", where=str(root))
        yield Directory(path)
        for name in sorted(os.listdir(descriptor), key=os.fsencode):
            below = f"{path}/{nix_text(name)}" if path else nix_text(name)
            if keep is None or keep(below):
                yield from _node(descriptor, name, below, root, keep)
    finally:
        os.close(descriptor)


def _file(parent: int, name: str, path: str, root: Path) -> Iterator[Event]:
    descriptor = os.open(name, _FILE, dir_fd=parent)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        left = status.st_size
        yield RegularFile(path, left, executable=bool(status.st_mode & stat.S_IXUSR))
        while left:
            chunk = file.read(min(left, CHUNK_BYTES))
            if not chunk:
                break
            left -= len(chunk)
            yield Data(chunk)
        if left or file.read(1):
            place = root / path if path else root
            raise FilesystemError("the file changed while it was read", where=str(place))


def nix_text(name: str) -> str:
    """A name of the operating system as nixbk has Nix's strings: UTF-8, the rest escaped."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")
