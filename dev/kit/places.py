"""Where fetched things, state and sockets live.

    CACHE/trees/NAME-KEY    whole Debian systems, read-only when used
    CACHE/tools/NAME-KEY    programs built or unpacked
    CACHE/state/ENGINE      images and build caches, on a real disk
    CACHE/bin               wrappers to put on PATH
    RUN/ENGINE              sockets, process record and log of a running engine

Effect: makes folders and takes file locks.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nixbk-dev"
RUN = Path("/run/nixbk-dev") if os.geteuid() == 0 else CACHE / "run"
BIN = CACHE / "bin"


class KitError(Exception):
    """Something a developer can act on; shown without a traceback."""


def need_root(wish: str) -> None:
    """Refuse *wish* to anybody but root.

    Raises:
        KitError: this is not root.
    """
    if os.geteuid() != 0:
        raise KitError(f"{wish} needs root")


def key(*recipe: str) -> str:
    """Eight characters that change when what a folder is made from changes."""
    return hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:8]


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold *file* as a lock; waits for whoever has it.

    The kernel drops the lock with its holder, so a killed run leaves nothing.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def made(final: Path, fill: Callable[[Path], None]) -> Path:
    """*final*, made by *fill* unless it is there; whole or absent, never half.

    Args:
        final: the folder; its name changes with its recipe, see ``key``.
        fill: makes the folder it is given, which does not exist yet.

    Returns:
        *final*.
    """
    with locked(final.with_name(f".{final.name}.lock")):
        if not final.exists():
            partial = final.with_name(f".{final.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            fill(partial)
            partial.rename(final)
    return final


def write_atomically(file: Path, text: str, mode: int = 0o644) -> None:
    """Put *text* into *file* in one step, for readers that run at any moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".", delete=False) as partial:
        partial.write(text)
    Path(partial.name).chmod(mode)
    Path(partial.name).rename(file)
