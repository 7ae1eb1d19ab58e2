"""File trees as events of an archive: parts left out, and back to the disk.

Effect: ``unpack`` writes files.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nixbk.nix import nar

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path


def without(events: Iterable[nar.Event], paths: Container[str]) -> Iterator[nar.Event]:
    """A tree without what is at *paths*, and below."""
    out = ""
    dropping = False
    for event in events:
        if not isinstance(event, nar.Data):
            dropping = event.path in paths or (dropping and event.path.startswith(f"{out}/"))
            if event.path in paths:
                out = event.path
        if not dropping:
            yield event


def unpack(events: Iterable[nar.Event], target: Path) -> None:
    """Write a tree to *target*, which is not there yet and in a folder of the caller's own.

    Raises:
        OSError: a file cannot be written.
    """
    file: int | None = None
    try:
        for event in events:
            if isinstance(event, nar.Data):
                assert file is not None  # noqa: S101 - data follow a file
                _write(file, event.chunk)
                continue
            if file is not None:
                os.close(file)
                file = None
            name = os.fsdecode(event.path.encode("utf-8", "surrogateescape"))
            place = target / name if name else target
            match event:
                case nar.Directory():
                    place.mkdir()
                case nar.Symlink():
                    link = os.fsdecode(event.target.encode("utf-8", "surrogateescape"))
                    place.symlink_to(link)
                case nar.RegularFile():
                    mode = 0o755 if event.executable else 0o644
                    file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    finally:
        if file is not None:
            os.close(file)


def _write(file: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]
