"""Finds the log of what a user names. Effect: reads the lock and logs; may run Nix."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from nixbk.apply.failures import COMMAND_LINE
from nixbk.apply.logs import StepLogs
from nixbk.errors import NixbkError
from nixbk.nix.store_path import StorePath
from nixbk.schema.files import read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixbk.schema.lock import Lock

STORE: Final = "/nix/store/"


class NoLogError(NixbkError):
    """There is no log of what was asked for."""


def open_log(manifest: Path, lock_file: Path, text: str, folder: Path) -> Iterator[bytes]:
    """The last log of a derivation, in pieces.

    Args:
        manifest: the manifest, for an installable that has to be evaluated.
        lock_file: the lock, if there is one.
        text: an installable, a derivation path, or the path of an output.
        folder: where logs are kept.

    Raises:
        NoLogError: there is none.
    """
    logs = StepLogs(folder)
    for drv in _derivations(manifest, lock_file, text):
        found = logs.read(drv)
        if found is not None:
            return _pieces(drv, found)
    raise NoLogError(
        "there is no log of it on this machine",
        where=text,
        hint="a log is kept when a build runs; what was in the builder's cache has none, nor "
        "has what another machine built",
    )


def _derivations(manifest: Path, lock_file: Path, text: str) -> Iterator[StorePath]:
    """What *text* may mean; the next one is looked for when there is no log of the last."""
    if text.startswith(STORE):
        path = StorePath.parse(text.partition("^")[0])
        if path.is_derivation:
            yield path
            return
    lock = read_lock(lock_file) if lock_file.exists() else None
    if text.startswith(STORE):
        yield from _makers(lock, path)
        return
    found = None
    if lock is not None:
        rows = [row for image in lock.images.values() for row in image.installables]
        found = next((row.drv_path for row in rows if row.text == text), None)
    if found is not None:
        yield found
    from nixbk.apply.realise import evaluate  # noqa: PLC0415  loads what evaluates

    for row in evaluate(manifest, [text]).lock.images[COMMAND_LINE].installables:
        if row.drv_path is not None and row.drv_path != found:
            yield row.drv_path


def _makers(lock: Lock | None, path: StorePath) -> Iterator[StorePath]:
    for drv in lock.derivations if lock is not None else ():
        if lock is not None and path in lock.outputs(drv).values():
            yield drv


def _pieces(drv: StorePath, found: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from found
    except (OSError, EOFError, zlib.error) as error:
        raise NoLogError(f"its log cannot be read: {error}", where=str(drv)) from error
