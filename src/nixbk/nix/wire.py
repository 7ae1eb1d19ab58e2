"""Numbers and strings as Nix streams them. Pure.

Grammar::

    length  = 8 bytes, little-endian
    string  = length bytes padding
    padding = zero bytes up to a multiple of 8

Source: ``Source`` and ``Sink``, Nix ``src/libutil/serialise.cc``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ALIGNMENT: Final = 8

_MAX_TAG: Final = 32
_MAX_LENGTH: Final = (1 << 64) - 1


class NarError(NixbkError):
    """Bytes that are no archive, or a tree that has none."""


def length(number: int) -> bytes:
    """Print a length.

    Raises:
        NarError: *number* does not fit.
    """
    if not 0 <= number <= _MAX_LENGTH:
        raise NarError(f"{number} is no length")
    return number.to_bytes(ALIGNMENT, "little")


def padding(size_bytes: int) -> bytes:
    """What fills up *size_bytes* bytes."""
    return b"\0" * (-size_bytes % ALIGNMENT)


def string(data: bytes) -> bytes:
    """Print a string."""
    return length(len(data)) + data + padding(len(data))


class Input:
    """Bytes that come in chunks, read in parts of known length."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._position = 0
        self._before = 0

    def error(self, message: str) -> NarError:
        """An error that tells where it was met."""
        return NarError(f"bad archive before byte {self._before + self._position}: {message}")

    def take(self, size_bytes: int) -> bytes:
        """The next *size_bytes* bytes, which are few."""
        while len(self._buffer) - self._position < size_bytes:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise self.error("the data ends early")
            self._before += self._position
            self._buffer = self._buffer[self._position :] + chunk
            self._position = 0
        start = self._position
        self._position += size_bytes
        return self._buffer[start : self._position]

    def stream(self, size_bytes: int) -> Iterator[bytes]:
        """The next *size_bytes* bytes, which may be many, in chunks as they come."""
        while size_bytes:
            if self._position == len(self._buffer):
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise self.error(f"the data ends {size_bytes} bytes early")
                self._before += self._position
                self._buffer, self._position = chunk, 0
            part = self._buffer[self._position : self._position + size_bytes]
            self._position += len(part)
            size_bytes -= len(part)
            if part:
                yield part

    def skip_padding(self, size_bytes: int) -> None:
        """Pass what fills up *size_bytes* bytes."""
        if any(self.take(-size_bytes % ALIGNMENT)):
            raise self.error("the padding is not zero")

    def length(self) -> int:
        """The next length."""
        return int.from_bytes(self.take(ALIGNMENT), "little")

    def string(self, max_bytes: int) -> bytes:
        """The next string, which is at most *max_bytes* long."""
        size_bytes = self.length()
        if size_bytes > max_bytes:
            raise self.error(f"a string has {size_bytes} bytes, more than {max_bytes}")
        text = self.take(size_bytes)
        self.skip_padding(size_bytes)
        return text

    def expect(self, tag: bytes) -> None:
        """Pass the string *tag*."""
        found = self.string(_MAX_TAG)
        if found != tag:
            raise self.error(f"{found!r} is not {tag.decode()!r}")

    def expect_end(self) -> None:
        """Make sure that nothing is left."""
        if self._position < len(self._buffer) or any(self._chunks):
            raise self.error("the data goes on after the end of the archive")
