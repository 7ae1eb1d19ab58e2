"""Plan and apply, as commands ask for them. Effects through what they open."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from nixbk.apply.building import build_missing
from nixbk.apply.executor import ProbeMetError
from nixbk.apply.prober import CacheProber, is_miss
from nixbk.apply.rounds import until_settled
from nixbk.apply.targets import planned, targets
from nixbk.apply.verify import verify
from nixbk.apply.workbench import open_workbench
from nixbk.buildkit.errors import BuilderError, BuildFailed
from nixbk.buildkit.protocols import Result
from nixbk.image.config import CONFIG_METADATA
from nixbk.nix.store_path import StorePath
from nixbk.planner.images import blueprint, compile_image, wanted
from nixbk.planner.plan import planned_image
from nixbk.planner.survey import Survey, learn, survey
from nixbk.planner.workshop import Flavour
from nixbk.schema.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nixbk.apply.progress import Progress
    from nixbk.apply.project import Project
    from nixbk.apply.targets import Target
    from nixbk.apply.workbench import Settings, Workbench
    from nixbk.buildkit.protocols import Build
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.images import ImageBlueprint
    from nixbk.schema.manifest import Image

EXPORT_RETRIES: Final = 3
BUILT_ANEW: Final = ("its content is to be built",)
# Docker finds a layer there and removes it with the image it was part of, or finds no image of a
# name that another client then makes. Source: moby/buildkit issue 6521. The last is what remains
# for a moment of an export that was interrupted.
EXPORT_RACES: Final = re.compile(
    r"failed to prepare extraction snapshot .* does not exist|^image .*: already exists"
    r"|during finalize: .* does not exist"
)


@dataclass(frozen=True, slots=True)
class ImageState:
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
    with open_workbench(project.lock, project.open_source, settings) as bench:
        graph = bench.graph()
        return _plan(bench, graph, _inspect(project, bench, graph))


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
    shown: list[Plan] = []
    with open_workbench(project.lock, project.open_source, settings) as bench:

        def attempt() -> None:
            graph = bench.graph()
            states = _inspect(project, bench, graph)
            if not shown:
                shown.append(_plan(bench, graph, states))
                show(shown[0])
            _realise(bench, graph, states, progress)
            for state in states:
                _deliver(bench, graph, state, delivered)

        until_settled(attempt)
    return shown[0]


def _inspect(project: Project, bench: Workbench, graph: BuildGraph) -> list[ImageState]:
    """Hold every image against the cache and its targets."""
    locked = {key: project.lock.images[key] for key in project.images}
    orders = {
        key: graph.build_order([found.drv_path for found in image.installables])
        for key, image in locked.items()
    }
    with bench.solving() as solver:
        prober = CacheProber(solver, graph.compiler(Flavour.PROBE))
        learn(graph, list(dict.fromkeys(chain(*orders.values()))), bench.known, prober)
        # one question for all images, which their surveys then share
        asked = [output for image in locked.values() for output in wanted(image)]
        survey(graph, list(dict.fromkeys(chain(*orders.values()))), asked, prober)
        surveys = {
            key: survey(graph, orders[key], wanted(image), prober) for key, image in locked.items()
        }
        places = _places(project, bench, graph, surveys, solver.build)
    return [
        ImageState(key, project.manifest.images[key], surveys[key], places[key], orders[key])
        for key in project.manifest.images
        if key in locked
    ]


def _places(
    project: Project,
    bench: Workbench,
    graph: BuildGraph,
    surveys: Mapping[str, Survey],
    build: Build,
) -> dict[str, tuple[tuple[Target, tuple[str, ...]], ...]]:
    """Where each image goes and why it would be written there; all targets are asked at once."""
    folder = project.manifest_file.parent
    asked: list[tuple[str, Target, ImageBlueprint | None]] = []
    for key, found in surveys.items():
        image = project.manifest.images[key]
        complete = not (found.to_build or found.to_send)
        found_image = blueprint(graph, key, image, bench.workshop.platform) if complete else None
        asked += [(key, place, found_image) for place in targets(key, image, bench.client, folder)]
    with ThreadPoolExecutor(max(len(asked), 1)) as pool:
        reasons = pool.map(
            lambda row: row[1].differences(row[2], build) if row[2] else BUILT_ANEW, asked
        )
        places: dict[str, list[tuple[Target, tuple[str, ...]]]] = {key: [] for key in surveys}
        for (key, place, _), why in zip(asked, reasons, strict=True):
            places[key].append((place, why))
    return {key: tuple(rows) for key, rows in places.items()}


def _realise(
    bench: Workbench,
    graph: BuildGraph,
    states: Sequence[ImageState],
    progress: Progress,
) -> None:
    """Build what the surveys found missing and compare what is known with the builder's own."""
    missing = together(graph, [state.survey for state in states])
    built: frozenset[StorePath] = frozenset()
    if missing.to_build:
        built = build_missing(bench, graph, missing, progress)
    order = dict.fromkeys(drv for state in states for drv in state.order)
    known = [drv for drv in order if graph.is_lasting(drv) and graph.is_known(drv)]
    verify(graph, [drv for drv in known if drv not in built], bench.known, bench.solving)


def together(graph: BuildGraph, surveys: Sequence[Survey]) -> Survey:
    """One survey of what several found."""
    missing = {drv for found in surveys for drv in found.to_build}
    order = graph.build_order(missing)
    return Survey(
        to_build=tuple(drv for drv in order if drv in missing),
        to_send=tuple(sorted({path for found in surveys for path in found.to_send})),
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
        bench.client.build(bench.session, exporters=[exporter]) as build,
    ):
        root = compile_image(graph, image, build.capabilities.llb)
        ref = build.solve(bench.definitions.marshal(root)[0]) if root is not None else None
        return build.finish(Result(ref, metadata={CONFIG_METADATA: image.config_bytes}))


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
