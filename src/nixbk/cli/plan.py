"""``nixbk plan``: what an apply would do. Effect: prints; asks the builder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nixbk.cli import options


def plan(
    images: options.Images = None,
    manifest: options.Manifest = Path("nixbk.toml"),
    lock: options.LockFile = None,
    builder: options.Builder = None,
    cache_from: options.CacheFrom = None,
    json: options.Json = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are changes.")
    ] = False,
) -> None:
    """Say what an apply would build and deliver, and do none of it.

    The builder's cache is asked, and every place that an image goes to.
    """
    import os

    from nixbk.apply.cache_places import cache_settings
    from nixbk.apply.interruptible import interruptible
    from nixbk.apply.project import open_project
    from nixbk.apply.service import make_plan
    from nixbk.apply.workbench import Settings
    from nixbk.cli.show import plan_lines, print_edits, print_json, say_beside

    project = open_project(manifest, lock, images)
    print_edits(project)
    settings = Settings(
        builder=builder,
        environ=os.environ,
        cache=cache_settings(manifest, cache_from, None, os.environ, Path.cwd()),
        say=say_beside,
        meanwhile=project.meanwhile,
    )
    found = interruptible(settings.interruption, lambda: make_plan(project, settings))
    if json:
        print_json(found.to_json())
    else:
        for line in plan_lines(found):
            typer.echo(line)
    if detailed_exitcode and found.changes:
        raise typer.Exit(2)
