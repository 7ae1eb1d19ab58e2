from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.image.errors import ImageError
from nixbk.image.state import MERGE_CAPABILITIES, Fragment, image_state, layer_name
from nixbk.llb.file import Mkdir, Mkfile, file
from nixbk.llb.marshal import walk
from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from nixbk.llb.vertex import Output


def path(letter: str) -> StorePath:
    """A store path by its letter."""
    return StorePath(letter.encode() * 20, letter)


BASE = file(None, [Mkdir("/nix"), Mkdir("/nix/store")], name="base")


def root(*letters: str) -> Output:
    """A file system with store paths in it."""
    return file(BASE, [Mkfile(str(path(x)), b"") for x in letters], name="+".join(letters))


TWO = root("b", "c")
FRAGMENTS = {
    "a": Fragment(path("a"), root("a"), BASE),
    "b": Fragment(path("b"), TWO, BASE, (path("c"),)),
    "c": Fragment(path("c"), TWO, BASE, (path("b"),)),
    "d": Fragment(path("d"), root("d"), BASE),
}

OLD_DOCKER: frozenset[str] = frozenset({"file.base"})

# layers, capabilities, kinds of operation but for base, roots and skeleton
STATES = {
    "nothing": ([], MERGE_CAPABILITIES, []),
    "one path": (["a"], MERGE_CAPABILITIES, ["diff"]),
    "a layer each": (["a", "d"], MERGE_CAPABILITIES, ["diff", "diff", "merge"]),
    "all outputs of a step": (["bc"], MERGE_CAPABILITIES, ["diff"]),
    "outputs apart": (["b", "c"], MERGE_CAPABILITIES, ["file", "file", "merge"]),
    "one of two outputs": (["b"], MERGE_CAPABILITIES, ["file"]),
    "several steps": (["ad", "bc"], MERGE_CAPABILITIES, ["diff", "file", "merge"]),
    "cannot merge": (["a", "bc"], OLD_DOCKER, ["file", "file"]),
}


@pytest.mark.parametrize(("layers", "capabilities", "expected"), STATES.values(), ids=STATES)
def test_an_image_is_differences_where_it_can_be(
    layers: list[str], capabilities: frozenset[str], expected: list[str]
) -> None:
    """Copies only where a layer is not just what a step made, or engines cannot merge."""
    paths = [tuple(path(letter) for letter in layer) for layer in layers]
    fragments = [FRAGMENTS[letter] for layer in layers for letter in layer]
    state = image_state(fragments, paths, capabilities, name="web")
    assert state == image_state(fragments[::-1], paths, capabilities, name="web")
    vertices = [] if state is None else walk(state)
    made = [v for v in vertices if v.name.startswith("web")]
    assert sorted(v.kind for v in made) == expected


def test_layers_are_stacked_where_they_cannot_be_merged() -> None:
    """One operation for each layer, on the one before."""
    layers = [(path("a"),), (path("b"), path("c"))]
    state = image_state([FRAGMENTS[x] for x in "abc"], layers, OLD_DOCKER, name="web")
    assert state is not None
    top, below = state.vertex, state.vertex.inputs[0].vertex
    assert top.name == "web: 2 store paths"
    assert below.name == "web: a"
    assert [a.copy.dest for a in top.op.file.actions] == [str(path("b")), str(path("c")), "/"]
    assert {a.copy.timestamp for a in top.op.file.actions} == {1_000_000_000}
    assert below.op.file.actions[0].input == -1


REFUSED = {
    "empty layer": ("a", [""], "a layer is empty"),
    "two layers": ("a", ["a", "a"], "a store path is in two layers"),
    "no layer": ("ad", ["a"], f"{path('d')}: a store path is in no layer, or a layer's nowhere"),
    "nowhere": ("a", ["ad"], f"{path('d')}: a store path is in no layer, or a layer's nowhere"),
}


@pytest.mark.parametrize(("fragments", "layers", "expected"), REFUSED.values(), ids=REFUSED)
def test_layers_and_fragments_fit(fragments: str, layers: list[str], expected: str) -> None:
    """Each store path of the image in one layer, and no others."""
    with pytest.raises(ImageError) as caught:
        image_state(
            [FRAGMENTS[letter] for letter in fragments],
            [tuple(path(letter) for letter in layer) for layer in layers],
            MERGE_CAPABILITIES,
            name="web",
        )
    assert str(caught.value) == expected


def test_a_fragment_on_nothing_is_a_layer_as_it_is() -> None:
    """The difference from an empty file system is the file system."""
    fragment = FRAGMENTS["a"]._replace(base=None)
    state = image_state([fragment], [(path("a"),)], MERGE_CAPABILITIES, name="web")
    assert state == fragment.root


def test_layer_names() -> None:
    """What the history of the image shows."""
    assert layer_name([path("a")]) == path("a").basename
    assert layer_name([path("b"), path("a")]) == f"2 store paths from {path('a').basename}"
