from __future__ import annotations

import pytest

from nixbk.image.errors import ImageError
from nixbk.image.layers import PathInfo, plan_layers
from nixbk.nix.store_path import StorePath


def path(letter: str) -> StorePath:
    """A store path by its letter; in the order of letters."""
    return StorePath(letter.encode() * 20, letter)


def infos(**facts: tuple[int, str]) -> list[PathInfo]:
    """Sizes and references by letters."""
    return [
        PathInfo(path(letter), size, tuple(path(other) for other in references))
        for letter, (size, references) in facts.items()
    ]


LAYERS = {
    "no paths": ([], 3, []),
    "one each": (infos(a=(1, "b"), b=(1, "")), 3, ["b", "a"]),
    "as many as the budget": (infos(a=(1, "b"), b=(1, "")), 2, ["b", "a"]),
    "all together": (infos(a=(1, "b"), b=(1, "")), 1, ["ab"]),
    "the largest alone": (
        infos(a=(9, "c"), b=(7, "c"), c=(99, ""), d=(5, "a")),
        3,
        ["c", "a", "bd"],
    ),
    "the first of equals": (infos(a=(1, ""), b=(1, ""), c=(1, "")), 2, ["a", "bc"]),
    "self-reference": (infos(a=(1, "a")), 2, ["a"]),
    "reference to elsewhere": (infos(a=(1, "z")), 2, ["a"]),
}


@pytest.mark.parametrize(("paths", "budget", "expected"), LAYERS.values(), ids=LAYERS)
def test_layers(paths: list[PathInfo], budget: int, expected: list[str]) -> None:
    """References before referrers, the rest in the last; the order of paths says nothing."""
    wanted = tuple(tuple(path(letter) for letter in layer) for layer in expected)
    assert plan_layers(paths, budget) == wanted
    assert plan_layers(paths[::-1], budget) == wanted


REFUSED = {
    "no budget": ([], 0, "0 layers are not between 1 and 125"),
    "more than runs": ([], 126, "126 layers are not between 1 and 125"),
    "twice": (infos(a=(1, "")) * 2, 2, "a store path is in the image twice"),
}


@pytest.mark.parametrize(("paths", "budget", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_no_engine_could_run(paths: list[PathInfo], budget: int, expected: str) -> None:
    """Refused before anything is built."""
    with pytest.raises(ImageError) as caught:
        plan_layers(paths, budget)
    assert str(caught.value) == expected
