"""A file that comes in pieces, for the session to serve. Pure, but for what makes the pieces."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pieces(io.RawIOBase):
    """A file of which no more than one piece is kept.

    Args:
        chunks: its bytes, as they come.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next piece, at most *size* bytes; nothing at the end.

        Raises:
            OSError: what makes the pieces failed.
        """
        try:
            self._rest = self._rest or self.take()
        except NixbkError as error:
            raise OSError(0, error.message) from error
        end = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:end], self._rest[end:]
        return piece

    def take(self) -> bytes:
        """A piece that nobody has read; empty at the end.

        Raises:
            NixbkError: what makes the pieces failed.
        """
        return next((chunk for chunk in self._chunks if chunk), b"")

    def close(self) -> None:
        """End what makes the pieces."""
        end = getattr(self._chunks, "close", None)
        if end is not None:
            end()
        super().close()
