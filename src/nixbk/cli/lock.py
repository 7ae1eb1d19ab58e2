"""``nixbk lock``: pins everything the images are made of. Effect: runs Nix, writes the lock."""

from __future__ import annotations

import math
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from nixbk.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from nixbk.resolve.changes import Changes
    from nixbk.resolve.input_trees import InputTrees
    from nixbk.resolve.nix_command import NixCommand
    from nixbk.schema.lock import Lock

T = TypeVar("T")

PROGRESS_S = 0.1
"""How long a number of progress is shown at least."""


def lock(
    manifest: options.Manifest = Path("nixbk.toml"),
    lock: options.LockFile = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the lock would change.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Pin every input anew, and not only what changed.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask binary caches anew, whatever they said before.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask no binary cache: what they said before counts."),
    ] = False,
    netrc_file: options.NetrcFile = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Do not show what Nix says while it works, nor progress."
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Pin what the manifest asks for, by Nix and by binary caches.

    The lock is all that plan and apply need: they run without Nix.
    """
    import os

    from nixbk.resolve import bundle
    from nixbk.resolve.changes import compare
    from nixbk.resolve.late import LateEvaluator
    from nixbk.resolve.locker import make_lock
    from nixbk.resolve.substituters import Asking
    from nixbk.schema.files import read_manifest

    if refresh and offline:
        raise typer.BadParameter("--refresh and --offline exclude each other")
    lock_path = lock or manifest.with_suffix(".lock")
    file = read_manifest(manifest)
    old = _old(lock_path)
    evaluator = LateEvaluator(partial(_nix, manifest.parent, lock_path, quiet=quiet))
    progress = CacheProgress(None if quiet or not sys.stderr.isatty() else sys.stderr)
    try:
        made = make_lock(
            file,
            manifest.parent,
            lock_path,
            evaluator,
            old=old,
            update=update,
            trees=_trees,
            asking=Asking(os.environ, netrc_file, refresh, offline, progress, _in_good_order),
        )
    finally:
        progress.end()
    for warning in made.warnings:
        typer.echo(f"nixbk: warning: {warning}", err=True)
    changed = old != made.lock or not bundle.is_whole(lock_path, made.bundle)
    saved = bundle.Saved(0, 0)
    if not check:
        saved = bundle.save(lock_path, made.lock, made.bundle)
    changes = compare(old, made.lock)
    if json:
        from nixbk.cli.show import print_json

        print_json(_document(lock_path, changes, saved, changed=changed, written=not check))
    else:
        _print(lock_path, changes, changed=changed, check=check)
    if check and changed:
        raise typer.Exit(1)


def _nix(folder: Path, lock_path: Path, *, quiet: bool) -> NixCommand:
    from nixbk.resolve.bundle_files import bundle_folder
    from nixbk.resolve.nix_command import NixCommand

    own = (lock_path, bundle_folder(lock_path))
    return NixCommand(folder, None if quiet else _show, without=own)


def _trees() -> InputTrees:
    import os

    from nixbk.resolve.input_trees import InputTrees

    return InputTrees.of_user(os.environ)


def _in_good_order(cancel: Callable[[], None], work: Callable[[], T]) -> T:
    """What *work* returns; on an interrupt it is ended by *cancel*, and keeps what it has."""
    from nixbk.apply.interruptible import Interruption, interruptible

    interruption = Interruption()
    interruption.calls(cancel)
    return interruptible(interruption, work)


def _old(path: Path) -> Lock | None:
    """The lock so far; one that cannot be read is made anew."""
    from nixbk.schema.files import read_lock
    from nixbk.schema.problems import LockError

    if not path.exists():
        return None
    try:
        return read_lock(path)
    except LockError as error:
        first = error.problems[0]
        typer.echo(f"nixbk: {first.where}: {first.message}: making the lock anew", err=True)
        return None


class CacheProgress:
    """One line that says how many store paths caches have answered for.

    Args:
        screen: shows it; None for nobody.
    """

    def __init__(self, screen: TextIO | None) -> None:
        self._screen = screen
        self._shown_s = -math.inf
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        """Say so, some times a second."""
        now_s = time.monotonic()
        if self._screen is None or now_s - self._shown_s < PROGRESS_S:
            return
        self._shown_s, self._is_shown = now_s, True
        self._screen.write(f"\r\x1b[Kasking caches: {done} of {total} store paths")
        self._screen.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._is_shown and self._screen is not None:
            self._screen.write("\r\x1b[K")
            self._screen.flush()
            self._is_shown = False


def _show(line: str) -> None:
    # Errors are shown once, with the key of the manifest that they belong to.
    if line.startswith(("building ", "copying ", "downloading ", "fetching ", "unpacking ")):
        typer.echo(f"nix: {line}", err=True)


def _print(path: Path, changes: Changes, *, changed: bool, check: bool) -> None:
    from nixbk.resolve.changes import Count

    if not changed:
        typer.echo(f"{path} is up to date")
        return
    for change in changes.changes:
        typer.echo(change.line())
    counts = f"{changes.derivations.line('derivation')}, {changes.sources.line('source')}"
    if changes.substitutes != Count(0, 0, 0):
        counts += f", {changes.substitutes.line('substitute')}"
    typer.echo(f"{path} would change: {counts}" if check else f"{path} written: {counts}")


def _document(
    path: Path, changes: Changes, saved: Any, *, changed: bool, written: bool
) -> dict[str, Any]:
    return {
        "version": 1,
        "lock": str(path),
        "changed": changed,
        "written": written,
        "changes": [change.to_json() for change in changes.changes],
        "derivations": changes.derivations.to_json(),
        "sources": changes.sources.to_json(),
        "substitutes": changes.substitutes.to_json(),
        "bundle": {"written": saved.written, "removed": saved.removed},
    }
