from __future__ import annotations

import pytest

from nixbk.graph.closure import GraphError, closure, path_between, reverse, topological_order
from nixbk.graph.diff import GraphDiff, diff

CLOSURES: dict[str, tuple[dict[str, str], list[str], tuple[str, ...]]] = {
    "nothing": ({}, [], ()),
    "self-reference": ({"a": "a"}, ["a"], ("a",)),
    "diamond": ({"a": "bc", "b": "d", "c": "d", "d": ""}, ["a"], ("d", "c", "b", "a")),
    "two roots": ({"a": "c", "b": "c", "c": ""}, ["b", "a"], ("c", "b", "a")),
    "root below a root": ({"a": "b", "b": ""}, ["a", "b"], ("b", "a")),
    "not reached": ({"a": "", "b": "a"}, ["a"], ("a",)),
    "named twice": ({"a": "bb", "b": ""}, ["a", "a"], ("b", "a")),
}


@pytest.mark.parametrize(("graph", "roots", "expected"), CLOSURES.values(), ids=CLOSURES)
def test_closures(graph: dict[str, str], roots: list[str], expected: tuple[str, ...]) -> None:
    """Everything reachable, inputs first, each node asked for once."""
    asked: list[str] = []

    def references(node: str) -> str:
        asked.append(node)
        return graph[node]

    assert closure(roots, references) == expected
    assert sorted(asked) == sorted(expected)


CIRCLES: dict[str, tuple[dict[str, str], str]] = {
    "of two": ({"a": "b", "b": "a"}, "'b' and 'a' need each other"),
    "below": ({"a": "b", "b": "c", "c": "d", "d": "b"}, "'d' and 'b' need each other"),
}


@pytest.mark.parametrize(("graph", "expected"), CIRCLES.values(), ids=CIRCLES)
def test_circles_have_no_order(graph: dict[str, str], expected: str) -> None:
    """Two nodes of the circle are named."""
    with pytest.raises(GraphError) as caught:
        closure("a", graph.__getitem__)
    assert str(caught.value) == expected


def test_a_chain_of_100_000_nodes_is_no_recursion() -> None:
    """Depth costs no stack."""
    assert closure([100_000], lambda n: [n - 1] if n else []) == tuple(range(100_001))


def test_topological_order_passes_over_what_was_not_asked_for() -> None:
    """Only the given nodes, though a way leads through others."""
    graph = {"a": "bx", "b": "c", "c": "", "x": "c"}
    assert topological_order("abc", graph.__getitem__) == ("c", "b", "a")
    assert topological_order("ac", graph.__getitem__) == ("c", "a")


def test_reverse_edges() -> None:
    """Who needs whom; nodes outside and self-references drop out."""
    graph = {"a": "abz", "b": "c", "c": "", "d": "bc"}
    assert reverse("dcba", graph.__getitem__) == {
        "a": (),
        "b": ("a", "d"),
        "c": ("b", "d"),
        "d": (),
    }


PATHS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "shortest": ("a", "e", ("a", "c", "e")),
    "itself": ("a", "a", ("a",)),
    "none": ("e", "a", ()),
}


@pytest.mark.parametrize(("root", "target", "expected"), PATHS.values(), ids=PATHS)
def test_paths(root: str, target: str, expected: tuple[str, ...]) -> None:
    """A shortest way, both ends included."""
    graph = {"a": "abc", "b": "d", "c": "e", "d": "e", "e": ""}
    assert path_between(root, target, graph.__getitem__) == expected


def test_differences_of_graphs() -> None:
    """Each node is in one of four groups; the order of references says nothing."""
    old = {"a": "bc", "b": "c", "c": "", "d": ""}
    new = {"a": "cb", "b": "e", "c": "", "e": ""}
    assert diff(old, new) == GraphDiff(
        added=("e",), removed=("d",), changed=("b",), kept=("a", "c")
    )
