"""The files of a cache that is a folder. Effect: reads and writes them.

Source: ``LocalBinaryCacheStore``, Nix ``src/libstore/local-binary-cache-store.cc``.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.resolve.caches.faults import CacheError, NotInCacheError
from nixbk.schema.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK_BYTES: Final = 1 << 18


def read_small(cache: str, path: str, limit_bytes: int) -> bytes:
    """The bytes of a small file.

    Raises:
        NotInCacheError: there is no such file.
        CacheError: it cannot be read, or is too long.
    """
    with _opened(cache, path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise CacheError(f"the file {path!r} is longer than {limit_bytes} bytes", where=cache)
    return data


def read_long(cache: str, path: str, start: int) -> Iterator[bytes]:
    """The bytes of a file from *start* on; see `read_small`."""
    with _opened(cache, path) as descriptor:
        os.lseek(descriptor, start, os.SEEK_SET)
        while chunk := os.read(descriptor, CHUNK_BYTES):
            yield chunk


def exists(cache: str, path: str) -> bool:
    """Whether there is such a file."""
    try:
        with _opened(cache, path):
            return True
    except NotInCacheError:
        return False


def write(cache: str, path: str, chunks: Iterable[bytes]) -> None:
    """Write a file, all of it or none.

    Raises:
        CacheError: it cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as file:
            for chunk in chunks:
                file.write(chunk)
    except OSError as error:
        raise _fault(cache, path, "write", error) from error


@contextmanager
def _opened(cache: str, path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotInCacheError(f"there is no file {path!r}", where=cache) from error
    except OSError as error:
        raise _fault(cache, path, "read", error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CacheError(f"{path!r} is no regular file", where=cache)
        yield descriptor
    except OSError as error:
        raise _fault(cache, path, "read", error) from error
    finally:
        os.close(descriptor)


def _fault(cache: str, path: str, deed: str, error: OSError) -> CacheError:
    reason = (error.strerror or str(error)).lower()
    return CacheError(f"cannot {deed} {path!r}: {reason}", where=cache)
