"""Closures are whole and ordered, and reversing edges twice changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nixbk.graph.closure import closure, path_between, reverse
from nixbk.graph.diff import diff

Graph = dict[int, list[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs without circles, self-references allowed."""
    count = draw(st.integers(1, 25))
    return {i: draw(st.lists(st.integers(0, i), max_size=5)) for i in range(count)}


@given(graphs(), st.data())
def test_closures_are_whole_and_inputs_come_first(graph: Graph, data: st.DataObject) -> None:
    """Nothing reachable is missing, nothing else is there, and the arguments' order is nothing."""
    roots = data.draw(st.lists(st.sampled_from(sorted(graph))))
    found = closure(roots, graph.__getitem__)
    assert set(roots) <= set(found)
    seen: set[int] = set()
    for node in found:
        assert set(graph[node]) - {node} <= seen
        assert node not in seen
        seen.add(node)
    for node in found:
        assert any(path_between(root, node, graph.__getitem__) for root in roots)
    shuffled = data.draw(st.permutations(roots))
    assert closure(shuffled, lambda node: reversed(graph[node])) == found


@given(graphs())
def test_reversing_twice_gives_the_edges_back(graph: Graph) -> None:
    """But for self-references and repetitions."""
    once = reverse(graph, graph.__getitem__)
    twice = reverse(once, once.__getitem__)
    assert twice == {node: tuple(sorted(set(graph[node]) - {node})) for node in graph}


@given(graphs(), graphs())
def test_a_difference_turned_round_swaps_added_and_removed(old: Graph, new: Graph) -> None:
    """And together its groups are all nodes, each once."""
    there, back = diff(old, new), diff(new, old)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert (there.changed, there.kept) == (back.changed, back.kept)
    groups = [*there.added, *there.removed, *there.changed, *there.kept]
    assert sorted(groups) == sorted(old.keys() | new.keys())
