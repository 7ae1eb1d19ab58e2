"""What a binary cache tells of itself: its ``nix-cache-info``. Pure.

Grammar::

    info  = *( line LF )
    line  = "StoreDir:" directory       ; of the stores whose paths it has
          / "WantMassQuery:" text       ; "1": it may be asked for many paths at once
          / "Priority:" number          ; a smaller one is asked before
          / text                        ; of no meaning here

White space around a value is no part of it; of a line that comes twice, the last
counts. None of them has to be there.

Source: ``BinaryCacheStore::init``, Nix ``src/libstore/binary-cache-store.cc``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nixbk.errors import NixbkError
from nixbk.nix.store_path import STORE_DIR

FILE_NAME: Final = "nix-cache-info"

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,9}")  # what is longer may be no int of C
_WHITE_SPACE: Final = " \t\r"
_SHOWN: Final = 100


class CacheInfoError(NixbkError):
    """Bytes that are no nix-cache-info.

    Attributes:
        field: which of its fields is wrong.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a binary cache tells of itself.

    Attributes:
        store_dir: of the stores whose paths it has; one but `STORE_DIR` is of no use here.
        want_mass_query: whether it may be asked for many paths at once.
        priority: a smaller one is asked before; None if the cache does not tell.

    Raises:
        CacheInfoError: a field breaks its rule.
    """

    store_dir: str = STORE_DIR
    want_mass_query: bool = False
    priority: int | None = None

    def __post_init__(self) -> None:
        text = self.store_dir
        if not text.startswith("/") or not text.isprintable() or text != text.strip(_WHITE_SPACE):
            raise CacheInfoError("StoreDir", f"{text[:_SHOWN]!r} is no directory")
        if self.priority is not None:
            _number("Priority", str(self.priority))

    @classmethod
    def parse(cls, data: bytes) -> CacheInfo:
        """What *data* tells; the inverse of `to_bytes`.

        Raises:
            CacheInfoError: the directory is not absolute, or the priority no number.

        Source: ``BinaryCacheStore::init``, Nix ``src/libstore/binary-cache-store.cc``.
        """
        values = {"StoreDir": STORE_DIR}
        for line in data.decode("utf-8", "surrogateescape").split("\n"):
            name, colon, value = line.partition(":")
            if colon:
                values[name] = value.strip(_WHITE_SPACE)
        priority = values.get("Priority")
        return cls(
            store_dir=values["StoreDir"],
            want_mass_query=values.get("WantMassQuery") == "1",
            priority=None if priority is None else _number("Priority", priority),
        )

    def to_bytes(self) -> bytes:
        """The file as Nix writes it; the inverse of `parse`."""
        lines = [f"StoreDir: {self.store_dir}"]
        if self.want_mass_query:
            lines.append("WantMassQuery: 1")
        if self.priority is not None:
            lines.append(f"Priority: {self.priority}")
        return "".join(f"{line}\n" for line in lines).encode()


def _number(field: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise CacheInfoError(field, f"{text[:_SHOWN]!r} is no number")
    return int(text)
