"""``nixbk log``: prints what a builder printed. Effect: reads a log; may run Nix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nixbk.cli import options


def log(
    installable: Annotated[
        str,
        typer.Argument(
            help="An installable, or the path of a derivation (.drv) or of its output.",
            metavar="INSTALLABLE",
        ),
    ],
    manifest: options.Manifest = Path("nixbk.toml"),
    lock: options.LockFile = None,
) -> None:
    """Print the whole log of the last build of a derivation.

    Logs are kept on the machine that builds were started from, of what failed and of what did
    not. An installable means what the lock has for it; one that is not there is evaluated.
    """
    import os
    import sys

    from nixbk.apply.history import open_log
    from nixbk.apply.logs import clip_limit
    from nixbk.apply.workbench import Settings

    settings = Settings(builder=None, environ=os.environ)
    lock_file = lock or manifest.with_suffix(".lock")
    limit = ""
    for piece in open_log(manifest, lock_file, installable, settings.logs_folder):
        sys.stdout.buffer.write(piece)
        limit = limit or clip_limit(piece)
    sys.stdout.buffer.flush()
    if limit:
        typer.echo(
            f"nixbk: note: the builder left out parts of this log, over its limit of {limit}\n"
            "  hint: BUILDKIT_STEP_LOG_MAX_SIZE and BUILDKIT_STEP_LOG_MAX_SPEED in the\n"
            "    environment of its daemon set other limits; -1 is none",
            err=True,
        )
