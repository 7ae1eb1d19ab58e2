"""What a survey means for one image, in the words of the plan. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.planner.compiler import FETCH_BUILDER
from nixbk.schema.plan import PlannedBuild, PlannedImage, PlannedSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.survey import Survey
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
