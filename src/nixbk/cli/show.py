"""How plans and results look in a terminal of 80 columns. Effect: the ``print`` functions."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from nixbk.apply.sizes import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.apply.project import Project
    from nixbk.schema.plan import Plan, PlannedImage

LISTED: Final = 30
COLUMNS: Final = 80
_VERBS: Final = {"load": "load into Docker", "write": "write", "push": "push"}


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan for a person."""
    if not plan.changes:
        yield "Nothing to do."
        return
    for key, image in plan.images.items():
        yield from _image_lines(key, image)
    fetched = sum(1 for build in plan.builds if build.url)
    built = len(plan.builds) - fetched
    targets = [t for image in plan.images.values() for t in image.targets if t.action != "none"]
    counts = [f"{len(plan.fetches)} to fetch"] if plan.fetches else []
    counts += [f"{built} to build", f"{fetched} to download", f"{len(targets)} to deliver"]
    yield f"Plan: {', '.join(counts)}."


def delivered_line(key: str, type_: str, name: str, digest: str) -> str:
    """One image that reached its target."""
    action = {"docker": "loaded", "oci": "written", "registry": "pushed"}[type_]
    return f"{key}: {action} {name}" + (f" ({digest[:19]})" if digest else "")


def print_json(document: object) -> None:
    """Print one JSON document."""
    json.dump(document, sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")


def count_text(number: int, noun: str) -> str:
    """A number with its noun in singular or plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def say_beside(line: str) -> None:
    """Say on standard error what is beside the plan and its progress."""
    sys.stderr.write(f"nixbk: note: {line}\n")


def print_edits(project: Project) -> None:
    """Say on standard error which files are no longer as they were locked."""
    if not project.lock.sources:
        return
    from nixbk.resolve.sources import changed_sources

    for error in changed_sources(project.lock_file, project.lock, all_of_them=False):
        sys.stderr.write(f"nixbk: note: {error.message}\n  hint: {error.hint}\n")


def _image_lines(key: str, image: PlannedImage) -> Iterator[str]:
    if not image.changes:
        yield f"{key}: nothing to do"
        return
    yield f"{key}: {count_text(image.cached, 'step')} cached"
    if image.fetch:
        size = size_text(sum(fetch.size for fetch in image.fetch))
        yield f"  fetch {count_text(len(image.fetch), 'path')} ({size})"
    downloads = [build for build in image.build if build.url]
    builds = [build for build in image.build if not build.url]
    for verb, found in (("download", downloads), ("build", builds)):
        for build in found[:LISTED]:
            yield f"  {verb} {build.name}"
        if len(found) > LISTED:
            yield f"  {verb} {len(found) - LISTED} more"
    if image.send:
        total = sum(source.nar_size for source in image.send)
        yield f"  send {count_text(len(image.send), 'source')}, {size_text(total)}"
    for target in image.targets:
        if target.action != "none":
            yield _fitting(f"  {_VERBS[target.action]} {target.name}: {target.reasons[0]}")


def _fitting(line: str) -> str:
    """*line*, cut where a terminal of 80 columns ends."""
    return line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…"
