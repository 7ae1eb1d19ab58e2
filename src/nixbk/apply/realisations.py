"""The local cache of what earlier builds left behind. Effect: one SQLite file.

It maps the digest of a step, as a probe, to the step's result file. The digest covers the recipe,
the helper's bytes and all inputs, so an entry says nothing about any other step. It only saves
questions: BuildKit's own result files decide, and are compared after every apply.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_SCHEMA: Final = """
create table if not exists realisation (
  step text primary key,
  result blob not null
) without rowid, strict
"""
_BUSY_TIMEOUT_S: Final = 30
_CHUNK: Final = 500


class RealisationCache:
    """Result files by step; a cache that is lost or broken is made anew."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = _open(file)
        except sqlite3.DatabaseError:
            file.unlink(missing_ok=True)
            self._connection = _open(file)

    def load(self, digests: Iterable[str]) -> Mapping[str, bytes]:
        """The result files that are known of the given steps."""
        wanted = list(digests)
        found: dict[str, bytes] = {}
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            rows = self._connection.execute(
                f"select step, result from realisation where step in ({marks})",  # noqa: S608  marks
                chunk,
            )
            found.update(rows)
        return found

    def store(self, digest: str, result: bytes) -> None:
        """Note the result file of a step."""
        with self._connection:
            self._connection.execute(
                "insert or replace into realisation values (?, ?)", (digest, result)
            )

    def forget(self, digest: str) -> None:
        """Drop what was known of a step."""
        with self._connection:
            self._connection.execute("delete from realisation where step = ?", (digest,))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute(_SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
