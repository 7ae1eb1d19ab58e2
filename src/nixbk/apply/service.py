"""Plan and apply, as commands ask for them. Effects through what they open."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.apply.prober import CacheProber, ProbeMetError, is_miss
from nixbk.apply.rounds import until_settled
from nixbk.apply.shared_cache import check_targets, keep_cache, remember
from nixbk.apply.targets import looks, planned, targets
from nixbk.apply.verify import verify
from nixbk.apply.workbench import open_workbench
from nixbk.buildkit.errors import BuilderError, BuildFailed
from nixbk.buildkit.protocols import Result
from nixbk.image.config import CONFIG_METADATA
from nixbk.nix.store_path import StorePath
from nixbk.planner.images import blueprint, compile_image, wanted
from nixbk.planner.plan import planned_image
from nixbk.planner.survey import Survey, examine, survey
from nixbk.planner.workshop import Flavour
from nixbk.schema.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager

    from nixbk.apply.progress import Progress
    from nixbk.apply.project import Project
    from nixbk.apply.targets import Look, Target
    from nixbk.apply.workbench import Settings, Workbench
    from nixbk.buildkit.protocols import Build
    from nixbk.llb.vertex import Output
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.images import ImageBlueprint
    from nixbk.resolve.caches.cache import Cache
    from nixbk.schema.manifest import Image

EXPORT_RETRIES: Final = 3
BUILT_ANEW: Final = ("its content is to be built",)
FETCHED_ANEW: Final = ("its content is to be fetched",)
# Docker finds a layer there and removes it with the image it was part of, or finds no image of a
# name that another client then makes. Source: moby/buildkit issue 6521. The last is what remains
# for a moment of an export that was interrupted.
EXPORT_RACES: Final = re.compile(
    r"failed to prepare extraction snapshot .* does not exist|^image .*: already exists"
    r"|during finalize: .* does not exist"
)


class ImageState(NamedTuple):
    """One image held against the builder's cache and its targets.

    Attributes:
        key: its table in the manifest.
        image: that table.
        survey: what its closure needs.
        targets: where it goes, and why it would be written there.
        order: the derivations it may need, inputs first.
    """

    key: str
    image: Image
    survey: Survey
    targets: tuple[tuple[Target, tuple[str, ...]], ...]
    order: tuple[StorePath, ...]


def make_plan(project: Project, settings: Settings) -> Plan:
    """What an apply would do now; builds nothing."""
    with open_bench(project, settings) as bench:
        graph = bench.graph()
        return _plan(bench, graph, _inspect(project, bench, graph))


def open_bench(project: Project, settings: Settings) -> AbstractContextManager[Workbench]:
    """A workbench for a project; its caches are those of the manifest, which was verified then."""

    def caches() -> Mapping[str, Cache]:
        return settings.caches_of(project.manifest, project.manifest_file.parent)

    return open_workbench(project.lock, project.open_source, settings, caches)


def apply_plan(
    project: Project,
    settings: Settings,
    progress: Progress,
    show: Callable[[Plan], None],
    delivered: Callable[[str, str, str, dict[str, str]], None],
) -> Plan:
    """Build what is missing and deliver what is not where it should be.

    Args:
        project: what is to be applied.
        settings: the user's.
        progress: told what happens.
        show: given the plan before it is carried out.
        delivered: told of each image that reached a target: its key, the target's type and name,
            and BuildKit's answer.

    Returns:
        The plan that was carried out.
    """
    from nixbk.apply.fetch_failures import LostError  # noqa: PLC0415  a plan fetches nothing

    shown: list[Plan] = []
    with open_bench(project, settings) as bench:
        check_targets(bench)

        def attempt() -> None:
            graph = bench.graph()
            states = _inspect(project, bench, graph)
            if not shown:
                shown.append(_plan(bench, graph, states))
                show(shown[0])
            while True:
                try:
                    _realise(bench, graph, states, progress)
                    break
                except LostError as error:
                    bench.lose(error, progress.say)
                    graph = bench.graph()
                    states = _inspect(project, bench, graph)
            for state in states:
                _deliver(bench, graph, state, delivered)
            _keep_cache(bench, graph, states, progress)

        until_settled(attempt)
    return shown[0]


def _inspect(project: Project, bench: Workbench, graph: BuildGraph) -> list[ImageState]:
    """Hold every image against the cache and its targets."""
    locked = {key: project.lock.images[key] for key in project.images}
    asked = {key: wanted(graph, image) for key, image in locked.items()}
    orders = {
        key: graph.build_order([step for step, _ in outputs]) for key, outputs in asked.items()
    }
    every = list(dict.fromkeys(chain(*orders.values())))
    begun = looks(project.names_in_docker, bench.client)
    with bench.solving() as solver, solver.opening():
        prober = CacheProber(solver, graph.compiler(Flavour.PROBE), bench.settings.cache)
        # one question for all images, which their surveys then share
        examine(graph, every, list(dict.fromkeys(chain(*asked.values()))), bench.known, prober)
        remember(bench, graph, every, prober)
        surveys = {key: survey(graph, orders[key], asked[key], prober) for key in locked}
        places = _places(project, bench, graph, surveys, solver.build, begun=begun)
    return [
        ImageState(key, project.manifest.images[key], surveys[key], places[key], orders[key])
        for key in project.manifest.images
        if key in locked
    ]


def _places(  # noqa: PLR0913  all that decides
    project: Project,
    bench: Workbench,
    graph: BuildGraph,
    surveys: Mapping[str, Survey],
    build: Build,
    *,
    begun: Mapping[str, Look],
) -> dict[str, tuple[tuple[Target, tuple[str, ...]], ...]]:
    """Where each image goes and why it would be written there; all targets are asked at once."""
    folder = project.manifest_file.parent
    asked: list[tuple[str, Target, ImageBlueprint | None]] = []
    for key, found in surveys.items():
        image = project.manifest.images[key]
        platform = bench.workshop.platform
        found_image = blueprint(graph, key, image, platform) if found.complete else None
        found_places = targets(key, image, bench.client, folder, begun)
        asked += [(key, place, found_image) for place in found_places]
    with ThreadPoolExecutor(max(len(asked), 1)) as pool:
        reasons = pool.map(
            lambda row: row[1].differences(row[2], build) if row[2] else _anew(surveys[row[0]]),
            asked,
        )
        places: dict[str, list[tuple[Target, tuple[str, ...]]]] = {key: [] for key in surveys}
        for (key, place, _), why in zip(asked, reasons, strict=True):
            places[key].append((place, why))
    return {key: tuple(rows) for key, rows in places.items()}


def _anew(found: Survey) -> tuple[str, ...]:
    """Why an image is made although nobody looked at what there is of it."""
    return BUILT_ANEW if found.to_build or not found.to_fetch else FETCHED_ANEW


def _realise(
    bench: Workbench,
    graph: BuildGraph,
    states: Sequence[ImageState],
    progress: Progress,
) -> None:
    """Have what the surveys found missing and compare what is known with the builder's own.

    Raises:
        LostError: what cannot be fetched is to be built, and to be planned anew.
    """
    missing = together(graph, [state.survey for state in states])
    built: frozenset[StorePath] = frozenset()
    if missing.to_fetch:
        from nixbk.apply.fetch import fetch_missing  # noqa: PLC0415  mostly nothing is missing

        fetch_missing(bench, graph, missing.to_fetch, progress)
    if missing.to_build:
        from nixbk.apply.building import build_missing  # noqa: PLC0415  as above

        built = build_missing(bench, graph, missing, progress)
    order = dict.fromkeys(drv for state in states for drv in state.order)
    known = [drv for drv in order if graph.is_lasting(drv) and graph.is_known(drv)]
    known = [drv for drv in known if drv not in built | bench.read]
    verify(graph, known, bench.known, bench.solving, bench.settings.cache)


def together(graph: BuildGraph, surveys: Sequence[Survey]) -> Survey:
    """One survey of what several found."""
    missing = {drv for found in surveys for drv in found.to_build}
    order = graph.build_order(missing)
    return Survey(
        to_build=tuple(drv for drv in order if drv in missing),
        to_send=tuple(sorted({path for found in surveys for path in found.to_send})),
        to_fetch=tuple(sorted({path for found in surveys for path in found.to_fetch})),
        cached=frozenset[StorePath]().union(*(found.cached for found in surveys)),
        refused={drv: why for found in surveys for drv, why in found.refused.items()},
    )


def _deliver(
    bench: Workbench,
    graph: BuildGraph,
    state: ImageState,
    delivered: Callable[[str, str, str, dict[str, str]], None],
) -> None:
    if not any(reasons for _, reasons in state.targets):
        return
    image = blueprint(graph, state.key, state.image, bench.workshop.platform)
    for target, reasons in state.targets:
        if reasons:
            answer = _export(bench, graph, image, target)
            delivered(state.key, target.type, target.name, answer)


def _export(
    bench: Workbench, graph: BuildGraph, image: ImageBlueprint, target: Target
) -> dict[str, str]:
    for _ in range(EXPORT_RETRIES):
        try:
            return _export_once(bench, graph, image, target)
        except BuilderError as error:
            if isinstance(error, BuildFailed) and is_miss(error):
                raise ProbeMetError(image.key) from error
            if EXPORT_RACES.search(error.message) is None:
                raise
    return _export_once(bench, graph, image, target)


def _export_once(
    bench: Workbench, graph: BuildGraph, image: ImageBlueprint, target: Target
) -> dict[str, str]:
    with (
        target.exporter() as exporter,
        bench.begin(exporters=[exporter], cache_exports=bench.settings.cache.of_images) as build,
    ):
        root = compile_image(graph, image, build.capabilities.llb)
        ref = build.solve(bench.definitions.marshal(root)[0]) if root is not None else None
        return build.finish(Result(ref, metadata={CONFIG_METADATA: image.config_bytes}))


def _keep_cache(
    bench: Workbench, graph: BuildGraph, states: Sequence[ImageState], progress: Progress
) -> None:
    """Keep the cache of all images where it is to be kept."""

    def roots(capabilities: AbstractSet[str]) -> Iterator[Output | None]:
        for state in states:
            image = blueprint(graph, state.key, state.image, bench.workshop.platform)
            yield compile_image(graph, image, capabilities)

    order = dict.fromkeys(drv for state in states for drv in state.order)
    keep_cache(bench, graph, roots, order, progress.say)


def _plan(bench: Workbench, graph: BuildGraph, states: Sequence[ImageState]) -> Plan:
    return Plan(
        builder=str(bench.client.address),
        images={
            state.key: planned_image(
                graph, state.survey, [planned(*pair) for pair in state.targets]
            )
            for state in states
        },
    )
