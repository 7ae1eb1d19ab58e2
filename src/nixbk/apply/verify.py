"""Compares what is known of steps with BuildKit's own result files. Effect: one solve.

One exec gathers the result files of all steps; it is cached itself, so that an apply with
nothing to do asks one question. The steps are named as probes, so none can be built by it. Where
cache is taken from other builders it is a probe, too: it would fetch all that was ever built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from nixbk.apply.prober import CacheProber, is_miss
from nixbk.buildkit.errors import BuildFailed
from nixbk.buildkit.shared_cache import NOT_SHARED
from nixbk.planner.compiler import RESULT_FOLDER
from nixbk.planner.knowledge import RealisationChangedError
from nixbk.planner.realisation import Realisation
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from nixbk.apply.executor import StepStore
    from nixbk.apply.solver import Solver
    from nixbk.buildkit.shared_cache import SharedCache
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.compiler import Compiler

GROUP: Final = 200
RESULTS_FILE: Final = f"{RESULT_FOLDER}/results.jsonl"

Begin: TypeAlias = "Callable[[], AbstractContextManager[Solver]]"


def verify(
    graph: BuildGraph,
    drvs: Sequence[StorePath],
    known: StepStore,
    solving: Begin,
    cache: SharedCache = NOT_SHARED,
) -> None:
    """See that what is known of *drvs* is what their result files say, as far as they are cached.

    Args:
        graph: what is known.
        drvs: derivation paths.
        known: where findings are kept.
        solving: begins a build.
        cache: where cache is taken from and kept.

    Raises:
        RealisationChangedError: one says something else; it is no longer known then.
    """
    for start in range(0, len(drvs), GROUP):
        group = drvs[start : start + GROUP]
        steps = [graph.step(drv, Flavour.PROBE) for drv in group]
        found = _result_files(graph, [step.root for step in steps], solving, cache)
        for drv, step, data in zip(group, steps, found, strict=True):
            if data is not None and Realisation.from_bytes(data) != graph.realisation(drv):
                known.forget(step.digest)
                raise RealisationChangedError(drv)


def results_exec(compiler: Compiler, roots: Sequence[Output], *, shared: bool) -> Output:
    """The exec that gathers the result files of steps.

    Args:
        compiler: makes it.
        roots: of the steps.
        shared: whether it takes them from file systems of their own, which a cache of another
            builder has.
    """
    return compiler.collect([compiler.below(root) for root in roots] if shared else roots)


def _result_files(
    graph: BuildGraph, roots: Sequence[Output], solving: Begin, cache: SharedCache
) -> Sequence[bytes | None]:
    with solving() as solver:
        flavour = Flavour.PROBE if cache.imports else Flavour.RUN
        collected = results_exec(graph.compiler(flavour), roots, shared=cache.is_shared)
        try:
            return solver.read(collected, RESULTS_FILE).splitlines(keepends=True)
        except BuildFailed as error:
            if not is_miss(error):
                raise
    with solving() as solver:
        return CacheProber(solver, graph.compiler(Flavour.PROBE), cache).results(roots)
