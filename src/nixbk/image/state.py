"""The file system of an image, as layers over nothing. Pure.

Every store path comes from the root file system in which a step left it. Where engines can
merge, a layer of one step's store paths is the *difference* that step made, which copies
nothing; where a layer gathers paths of several steps, or less than a step made, they are
copied, all by one operation, since one operation is one layer. Engines that cannot merge
get every layer by copies, one upon the other. Both ways the layers hold the same: the
store paths, and ``/nix`` and ``/nix/store`` above them, all owned by root and of time 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.image.errors import ImageError
from nixbk.llb.file import ROOT, Copy, Mkdir, file
from nixbk.llb.layers import diff, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from nixbk.llb.origin import Origin
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath

MERGE_CAPABILITIES: Final = frozenset({"mergeop", "diffop"})
"""What an engine must name for layers without copies."""

MTIME_S: Final = 1


class Fragment(NamedTuple):
    """A store path and where it is to be had.

    Attributes:
        path: the store path.
        root: a file system in which it lives at its own place.
        base: what *root* has but for store paths.
        members: all store paths that are in *root* and not in *base*; empty for this one alone.
    """

    path: StorePath
    root: Output
    base: Output | None
    members: tuple[StorePath, ...] = ()


def image_state(
    fragments: Iterable[Fragment],
    layers: Sequence[Sequence[StorePath]],
    capabilities: AbstractSet[str],
    *,
    name: str,
    origin: Origin | None = None,
) -> Output | None:
    """A file system of one layer for each of *layers*; None when there are none.

    Args:
        fragments: the store paths of the image; which of them comes first says nothing.
        layers: each store path once, the lowest layer first.
        capabilities: what the engine can do.
        name: of the image, for the names of the operations.
        origin: where the user asked for it.

    Raises:
        ImageError: a layer is empty, or fragments and layers are not the same store paths.
    """
    by_path = {fragment.path: fragment for fragment in fragments}
    _check(by_path, layers)
    skeleton = _skeleton()
    if capabilities >= MERGE_CAPABILITIES:
        parts = [_layer(layer, by_path, skeleton, name, origin) for layer in layers]
        return merge(parts, name=f"{name}: {len(parts)} layers", origin=origin)
    state: Output | None = None
    for layer in layers:
        state = _copied(state, layer, by_path, skeleton, name, origin)
    return state


def layer_name(layer: Sequence[StorePath]) -> str:
    """What a layer is called in the image's history: its store path, or how many there are."""
    if len(layer) == 1:
        return layer[0].basename
    return f"{len(layer)} store paths from {min(layer).basename}"


def _title(layer: Sequence[StorePath]) -> str:
    """What progress calls a layer; names without their digests are enough for people."""
    return layer[0].name if len(layer) == 1 else f"{len(layer)} store paths"


def _check(by_path: Mapping[StorePath, Fragment], layers: Sequence[Sequence[StorePath]]) -> None:
    paths = [path for layer in layers for path in layer]
    if not all(layers):
        raise ImageError("a layer is empty")
    if len(set(paths)) != len(paths):
        raise ImageError("a store path is in two layers")
    if stray := by_path.keys() ^ set(paths):
        raise ImageError("a store path is in no layer, or a layer's nowhere", where=str(min(stray)))


def _layer(
    layer: Sequence[StorePath],
    by_path: Mapping[StorePath, Fragment],
    skeleton: Output,
    name: str,
    origin: Origin | None,
) -> Output | None:
    first = by_path[layer[0]]
    whole = set(layer) == {first.path, *first.members}
    if whole and all(by_path[path].root == first.root for path in layer):
        return diff(first.base, first.root, name=f"{name}: {_title(layer)}", origin=origin)
    return _copied(None, layer, by_path, skeleton, name, origin)


def _copied(  # noqa: PLR0913, PLR0917  # the arguments of one loop
    base: Output | None,
    layer: Sequence[StorePath],
    by_path: Mapping[StorePath, Fragment],
    skeleton: Output,
    name: str,
    origin: Origin | None,
) -> Output:
    copies = [
        Copy(by_path[path].root, str(path), str(path), parents=True, owner=ROOT, mtime_s=MTIME_S)
        for path in sorted(layer)
    ]
    # The folders above get their time last, for every copy moves it on.
    folders = Copy(skeleton, "/", "/", contents=True, owner=ROOT, mtime_s=MTIME_S)
    return file(base, [*copies, folders], name=f"{name}: {_title(layer)}", origin=origin)


def _skeleton() -> Output:
    folders = [Mkdir(path, owner=ROOT, mtime_s=MTIME_S) for path in ("/nix", "/nix/store")]
    return file(None, folders, name="the store's folders")
