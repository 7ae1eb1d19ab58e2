"""What caches have answered, kept for some time, for this user alone. Effect: one SQLite file.

Nothing in it is believed more than the cache would be: who reads an answer checks it again. It is
only a cache of a cache: where it cannot be read or written, everything works without it.

Source: ``NarInfoDiskCache``, Nix ``src/libstore/nar-info-disk-cache.cc``, and its settings
``narinfo-cache-positive-ttl`` and ``narinfo-cache-negative-ttl``.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

POSITIVE_S: Final = 30 * 24 * 3600
NEGATIVE_S: Final = 3600
INFO: Final = "nix-cache-info"
INFO_S: Final = 7 * 24 * 3600

_VERSION: Final = 1
_BUSY_S: Final = 5.0
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS answers (
    cache TEXT NOT NULL, part TEXT NOT NULL, narinfo BLOB, fetched INTEGER NOT NULL,
    PRIMARY KEY (cache, part)
) WITHOUT ROWID
"""


class Kept(NamedTuple):
    """What a cache said: the bytes of a file, or None where it has none."""

    data: bytes | None


class Answers:
    """Answers by cache and hash part; a context manager.

    Args:
        file: made when something is kept, with its folder; None keeps all in memory.
        now: the clock.
    """

    def __init__(self, file: Path | None, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now = now
        self._fresh: dict[tuple[str, str], bytes | None] = {}
        self._opened: sqlite3.Connection | None = None
        self._broken = False

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> Answers:
        """Those of the user's own cache folder."""
        base = environ.get("XDG_CACHE_HOME", "")
        cache = Path(base) if base.startswith("/") else Path.home() / ".cache"
        return cls(cache / "nixbk" / "narinfos.sqlite")

    def get(self, cache: str, part: str, *, any_age: bool = False) -> Kept | None:
        """What the cache said.

        Args:
            cache: its base address.
            part: the hash part of a store path, or the name of another file.
            any_age: whether it may be older than it is good for.

        Returns:
            None where nothing is known.
        """
        if (cache, part) in self._fresh:
            return Kept(self._fresh[cache, part])
        database = self._database()
        if database is None:
            return None
        row = None
        with self._forgiving():
            row = database.execute(
                "SELECT narinfo, fetched FROM answers WHERE cache = ? AND part = ?", (cache, part)
            ).fetchone()
        if row is None:
            return None
        data, fetched = row
        if not isinstance(data, bytes | None) or not isinstance(fetched, int):
            return None
        good_s = INFO_S if part == INFO else POSITIVE_S
        if data is None:
            good_s = NEGATIVE_S
        return Kept(data) if any_age or 0 <= self._now() - fetched < good_s else None

    def put(self, cache: str, part: str, data: bytes | None) -> None:
        """Keep what the cache said; None where it has no such file. Written by `flush`."""
        self._fresh[cache, part] = data

    def flush(self) -> None:
        """Write what is new, all at once; where that fails, it is asked for again next time."""
        if not self._fresh or self._file is None:
            return
        database = self._database(make=True)
        if database is None:
            return
        now = int(self._now())
        rows = [(cache, part, data, now) for (cache, part), data in self._fresh.items()]
        with self._forgiving(), database:
            database.execute(
                "DELETE FROM answers WHERE fetched < ? OR fetched > ?", (now - POSITIVE_S, now)
            )
            database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)
        self._fresh.clear()

    def close(self) -> None:
        """Write what is new, and let go of the file."""
        self.flush()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _database(self, *, make: bool = False) -> sqlite3.Connection | None:
        if self._opened is not None or self._file is None or self._broken:
            return self._opened
        if not make and not self._file.exists():
            return None
        import sqlite3  # noqa: PLC0415 - as late as can be

        for _ in range(2):
            try:
                self._opened = self._open(self._file)
            except sqlite3.OperationalError:
                break  # it is busy, or nobody may write there
            except sqlite3.DatabaseError:  # it is no database, or one that somebody cut short
                with suppress(OSError):
                    self._file.unlink()
            except OSError:
                break
            else:
                return self._opened
        self._broken = True
        return None

    def _open(self, file: Path) -> sqlite3.Connection:
        import sqlite3  # noqa: PLC0415 - as late as can be

        file.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives the files that it puts beside it the same mode
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(file, timeout=_BUSY_S, check_same_thread=False)
        try:
            # what is lost when the machine stops is asked for again
            database.execute("PRAGMA synchronous = OFF")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                database.execute("DROP TABLE IF EXISTS answers")
                database.execute(_TABLE)
                database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute("SELECT narinfo, fetched FROM answers LIMIT 0")
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        import sqlite3  # noqa: PLC0415 - as late as can be

        try:
            yield
        except sqlite3.OperationalError:
            pass  # busy for too long, or the disk is full
        except sqlite3.DatabaseError:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            self._broken = True
            with suppress(OSError):
                if self._file is not None:
                    self._file.unlink()
