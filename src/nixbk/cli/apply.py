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
    cache_from: options.CacheFrom = None,
    cache_to: options.CacheTo = None,
    logs: options.Logs = False,
    json: options.Json = False,
) -> None:
    """Build what is missing, and load, write or push the images.

    What the plan says is built, and images go where they are not yet. No image is delivered
    when a build failed.
    """
    import os

    from nixbk.apply.cache_places import cache_settings
    from nixbk.apply.interruptible import interruptible
    from nixbk.apply.project import open_project
    from nixbk.apply.service import apply_plan
    from nixbk.apply.workbench import Settings
    from nixbk.cli.live import lines
    from nixbk.cli.show import delivered_line, plan_lines, print_edits, print_json, say_beside

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
        cache=cache_settings(manifest, cache_from, cache_to, os.environ, Path.cwd()),
        say=say_beside,
        meanwhile=project.meanwhile,
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
        fetched = sorted(str(path) for path in progress.fetched_paths)
        print_json(
            {"plan": done.to_json(), "fetched": fetched, "built": built, "delivered": deliveries}
        )
    elif done.changes:
        counts = [f"{len(progress.fetched_paths)} fetched"] if progress.fetched_paths else []
        counts += [f"{len(progress.ran)} built", f"{len(deliveries)} delivered"]
        typer.echo(f"Done: {', '.join(counts)}.")
