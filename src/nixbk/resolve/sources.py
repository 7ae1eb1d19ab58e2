"""The bytes of a lock's sources, had again without Nix.

This is what ``apply`` needs of `nixbk.resolve`: it runs no program but ``git``, and that
only for an input that git fetches, or when a folder holds more than was locked.

Effect: reads the files beside the lock; fetches inputs; spools to a temporary file what is
large.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import tempfile
from typing import TYPE_CHECKING, BinaryIO, cast

from nixbk.errors import NixbkError
from nixbk.nix import nar
from nixbk.nix.hashes import Hash
from nixbk.nix.wire import NarError
from nixbk.resolve.bundle_files import bundle_file, bundle_folder
from nixbk.resolve.filesystem import CHUNK_BYTES, FilesystemError, nar_of
from nixbk.schema.files import read_lock
from nixbk.schema.lock import BundleOrigin, FileOrigin, InputOrigin, Lock, LockedSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from nixbk.schema.lock import LockedInput

SPOOL_BYTES = 4 << 20
"""How much of an archive is kept in memory; a longer one goes to a temporary file."""

XZ_MEMORY_BYTES = 256 << 20
"""How much memory a bundle's archive may ask for."""


class SourceError(NixbkError):
    """The bytes of a source cannot be had, or are not those that were locked."""


def open_source(
    lock_path: Path, source: LockedSource, inputs: Mapping[str, LockedInput] | None = None
) -> BinaryIO:
    """The archive of *source*, from its start; proven against the locked hash and size.

    The caller closes it. At most some megabytes of it are in memory.

    Args:
        lock_path: the lock's file; origins are relative to its folder.
        source: one of the lock.
        inputs: those of the lock; it is read again if they are needed and not given.

    Raises:
        SourceError: the bytes are not there, or are not those that were locked.
    """
    failure: SourceError | None = None
    for chunks in _attempts(lock_path, source, inputs):
        try:
            return _spool(chunks, source)
        except SourceError as error:
            failure = failure or error
    assert failure is not None  # noqa: S101 - there is at least one attempt
    raise failure


def changed_sources(
    lock_path: Path, lock: Lock, *, all_of_them: bool = True
) -> tuple[SourceError, ...]:
    """What of the repository is no longer as it was locked, one error for each source.

    Reads the files that the lock refers to, and nothing of the bundle.

    Args:
        lock_path: the lock's file.
        lock: the lock.
        all_of_them: whether files older than the lock are read, too.
    """
    locked_ns = 0 if all_of_them else lock_path.stat().st_mtime_ns
    found = []
    for source in lock.sources.values():
        match source.origin:
            case FileOrigin(file) if _newer(lock_path.parent / file, locked_ns):
                try:
                    open_source(lock_path, source).close()
                except SourceError as error:
                    found.append(error)
    return tuple(found)


def _newer(path: Path, than_ns: int) -> bool:
    """Whether anything at or below *path* changed after *than_ns*, or *path* is gone."""
    try:
        status = path.lstat()
        if max(status.st_mtime_ns, status.st_ctime_ns) > than_ns:
            return True
        if not stat.S_ISDIR(status.st_mode):
            return False
        return any(below.name != ".git" and _newer(below, than_ns) for below in path.iterdir())
    except OSError:
        return True


def _attempts(
    lock_path: Path, source: LockedSource, inputs: Mapping[str, LockedInput] | None
) -> Iterator[Iterable[bytes]]:
    """The ways to have the archive, best first."""
    match source.origin:
        case FileOrigin(file):
            path = lock_path.parent / file
            # A lock is no part of what it locks.
            own = {lock_path.name, bundle_folder(lock_path).name} if file == "." else set()
            yield nar_of(path, lambda below: below not in own)
            if source.file_type == "directory" and path.is_dir():
                # What nobody locked may lie beside what was locked: a cache, an editor's file.
                from nixbk.resolve.repository import tracked_below  # noqa: PLC0415 - rarely

                tracked = tracked_below(path)
                if tracked is not None:
                    yield nar_of(path, lambda below: below not in own and below in tracked)
        case BundleOrigin(sha256):
            yield unpacked(bundle_file(lock_path, sha256))
        case InputOrigin(name, part):
            from nixbk.resolve.input_trees import InputTreeError, InputTrees  # noqa: PLC0415

            if inputs is None:
                inputs = read_lock(lock_path).inputs
            try:
                tree = InputTrees.of_user(os.environ).tree(inputs[name])
            except InputTreeError as error:
                raise SourceError(
                    error.message,
                    where=error.where,
                    hint="it is fetched without Nix; 'nixbk lock' has another way if that fails",
                ) from error
            yield nar_of(tree / part if part else tree)


def unpacked(path: Path) -> Iterator[bytes]:
    """The archive in a file of the bundle."""
    try:
        with path.open("rb") as packed:
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
            while not unpacker.eof:
                data = packed.read(CHUNK_BYTES) if unpacker.needs_input else b""
                if unpacker.needs_input and not data:
                    raise SourceError("the file ends early", where=str(path))
                yield unpacker.decompress(data, CHUNK_BYTES)
    except FileNotFoundError as error:
        raise SourceError(
            "the lock's bundle lacks this file",
            where=str(path),
            hint="it belongs to the lock: check it out, or run 'nixbk lock'",
        ) from error
    except (OSError, lzma.LZMAError) as error:
        raise SourceError(f"cannot read the archive: {error}", where=str(path)) from error


def _spool(chunks: Iterable[bytes], source: LockedSource) -> BinaryIO:
    digest = hashlib.sha256()
    size = 0
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - the caller's
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > source.nar_size:
                break
            digest.update(chunk)
            spool.write(chunk)
        _require_locked(source, digest.digest(), size)
        _prove_content(spool, source)
        spool.seek(0)
    except (FilesystemError, NarError) as error:
        spool.close()
        raise SourceError(error.message, where=error.where, hint="run 'nixbk lock'") from error
    except BaseException:
        spool.close()
        raise
    return cast("BinaryIO", spool)


def _require_locked(source: LockedSource, sha256: bytes, size: int) -> None:
    if size != source.nar_size or sha256 != source.nar_hash.digest:
        raise SourceError(
            f"{_place(source)} is not what was locked as {source.path.name!r}",
            where=str(source.path),
            hint="run 'nixbk lock'",
        )


def _place(source: LockedSource) -> str:
    match source.origin:
        case FileOrigin(file):
            return repr(file)
        case InputOrigin(name, path):
            return repr(f"{name}/{path}")
        case BundleOrigin(sha256):
            return repr(f"{sha256}.nar.xz")


def _prove_content(spool: tempfile.SpooledTemporaryFile[bytes], source: LockedSource) -> None:
    """Hold what the path is made of against the bytes, where that is not the archive's hash."""
    if source.content_hash is None:
        return
    spool.seek(0)
    digest = hashlib.new(source.content_hash.algorithm.value, usedforsecurity=False)
    chunks = iter(lambda: spool.read(CHUNK_BYTES), b"")
    if source.method == "nar":
        for chunk in chunks:
            digest.update(chunk)
    else:
        for event in nar.read(chunks):
            if isinstance(event, nar.Data):
                digest.update(event.chunk)
    actual = Hash(source.content_hash.algorithm, digest.digest())
    if actual != source.content_hash:
        raise SourceError(
            f"the content hashes to {actual.sri()!r}, not to {source.content_hash.sri()!r}",
            where=str(source.path),
            hint="run 'nixbk lock'",
        )
