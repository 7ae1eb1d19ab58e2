"""Which of the store paths that are fetched are symbolic links. Effect: asks caches.

A link at the root of a store path cannot be mounted into a build, so a lock tells where it leads.
No narinfo does: the archives that are short enough to be a link's are fetched and looked into,
but for those of paths that follow from the content of a file.
What was seen once is kept by the hash of the archive.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from nixbk.errors import NixbkError
from nixbk.nix import nar
from nixbk.nix.content_address import is_flat
from nixbk.nix.hashes import Hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Compression, LockedArchive, LockedSubstitute

LONGEST_LINK_BYTES: Final = 4224
"""No archive of a symbolic link is longer: its target has at most 4,095 bytes."""

FILE_LIMIT_BYTES: Final = 1 << 16
"""No archive of that length gets longer than this by being compressed."""

_PLACE: Final = "nar"


class SmallFiles(Protocol):
    """Fetches many small files at once."""

    def small_files(
        self, wanted: Iterable[tuple[str, str]], limit_bytes: int
    ) -> Mapping[tuple[str, str], bytes | NixbkError]:
        """The files at URLs, as narinfos have them, of caches by name; or why there is none."""


class Kept(Protocol):
    """Bytes that are kept, by two words."""

    def get(self, cache: str, part: str, *, any_age: bool = False) -> tuple[bytes | None] | None:
        """What is kept; None for nothing."""

    def put(self, cache: str, part: str, data: bytes | None) -> None:
        """Keep bytes."""


class BadNarError(NixbkError):
    """Bytes that are not the archive that was signed."""


class SmallNarError(NixbkError):
    """No cache gives a short archive.

    Attributes:
        substituter: the name of the first that should.
    """

    def __init__(
        self, path: StorePath, archive: LockedArchive, message: str, hint: str | None
    ) -> None:
        name = archive.substituter
        super().__init__(
            f"the archive of '{path}' in {name!r}: {message}",
            where=f"substituters.{name}",
            hint=hint,
        )
        self.substituter = name


def look_into(
    substitutes: Mapping[StorePath, LockedSubstitute],
    files: SmallFiles,
    kept: Kept,
    old: Mapping[StorePath, LockedSubstitute],
) -> dict[StorePath, LockedSubstitute]:
    """*substitutes*, with the links among them told apart.

    Args:
        substitutes: as caches told of them.
        files: fetches archives.
        kept: archives that were seen before.
        old: the lock so far, which was looked into when it was made.

    Raises:
        SmallNarError: no cache gives an archive with the right hash.
    """
    found: dict[StorePath, LockedSubstitute] = {}
    left: dict[StorePath, list[LockedArchive]] = {}
    for path, entry in substitutes.items():
        data = None
        before = old.get(path)
        if entry.nar_size > LONGEST_LINK_BYTES or is_flat(entry.content_address):
            found[path] = entry
        elif before is not None and before.nar_hash == entry.nar_hash:
            found[path] = entry._replace(file_type=before.file_type, target=before.target)
        elif data := _kept(kept, entry):
            found[path] = _with_type(entry, data)
        else:
            left[path] = list(entry.archives)
    reasons: dict[StorePath, tuple[LockedArchive, str, str | None]] = {}
    while left:
        asked = {path: archives.pop(0) for path, archives in left.items()}
        wanted = ((archive.substituter, archive.url) for archive in asked.values())
        answers = files.small_files(wanted, FILE_LIMIT_BYTES)
        for path, archive in asked.items():
            entry = substitutes[path]
            try:
                data = _verified(entry, archive, answers[archive.substituter, archive.url])
            except NixbkError as error:
                reasons.setdefault(path, (archive, error.message, error.hint))
                continue
            found[path] = _with_type(entry, data)
            kept.put(_PLACE, entry.nar_hash.base32(), data)
        left = {path: archives for path, archives in left.items() if path not in found}
        for path, archives in left.items():
            if not archives:
                raise SmallNarError(path, *reasons[path])
    return {path: found[path] for path in substitutes}


def _kept(kept: Kept, entry: LockedSubstitute) -> bytes | None:
    row = kept.get(_PLACE, entry.nar_hash.base32(), any_age=True)
    data = row[0] if row else None
    return data if data and nar.nar_hash([data]) == (entry.nar_hash, entry.nar_size) else None


def _verified(entry: LockedSubstitute, archive: LockedArchive, answer: bytes | NixbkError) -> bytes:
    """The archive in a file, which has the hash that was signed."""
    if isinstance(answer, NixbkError):
        raise answer
    file_hash = Hash.of(answer)
    if file_hash != archive.file_hash:
        raise BadNarError(
            f"its file has the hash {file_hash.sri()!r}, "
            f"where the narinfo has FileHash {archive.file_hash.sri()!r}"
        )
    data = unpacked(answer, archive.compression, entry.nar_size)
    actual, size = nar.nar_hash([data])
    if (actual, size) != (entry.nar_hash, entry.nar_size):
        raise BadNarError(
            f"its hash is {actual.sri()!r} and its size {size}, "
            f"where the narinfo has NarHash {entry.nar_hash.sri()!r} and NarSize {entry.nar_size}"
        )
    return data


def _with_type(entry: LockedSubstitute, data: bytes) -> LockedSubstitute:
    root = next(nar.read([data]))
    if not isinstance(root, nar.Symlink):
        return entry
    if not root.target.isprintable():
        raise BadNarError(
            f"'{entry.path}' is a symbolic link to the unprintable name {root.target!r}"
        )
    return entry._replace(file_type="symlink", target=root.target)


def unpacked(data: bytes, compression: Compression, size_bytes: int) -> bytes:
    """What *data* holds; never much more than *size_bytes*.

    Raises:
        BadNarError: it is not compressed so, or nothing here can read it.
    """
    limit = size_bytes + 1
    try:
        match compression:
            case "none":
                return data
            case "gzip":
                return zlib.decompressobj(wbits=31).decompress(data, limit)
            case "bzip2":
                return bz2.BZ2Decompressor().decompress(data, limit)
            case "xz":
                decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
                return decoder.decompress(data, limit)
            case "zstd":
                return _zstd(data, limit)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise BadNarError(f"the file is no {compression} stream") from error


def _zstd(data: bytes, limit: int) -> bytes:
    for name in ("compression.zstd", "backports.zstd"):  # the first is new in Python 3.14
        with suppress(ImportError):
            zstd: Any = import_module(name)
            break
    else:
        raise BadNarError("nothing here reads zstd", hint="install 'backports.zstd'")
    try:
        return bytes(zstd.ZstdDecompressor().decompress(data, limit))
    except zstd.ZstdError as error:
        raise BadNarError("the file is no zstd stream") from error
