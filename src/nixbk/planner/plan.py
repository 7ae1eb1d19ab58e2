"""What a survey means for one image, in the words of the plan. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.planner.compiler import FETCH_BUILDER
from nixbk.schema.plan import PlannedBuild, PlannedFetch, PlannedImage, PlannedSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.survey import Survey
    from nixbk.schema.lock import LockedSubstitute
    from nixbk.schema.plan import PlannedTarget


def planned_image(
    graph: BuildGraph, survey: Survey, targets: Iterable[PlannedTarget]
) -> PlannedImage:
    """What an apply would do for an image whose closure was surveyed."""
    return PlannedImage(
        cached=len(survey.cached),
        build=tuple(_planned_build(graph, drv) for drv in survey.to_build),
        send=tuple(
            PlannedSource(str(path), graph.info(path).nar_size_bytes) for path in survey.to_send
        ),
        targets=tuple(targets),
        fetch=tuple(_planned_fetch(graph.lock.substitutes[path]) for path in survey.to_fetch),
    )


def _planned_fetch(found: LockedSubstitute) -> PlannedFetch:
    size = found.archives[0].file_size
    return PlannedFetch(
        path=str(found.path),
        size=found.nar_size if size is None else size,
        substituters=tuple(dict.fromkeys(archive.substituter for archive in found.archives)),
    )


def _planned_build(graph: BuildGraph, drv: StorePath) -> PlannedBuild:
    derivation = graph.lock.derivations[drv]
    fetched = derivation.builder == FETCH_BUILDER
    return PlannedBuild(
        derivation=str(drv),
        name=derivation.name,
        outputs=tuple(str(path) for path in graph.outputs(drv).values()),
        url=derivation.env.get("url", "") if fetched else "",
    )
