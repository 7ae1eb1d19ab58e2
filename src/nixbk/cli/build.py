"""``nixbk build``: realises installables or derivations and says what they are. Effects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nixbk.cli import options


def build(
    installables: Annotated[
        list[str],
        typer.Argument(
            help="Installables, or paths of derivations (.drv).", metavar="INSTALLABLE..."
        ),
    ],
    manifest: options.Manifest = Path("nixbk.toml"),
    builder: options.Builder = None,
    max_jobs: options.MaxJobs = None,
    cores: options.Cores = None,
    logs: options.Logs = False,
    json: options.Json = False,
) -> None:
    """Build installables on BuildKit and print their store paths.

    They are evaluated with the inputs and the sandbox of the manifest, if there is one; no lock
    is needed or written.
    """
    import os

    from nixbk.apply.realise import realise
    from nixbk.apply.workbench import Settings
    from nixbk.cli.live import lines
    from nixbk.cli.show import print_json

    settings = Settings(builder=builder, environ=os.environ, max_jobs=max_jobs, cores=cores)
    with lines(err=True, logs=logs) as (_, progress):
        found = realise(manifest, installables, settings, progress)
    if json:
        print_json([output.to_json() for output in found])
    else:
        for output in found:
            typer.echo(str(output.info.path))
