"""Nix's base-32 text ("nix32"). Pure.

Grammar::

    text  = *digit                      ; ceil(8 * size / 5) digits for size bytes
    digit = one of 0123456789abcdfghijklmnpqrsvwxyz     ; no e, o, u, t

The bytes are read as one little-endian number and its digits printed with the
most significant first, so texts sort as their numbers do. The leading digit
may have bits to spare, which are zero.

Source: ``BaseNix32``, Nix ``src/libutil/base-nix-32.cc``.
"""

from __future__ import annotations

import re
from typing import Final

from nixbk.errors import NixbkError

ALPHABET: Final = "0123456789abcdfghijklmnpqrsvwxyz"

_PYTHON: Final = "0123456789abcdefghijklmnopqrstuv"
_TO_PYTHON: Final = str.maketrans(ALPHABET, _PYTHON)
_BAD_DIGIT: Final = re.compile(f"[^{ALPHABET}]")
_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)
_PAIR_BITS: Final = 10
_PAIR_MASK: Final = (1 << _PAIR_BITS) - 1


class Base32Error(NixbkError):
    """A text that is no nix32."""


def encoded_length(size_bytes: int) -> int:
    """How many digits *size_bytes* bytes take."""
    return (size_bytes * 8 + 4) // 5


def encode(data: bytes) -> str:
    """The nix32 text of *data*; the inverse of `decode`."""
    size = encoded_length(len(data))
    number = int.from_bytes(data, "little")
    top = (size - 1) // 2 * _PAIR_BITS
    text = "".join([_PAIRS[number >> shift & _PAIR_MASK] for shift in range(top, -1, -_PAIR_BITS)])
    return text[size % 2 :]


def decode(text: str) -> bytes:
    """The bytes whose nix32 text is *text*; the inverse of `encode`.

    Raises:
        Base32Error: a character is no digit, or no number of bytes has such a text.
    """
    if bad := _BAD_DIGIT.search(text):
        raise Base32Error(f"invalid character {bad[0]!r} in the base-32 text {text!r}")
    size_bytes = len(text) * 5 // 8
    if encoded_length(size_bytes) != len(text):
        raise Base32Error(f"the base-32 text {text!r} has an impossible length, {len(text)}")
    number = int(text.translate(_TO_PYTHON), 32) if text else 0
    try:
        return number.to_bytes(size_bytes, "little")
    except OverflowError:
        raise Base32Error(f"the base-32 text {text!r} has bits beyond its last byte") from None
