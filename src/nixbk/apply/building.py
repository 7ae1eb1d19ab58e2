"""Builds what is missing, and says of what fails all that can be said. Effects: a builder, files.

Where the folder of a failed build is asked for, its step runs once more, keyed as something else,
as a step that ends well with that folder as its result: BuildKit keeps nothing of what fails.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final

from nixbk.apply.executor import Executor
from nixbk.apply.failures import BuildsFailedError, derivation_name, failures_of, refused
from nixbk.errors import NixbkError
from nixbk.planner.compiler import FETCH_BUILDER, RESULT_FILE, RESULT_FOLDER
from nixbk.schema.files import replacing

if TYPE_CHECKING:
    from nixbk.apply.failures import DerivationFailedError
    from nixbk.apply.progress import Progress
    from nixbk.apply.workbench import Workbench
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.survey import Survey

ARCHIVE_FILE: Final = f"{RESULT_FOLDER}/build.tar"
DIGEST_CHARACTERS: Final = 7


def build_missing(
    bench: Workbench, graph: BuildGraph, missing: Survey, progress: Progress
) -> frozenset[StorePath]:
    """Build what is *missing*. What cannot be built at all is refused first.

    Returns:
        What was built; the builder itself has said what came out.

    Raises:
        DerivationFailedError: a derivation failed.
        BuildsFailedError: several did.
    """
    settings = bench.settings
    for drv, why in missing.refused.items():
        if not settings.keep_going:
            raise refused(graph.lock, drv, why) from why
    try:
        with bench.solving(progress) as solver:
            if bench.downloads.has_logins:
                _ = solver.build  # says whether it takes logins, before the first step is made
            return Executor(
                solver,
                graph,
                bench.known,
                settings.jobs,
                progress.watch,
                keep_going=settings.keep_going,
                failed=bench.failed,
            ).run(missing.to_build)
    except NixbkError as error:
        for failure in failures_of(error):
            limit = progress.keep.limit(failure.derivation) if progress.keep else ""
            if limit:
                failure.add(f"the builder left out parts of its log, over its limit of {limit}")
            if settings.keep_failed:
                failure.add(_kept(bench, graph, failure, progress))
        if isinstance(error, BuildsFailedError):
            error.compose()
        raise


def _kept(
    bench: Workbench, graph: BuildGraph, failure: DerivationFailedError, progress: Progress
) -> str:
    """Keep the folder of a failed build; a line that says where it is, or why it is not."""
    drv = failure.derivation
    if not failure.kind or graph.lock.derivations[drv].builder == FETCH_BUILDER:
        return "its build folder was not kept: no builder ran"
    place = bench.settings.folder / archive_name(drv)
    progress.say(f"building {derivation_name(drv)} again to keep its folder")
    try:
        step = graph.variant(drv, "keep-failed", secrets.token_hex())
        with bench.solving() as solver:
            result = json.loads(solver.read(step.root, RESULT_FILE))
            if not result.get("failure"):
                return "its build folder was not kept: built again, it did not fail"
            with replacing(place) as archive:
                solver.copy(step.root, ARCHIVE_FILE, archive.write)
    except (NixbkError, OSError, ValueError) as error:
        return f"its build folder could not be kept: {error}"
    return f"its build folder: {place}"


def archive_name(derivation: StorePath) -> str:
    """The file that the folder of a failed build is kept in."""
    digest = derivation.basename[:DIGEST_CHARACTERS]
    return f"{derivation_name(derivation)}-{digest}.build.tar"
