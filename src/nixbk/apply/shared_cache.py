"""Keeps BuildKit's cache for other builders. Effects: builds.

BuildKit exports what a build *returns*, with all that it was made of. So after everything is there,
one build for each place returns the images, and one exec that has the result files of all steps
for its inputs: what an image is made of, and what was only needed to build that, with the results
that a plan asks for. There, and wherever cache is shared, result files are read from a file system
of their own, so that a builder which plans by a cache fetches them and nothing else of a step.

Source: ``runCacheExporters``, BuildKit ``solver/llbsolver``.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from nixbk.apply.cache_places import without_queries
from nixbk.apply.prober import ProbeMetError, is_miss
from nixbk.apply.verify import GROUP, results_exec
from nixbk.buildkit.content_folder import ContentError
from nixbk.buildkit.errors import CONTAINERD_HINT, BuilderError, BuildFailed
from nixbk.buildkit.protocols import Result
from nixbk.errors import NixbkError
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from nixbk.apply.prober import CacheProber
    from nixbk.apply.workbench import Workbench
    from nixbk.buildkit.protocols import Build
    from nixbk.buildkit.shared_cache import CacheTarget
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph

MANIFEST_KEY: Final = "cache.manifest"
PLATFORMS_KEY: Final = "refs.platforms"
_UNKNOWN: Final = "unknown cache exporter"


class CacheExportError(NixbkError):
    """Cache could not be kept at a place."""


def remember(
    bench: Workbench, graph: BuildGraph, order: Iterable[StorePath], prober: CacheProber
) -> None:
    """Keep for the next time which results *prober* has read, which then need no comparison."""
    for drv in order:
        if not graph.is_known(drv):
            continue
        step = graph.step(drv, Flavour.PROBE)
        data = prober.read.get(step.root)
        if data is not None:
            bench.read.add(drv)
            if graph.is_lasting(drv):
                bench.known.store(step.digest, data)


def check_targets(bench: Workbench) -> None:
    """See, before anything is built, that the builder can keep cache at all places.

    Raises:
        CacheExportError: it cannot.
    """
    for target in bench.settings.cache.targets:
        try:
            with bench.begin(cache_exports=[target.option], internal=True):
                pass  # that it begins is all
        except BuilderError as error:
            raise _refused(bench, target, error) from error


def keep_cache(
    bench: Workbench,
    graph: BuildGraph,
    roots: Callable[[AbstractSet[str]], Iterable[Output | None]],
    order: Iterable[StorePath],
    say: Callable[[str], None],
) -> None:
    """Keep the cache of what is there at all places.

    Args:
        bench: the builder, and the places.
        graph: what is known.
        roots: what was made, by the capabilities of the builder.
        order: the derivations below it, inputs first.
        say: takes a line for each place.

    Raises:
        CacheExportError: a place does not take it.
    """
    places = bench.settings.cache.targets
    if not places:
        return
    known = [drv for drv in order if graph.is_lasting(drv) and graph.is_known(drv)]
    groups = [known[start : start + GROUP] for start in range(0, len(known), GROUP)]
    for place in places:
        began_s = time.time()
        try:
            with bench.begin(cache_exports=[place.option], internal=True) as build:
                made = [root for root in roots(build.capabilities.llb) if root is not None]
                made += [_results(graph, group) for group in groups]
                answer = build.finish(_result(bench, build, made))
        except BuildFailed as error:
            if is_miss(error):
                raise ProbeMetError("the cache") from error
            raise
        except BuilderError as error:
            raise _refused(bench, place, error) from error
        say(_kept(place, answer, began_s))


def _results(graph: BuildGraph, drvs: Iterable[StorePath]) -> Output:
    steps = [graph.step(drv, Flavour.RUN).root for drv in drvs]
    return results_exec(graph.compiler(Flavour.RUN), steps, shared=True)


def _result(bench: Workbench, build: Build, roots: Sequence[Output]) -> Result:
    """All of *roots*, as a build returns several: as if they were for several platforms."""
    refs = {}
    for number, root in enumerate(dict.fromkeys(roots)):
        ref = build.solve(bench.definitions.marshal(root)[0])
        if ref is not None:
            refs[f"nixbk/{number}"] = ref
    if not refs:
        return Result()
    platform = bench.workshop.platform
    value = {"os": platform.os, "architecture": platform.architecture}
    platforms = [{"ID": name, "Platform": value} for name in refs]
    text = json.dumps({"Platforms": platforms}, separators=(",", ":"))
    return Result(refs=refs, metadata={PLATFORMS_KEY: text.encode()})


def _kept(place: CacheTarget, answer: Mapping[str, str], began_s: float) -> str:
    """Give what a folder took its tag, and clear it if that is wanted; a line that says so."""
    described = answer.get(MANIFEST_KEY, "")
    if place.folder is not None and described:
        try:
            place.folder.tag(json.loads(described), place.tag)
            if place.reset:
                place.folder.sweep(began_s)
        except (ContentError, ValueError) as error:
            raise CacheExportError(str(error), where=place.text) from error
    return f"cache kept in {place.text}"


def _refused(bench: Workbench, place: CacheTarget, error: BuilderError) -> NixbkError:
    if _UNKNOWN in error.message:
        where = str(bench.client.address)
        return CacheExportError(
            f"the builder {where!r} keeps no cache of type {place.option.type}",
            where=f"cache-to {place.text}",
            hint=f"{CONTAINERD_HINT}, or name another builder with --builder",
        )
    return CacheExportError(
        without_queries(error.message), where=f"cache-to {place.text}", hint=error.hint
    )
