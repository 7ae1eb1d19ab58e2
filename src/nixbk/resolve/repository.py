"""The files beside a manifest, as the places where a source's bytes are to be had again.

A file counts when git tracks it; in a folder that is no git repository every file does.
Sizes of archives are summed up from the files' own, so that only what has the right size is
read at all.

Effect: runs ``git ls-files``; reads files.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nixbk.errors import NixbkError
from nixbk.nix.nar import nar_hash
from nixbk.resolve.filesystem import nar_of, nix_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nixbk.nix.hashes import Hash

# Lengths within an archive, from the grammar of nixbk.nix.nar.
_ENVELOPE = 24  # str("nix-archive-1")
_NODE = 48  # ( type )
_ENTRY = 80  # entry ( name node )
_REGULAR = 16 + 16 + 8  # regular contents length
_EXECUTABLE = 24 + 8
_SYMLINK = 32  # symlink target
_DIRECTORY = 24


class RepositoryError(NixbkError):
    """It cannot be told which files belong to the repository."""


class _Entry(NamedTuple):
    """A file or folder: its node's length within an archive."""

    size: int
    is_folder: bool


class Repository:
    """The files of a folder that a fresh checkout of it would have.

    Args:
        folder: the manifest's.
        without: paths below it that are left out, such as the lock's own.
        all_files: whether every file counts, whatever git says.
    """

    def __init__(
        self, folder: Path, without: Iterable[str] = (), *, all_files: bool = False
    ) -> None:
        self._folder = folder
        tracked = None if all_files else tracked_files(folder)
        files = _walk(folder) if tracked is None else tracked
        left_out = tuple(without)
        entries: dict[str, _Entry] = {}
        for path in files:
            if not any(path == out or path.startswith(f"{out}/") for out in left_out):
                size = _file_size(folder / path)
                if size is not None:
                    entries[path] = _Entry(size, is_folder=False)
        self._entries = entries | _folders(entries)
        self._tracked = frozenset(self._entries)
        self._by_size: dict[int, list[str]] = {}
        for path, entry in self._entries.items():
            self._by_size.setdefault(entry.size + _ENVELOPE, []).append(path)

    def find(self, name: str, nar_sha256: Hash, nar_size: int) -> str | None:
        """The file or folder with this archive, by its path in the folder; None without one.

        A file has to have the *name*; what a folder is called does not matter.
        """
        candidates = [
            path
            for path in self._by_size.get(nar_size, ())
            if path.rpartition("/")[2] == name or self._entries[path].is_folder
        ]
        candidates.sort(key=lambda path: (path.rpartition("/")[2] != name, path.count("/"), path))
        for path in candidates:
            if _is_text(path) and nar_hash(self._nar(path))[0] == nar_sha256:
                return path or "."
        return None

    def _nar(self, path: str) -> Iterator[bytes]:
        prefix = f"{path}/" if path else ""
        return nar_of(self._folder / path, lambda below: prefix + below in self._tracked)


def _is_text(path: str) -> bool:
    """Whether a path can be written down in a lock."""
    return path.isprintable()


def tracked_below(folder: Path) -> frozenset[str] | None:
    """Everything of *folder* that git tracks, folders included; None in no repository."""
    files = tracked_files(folder)
    if files is None:
        return None
    found = set(files)
    for path in files:
        while "/" in path:
            path = path.rpartition("/")[0]  # noqa: PLW2901 - up to the top
            found.add(path)
    return frozenset(found)


def tracked_files(folder: Path) -> tuple[str, ...] | None:
    """The files of *folder* that git tracks, relative to it; None when it is no repository.

    Raises:
        RepositoryError: git is missing, or cannot say.
    """
    if not any((parent / ".git").exists() for parent in (folder, *folder.absolute().parents)):
        return None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "ls-files", "-z", "--cached", "--", "."]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise RepositoryError(
            "the folder is a git repository, but there is no 'git' to list its files",
            where=str(folder),
            hint="install git",
        ) from error
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise RepositoryError(f"git cannot list the files: {message}", where=str(folder))
    names = done.stdout.split(b"\0")[:-1]
    return tuple(name.decode("utf-8", "surrogateescape") for name in names)


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        below = Path(root).relative_to(folder)
        for name in (*files, *links):
            yield nix_text(str(below / name))


def _file_size(path: Path) -> int | None:
    """The length of a file's node within an archive; None for what is no file."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return _NODE + _SYMLINK + _string(len(os.fsencode(os.readlink(path))))  # noqa: PTH115
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    executable = _EXECUTABLE if status.st_mode & stat.S_IXUSR else 0
    return _NODE + _REGULAR + executable + _padded(status.st_size)


def _folders(files: dict[str, _Entry]) -> dict[str, _Entry]:
    """The folders above *files*, the top one as the empty path, with their lengths."""
    sizes: dict[str, int] = {"": _NODE + _DIRECTORY}
    for path in files:
        above = path.rpartition("/")[0]
        while above not in sizes:
            sizes[above] = _NODE + _DIRECTORY
            above = above.rpartition("/")[0]
    for path, entry in files.items():
        above, _, name = path.rpartition("/")
        sizes[above] += _entry(name) + entry.size
    for path in sorted(sizes, key=lambda path: -path.count("/")):
        if path:
            above, _, name = path.rpartition("/")
            sizes[above] += _entry(name) + sizes[path]
    return {path: _Entry(size, is_folder=True) for path, size in sizes.items()}


def _entry(name: str) -> int:
    return _ENTRY + _string(len(name.encode("utf-8", "surrogateescape")))


def _string(length: int) -> int:
    return 8 + _padded(length)


def _padded(length: int) -> int:
    return length + -length % 8
