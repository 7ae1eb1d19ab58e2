"""The files that binary caches have of store paths. Effects: a builder, files.

That of an output is made on the builder, which has it; that of a source here, where its bytes are.
Either is hashed as it is written to a file, and is what it says it is before anybody is given it.

Source: ``BinaryCacheStore::addToStoreCommon``, Nix ``src/libstore/binary-cache-store.cc``.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from nixbk.errors import NixbkError
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.planner.compiler import NAR_FILE, RESULT_FILE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from nixbk.apply.solver import Solver
    from nixbk.llb.vertex import Output
    from nixbk.planner.offers import Offer

PackCompression = Literal["zstd", "xz", "gzip", "none"]

SUFFIXES: Final[dict[PackCompression, str]] = {"zstd": ".zst", "xz": ".xz", "gzip": "", "none": ""}
"""As Nix names them. Servers take what ends in ``.gz`` for encoded by themselves."""

_GZIP: Final = 31
_PIECE_BYTES: Final = 1 << 20


class PackError(NixbkError):
    """A file is not what it was said to be."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A file that holds the NAR of a store path.

    Attributes:
        file: where it is.
        compression: of the NAR.
        file_hash: SHA-256 of the file.
        file_size: its length in bytes.
    """

    file: Path
    compression: PackCompression
    file_hash: Hash
    file_size: int

    @property
    def url(self) -> str:
        """What it is called in a cache."""
        return f"nar/{self.file_hash.base32()}.nar{SUFFIXES[self.compression]}"


def pack_output(
    solver: Solver, root: Output, offer: Offer, compression: PackCompression, file: Path
) -> Packed:
    """Have the builder pack an output, and fetch the file.

    Args:
        solver: a running build.
        root: the step that packs it.
        offer: the output.
        compression: of the file.
        file: where to write it.

    Raises:
        PackError: the builder has something else than was built.
        BuildFailed: the builder has it no more.
    """
    said = _told(solver.read(root, RESULT_FILE), offer)
    with file.open("wb") as to:
        counted = _Counted(to)
        solver.copy(root, NAR_FILE, counted.write)
    if (counted.sha256(), counted.size) != said:
        raise PackError("the builder sent another file than it made", where=str(offer.path))
    return Packed(file, compression, *said)


def pack_source(nar: BinaryIO, offer: Offer, compression: PackCompression, file: Path) -> Packed:
    """Pack a source.

    Args:
        nar: its archive.
        offer: the source.
        compression: of the file.
        file: where to write it.

    Raises:
        PackError: it is another one than was locked.
    """
    compressor = _compressor(compression)
    digest, size = hashlib.sha256(), 0
    with file.open("wb") as to:
        counted = _Counted(to)
        while piece := nar.read(_PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            counted.write(compressor.compress(piece))
        counted.write(compressor.flush())
    if (digest.digest(), size) != (offer.info.nar_hash.digest, offer.info.nar_size_bytes):
        raise PackError("its archive is not the one that was locked", where=str(offer.path))
    return Packed(file, compression, counted.sha256(), counted.size)


class _Compressor(Protocol):
    """Compresses a stream."""

    def compress(self, data: bytes, /) -> bytes:
        """What there is of it by now."""

    def flush(self) -> bytes:
        """The rest."""


class _Plain:
    """Leaves a stream as it is."""

    def compress(self, data: bytes, /) -> bytes:
        """All of it."""
        return data

    def flush(self) -> bytes:
        """Nothing is left."""
        return b""


def _compressor(compression: PackCompression) -> _Compressor:
    match compression:
        case "zstd":
            return zstd.ZstdCompressor()
        case "xz":
            return lzma.LZMACompressor()
        case "gzip":
            return zlib.compressobj(wbits=_GZIP)
        case "none":
            return _Plain()


class _Counted:
    """Hashes and counts what is written to a file."""

    def __init__(self, to: BinaryIO) -> None:
        self.size = 0
        self._to = to
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Write all of *data*."""
        self._to.write(data)
        self._digest.update(data)
        self.size += len(data)

    def sha256(self) -> Hash:
        """The hash of all that was written."""
        return Hash(HashAlgorithm.SHA256, self._digest.digest())


def _told(data: bytes, offer: Offer) -> tuple[Hash, int]:
    """Hash and size of the file that the builder made of an output.

    Raises:
        PackError: it is not of this output, as it was built.
    """
    try:
        found = json.loads(data)
        path, nar_size = str(found["path"]), int(found["narSize"])
        nar_hash = Hash.parse(str(found["narHash"]))
        said = Hash.parse(str(found["fileHash"])), int(found["fileSize"])
    except (ValueError, KeyError, TypeError, NixbkError) as error:
        message = f"malformed result file: {data[:200]!r}"
        raise PackError(message, where=str(offer.path)) from error
    info = offer.info
    if (path, nar_hash, nar_size) != (str(info.path), info.nar_hash, info.nar_size_bytes):
        raise PackError(
            "the builder has it with another content than it was built with",
            where=str(offer.path),
            hint="prune the builder's cache, and build it again",
        )
    return said
