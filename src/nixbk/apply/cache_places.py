"""Where a command takes BuildKit's cache from, and where it keeps it. Effect: reads the manifest.

The manifest is read here without its models, which take longer to load than to ask a builder.
"""

from __future__ import annotations

import re
from threading import Lock
from typing import TYPE_CHECKING, Final

from nixbk.buildkit.shared_cache import SharedCache, shared_cache
from nixbk.errors import NixbkError
from nixbk.schema.cache import CacheEntry, CacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nixbk.proto.control_pb2 import StatusResponse
    from nixbk.schema.cache import Direction

_IMPORTING: Final = "importing cache manifest from "
_NO_CACHE: Final = ("not found", "does not exist", "manifest unknown", "no such")
_QUERY: Final = re.compile(r"\?[^\s\"']+")


def cache_settings(
    manifest_file: Path,
    sources: Sequence[str] | None,
    targets: Sequence[str] | None,
    environ: Mapping[str, str],
    folder: Path,
) -> SharedCache:
    """The places of a command: those of its options, or else those of the manifest.

    Args:
        manifest_file: the manifest, which there need not be.
        sources: of ``--cache-from``, None or empty for the manifest's.
        targets: of ``--cache-to``.
        environ: the user's environment.
        folder: what paths in options are relative to.

    Raises:
        NixbkError: an option or the manifest is wrong.
    """
    if sources and targets:
        table: tuple[Sequence[str], Sequence[str]] = ((), ())
    else:
        table = _table(manifest_file)
    beside = manifest_file.parent
    return shared_cache(
        _option(sources, "from", folder) if sources else _entries(table[0], "from", beside),
        _option(targets, "to", folder) if targets else _entries(table[1], "to", beside),
        environ,
    )


def _entries(
    texts: Iterable[str], direction: Direction, folder: Path
) -> list[tuple[CacheEntry, Path]]:
    return [(CacheEntry.parse(text, direction), folder) for text in texts]


def _option(
    texts: Iterable[str], direction: Direction, folder: Path
) -> list[tuple[CacheEntry, Path]]:
    try:
        return _entries(texts, direction, folder)
    except CacheError as error:
        raise CacheError(error.message, where=f"--cache-{direction}", hint=error.hint) from error


def _table(manifest_file: Path) -> tuple[Sequence[str], Sequence[str]]:
    """``[cache]`` of a manifest, without its models as long as nothing is wrong with it."""
    import tomli  # noqa: PLC0415  not every command needs it

    try:
        table = tomli.loads(manifest_file.read_bytes().decode()).get("cache", {})
        sources, targets = table.get("from", []), table.get("to", [])
        _entries(sources, "from", manifest_file)
        _entries(targets, "to", manifest_file)
    except FileNotFoundError:
        return (), ()
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, NixbkError):
        from nixbk.schema.files import read_manifest  # noqa: PLC0415  it says what is wrong

        cache = read_manifest(manifest_file).manifest.cache
        return cache.from_, cache.to
    return sources, targets


class ImportWatch:
    """Says of each place that cache cannot be taken from why not, once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()
        self._lock = Lock()

    def on_status(self, status: StatusResponse) -> None:
        """Take one message of BuildKit's status stream."""
        for vertex in status.vertexes:
            if vertex.error and vertex.name.startswith(_IMPORTING):
                place = vertex.name.removeprefix(_IMPORTING)
                with self._lock:
                    new = place not in self._said
                    self._said.add(place)
                if new:
                    self._say(f"no cache is taken from {place}: {_reason(vertex.error)}")


def without_queries(text: str) -> str:
    """A message without the queries of its addresses, which may hold secrets."""
    return _QUERY.sub("?…", text)


def _reason(text: str) -> str:
    line = without_queries(text.strip().partition("\n")[0])
    return "there is none yet" if any(words in line.lower() for words in _NO_CACHE) else line
