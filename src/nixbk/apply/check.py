"""Builds derivations once more and compares. Effects: a builder.

What is built again lies beside what is in the cache: its step is keyed as another one. Only when
the hashes differ are the files compared, on the builder.
"""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from nixbk.apply.failures import DerivationFailedError, derivation_failed, wanted_by
from nixbk.buildkit.errors import BuildFailed
from nixbk.planner.compiler import FETCH_BUILDER, RESULT_FILE, RESULT_FOLDER
from nixbk.planner.realisation import Realisation
from nixbk.planner.workshop import Flavour, StoreObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nixbk.apply.progress import Progress
    from nixbk.apply.solver import Solver
    from nixbk.apply.workbench import Workbench
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.realisation import RealisedOutput
    from nixbk.planner.workshop import Step

DIFFERENCES_FILE: Final = f"{RESULT_FOLDER}/differences.json"
LISTED: Final = 20
_WORDS: Final = {
    "content": "another content",
    "type": "another kind of file",
    "executable": "executable or not",
    "target": "another target",
    "only-first": "only there the first time",
    "only-second": "only there the second time",
}


def check_again(
    bench: Workbench, graph: BuildGraph, drvs: Sequence[StorePath], progress: Progress
) -> tuple[DerivationFailedError, ...]:
    """Build *drvs*, whose results are known, once more.

    Returns:
        What failed this time, and what came out otherwise.
    """
    nonce = secrets.token_hex()
    with bench.solving(progress) as solver, ThreadPoolExecutor(bench.settings.jobs) as pool:
        check = partial(_check, graph, solver, progress, nonce)
        try:
            found = list(pool.map(check, drvs))
        except BaseException:
            solver.abandon()
            raise
    return tuple(failure for failure in found if failure is not None)


def _check(
    graph: BuildGraph, solver: Solver, progress: Progress, nonce: str, drv: StorePath
) -> DerivationFailedError | None:
    step = graph.variant(drv, "check", nonce)
    download = graph.lock.derivations[drv].builder == FETCH_BUILDER
    progress.watch(step.digest, drv, download=download)
    try:
        data = solver.read(step.root, RESULT_FILE)
    except BuildFailed as error:
        failure = derivation_failed(graph.lock, drv, error)
        failure.__cause__ = error
        return failure
    lines = list(_compared(graph, solver, step, drv, Realisation.from_bytes(data)))
    if not lines:
        return None
    return DerivationFailedError(
        drv, "not-deterministic", "\n".join(lines), wanted_by=wanted_by(graph.lock, drv)
    )


def _compared(
    graph: BuildGraph, solver: Solver, step: Step, drv: StorePath, again: Realisation
) -> Iterator[str]:
    """A line for each output that differs, with the files of it."""
    known = graph.realisation(drv)
    for name, first in known.outputs.items() if known else ():
        second = again.outputs.get(name)
        if second is None or second.nar_hash == first.nar_hash:
            continue
        yield (
            f"derivation {str(drv)!r} may not be deterministic: output {str(first.path)!r} differs"
        )
        yield from _differences(graph, solver, first, StoreObject(second, step.root))


def _differences(
    graph: BuildGraph, solver: Solver, first: RealisedOutput, second: StoreObject
) -> Iterator[str]:
    kinds = {first.file_type, second.info.file_type}
    if "symlink" in kinds:  # which is no tree that could be mounted
        yield f"  all of it: {_WORDS['target' if len(kinds) == 1 else 'type']}"
        return
    before = graph.store_object(first.path, Flavour.RUN)
    compared = graph.compiler(Flavour.RUN).compare(before, second)
    document = json.loads(solver.read(compared, DIFFERENCES_FILE))
    found = document["differences"]
    for entry in found[:LISTED]:
        place = entry["path"] or "all of it"
        yield f"  {place}: {_WORDS.get(entry['what'], entry['what'])}"
    more = len(found) - len(found[:LISTED]) + document.get("more", 0)
    if more:
        yield f"  and {more} more"
