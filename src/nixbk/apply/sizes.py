"""Sizes for people. Pure."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_STEP: Final = 1000


def size_text(size_bytes: int) -> str:
    """A size with three digits and its unit, as decimal prefixes have it."""
    size, power = float(size_bytes), 0
    while float(f"{size:.3g}") >= _STEP and power < len(_UNITS) - 1:
        size, power = size / _STEP, power + 1
    return f"{float(f'{size:.3g}'):g} {_UNITS[power]}"
