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
    timeout: options.Timeout = None,
    max_silent_time: options.MaxSilentTime = None,
    keep_going: options.KeepGoing = False,
    keep_failed: options.KeepFailed = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Build them once more and say which files came out otherwise."
        ),
    ] = False,
    netrc_file: options.NetrcFile = None,
    cache_from: options.CacheFrom = None,
    cache_to: options.CacheTo = None,
    logs: options.Logs = False,
    json: options.Json = False,
) -> None:
    """Build installables on BuildKit and print their store paths.

    They are evaluated with the inputs and the sandbox of the manifest, if there is one; no lock
    is needed or written.
    """
    import os

    from nixbk.apply.cache_places import cache_settings
    from nixbk.apply.realise import realise
    from nixbk.apply.workbench import Settings
    from nixbk.cli.live import lines
    from nixbk.cli.show import print_json, say_beside

    settings = Settings(
        builder=builder,
        environ=os.environ,
        max_jobs=max_jobs,
        cores=cores,
        timeout_s=timeout,
        max_silent_s=max_silent_time,
        keep_going=keep_going,
        keep_failed=keep_failed,
        folder=manifest.parent,
        netrc_file=netrc_file,
        cache=cache_settings(manifest, cache_from, cache_to, os.environ, Path.cwd()),
        say=say_beside,
    )
    with lines(err=True, logs=logs, keep=settings.logs_folder) as (_, progress):
        found = realise(manifest, installables, settings, progress, check=check)
    if json:
        failed = [failure.to_json() for failure in found.failures]
        print_json([output.to_json() for output in found.outputs] + failed)
    else:
        for output in found.outputs:
            typer.echo(str(output.info.path))
    if found.error is not None:
        raise found.error
