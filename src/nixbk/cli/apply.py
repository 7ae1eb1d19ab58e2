"""``nixbk apply``: builds what is missing and delivers the images. Effect: all of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nixbk.cli import options

if TYPE_CHECKING:
    from nixbk.schema.plan import Plan


def apply(
    images: options.Images = None,
    manifest: options.Manifest = Path("nixbk.toml"),
    lock: options.LockFile = None,
    builder: options.Builder = None,
    max_jobs: options.MaxJobs = None,
    cores: options.Cores = None,
    timeout: options.Timeout = None,
    max_silent_time: options.MaxSilentTime = None,
    keep_going: options.KeepGoing = False,
    keep_failed: options.KeepFailed = False,
    netrc_file: options.NetrcFile = None,
    logs: options.Logs = False,
    json: options.Json = False,
) -> None:
    """Build what is missing, and load, write or push the images.

    What the plan says is built, and images go where they are not yet. No image is delivered
    when a build failed.
    """
    import os

    from nixbk.apply.interruptible import interruptible
    from nixbk.apply.project import open_project
    from nixbk.apply.service import apply_plan
    from nixbk.apply.workbench import Settings
    from nixbk.cli.live import lines
    from nixbk.cli.show import delivered_line, plan_lines, print_edits, print_json

    project = open_project(manifest, lock, images)
    print_edits(project)
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
    )
    deliveries: list[dict[str, str]] = []
    with lines(err=json, logs=logs, keep=settings.logs_folder) as (say, progress):

        def delivered(key: str, type_: str, name: str, answer: dict[str, str]) -> None:
            digest = answer.get("containerimage.digest", "")
            deliveries.append({"image": key, "type": type_, "name": name, "digest": digest})
            say(delivered_line(key, type_, name, digest))

        def show(plan: Plan) -> None:
            for line in plan_lines(plan):
                say(line)

        done = interruptible(
            settings.interruption,
            lambda: apply_plan(project, settings, progress, show, delivered),
        )
    if json:
        built = sorted(str(step) for step in progress.ran)
        print_json({"plan": done.to_json(), "built": built, "delivered": deliveries})
    elif done.changes:
        typer.echo(f"Done: {len(progress.ran)} built, {len(deliveries)} delivered.")
