"""Which store paths share a layer. Pure.

One decision, behind one function: what the layers of an image are follows from the sizes
and references of its store paths and the budget, and from nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.graph.closure import topological_order
from nixbk.image.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.nix.store_path import StorePath

MAX_LAYERS: Final = 125
"""Docker runs no image of more than 127; two are left for what goes on top."""


class PathInfo(NamedTuple):
    """What the layout of layers may know of a store path.

    Attributes:
        path: the store path.
        nar_size: bytes of its archive, uncompressed.
        references: store paths it refers to, itself perhaps among them.
    """

    path: StorePath
    nar_size: int
    references: tuple[StorePath, ...] = ()


def plan_layers(paths: Sequence[PathInfo], budget: int) -> tuple[tuple[StorePath, ...], ...]:
    """Each store path in one layer, and at most *budget* layers.

    The largest paths have a layer each, references before referrers; the rest, when there
    is one, shares the last. The order of *paths* says nothing.

    Raises:
        ImageError: the budget is not between 1 and `MAX_LAYERS`, or a path is there twice.
    """
    if not 1 <= budget <= MAX_LAYERS:
        raise ImageError(f"{budget} layers are not between 1 and {MAX_LAYERS}")
    return _planned(tuple(paths), budget)


@lru_cache(maxsize=8)  # what unpacks an image's paths, and the image, ask for the same
def _planned(paths: tuple[PathInfo, ...], budget: int) -> tuple[tuple[StorePath, ...], ...]:
    infos = {info.path: info for info in paths}
    if len(infos) != len(paths):
        raise ImageError("a store path is in the image twice")
    order = topological_order(infos, lambda path: infos[path].references)
    if len(order) <= budget:
        return tuple((path,) for path in order)
    by_size = sorted(order, key=lambda path: (-infos[path].nar_size, path))
    alone = set(by_size[: budget - 1])
    rest = tuple(sorted(path for path in order if path not in alone))
    return (*((path,) for path in order if path in alone), rest)
