"""Closures, orders and reverse edges of graphs given by a look-up. Pure.

A graph is its nodes and *references*, a function from a node to what it refers to; a node
may refer to itself. Nodes are sorted where there is a choice, so results depend on the
graph alone and may be hashed, whatever set or order the arguments came in.

Source: ``computeFSClosure`` and ``topoSortPaths``, Nix ``src/libstore/misc.cc``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


Node = TypeVar("Node", bound=_Ordered)


class GraphError(NixbkError):
    """A graph that has no order, since it turns in a circle."""


def closure(
    roots: Iterable[Node], references: Callable[[Node], Iterable[Node]]
) -> tuple[Node, ...]:
    """Everything reachable from *roots*, inputs first.

    Asks *references* once per node and drops self-references.

    Raises:
        GraphError: nodes refer to each other in a circle.
    """
    done: dict[Node, bool] = {}  # False as long as what is below a node is looked at
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(root, False) for root in sorted(set(roots))]
    while stack:
        node, entered = stack.pop()
        if entered:
            done[node] = True
            order.append(node)
        elif node not in done:
            done[node] = False
            stack.append((node, True))
            below = [other for other in set(references(node)) if not done.get(other, False)]
            below.sort()
            for other in below:
                if other not in done:
                    stack.append((other, False))
                elif other != node:
                    raise GraphError(f"{str(node)!r} and {str(other)!r} need each other")
    return tuple(order)


def topological_order(
    nodes: Iterable[Node], references: Callable[[Node], Iterable[Node]]
) -> tuple[Node, ...]:
    """*nodes*, each after those of them that it refers to; others are passed over.

    Raises:
        GraphError: nodes refer to each other in a circle.
    """
    chosen = set(nodes)
    return closure(chosen, lambda node: chosen.intersection(references(node)))


def reverse(
    nodes: Iterable[Node], references: Callable[[Node], Iterable[Node]]
) -> dict[Node, tuple[Node, ...]]:
    """Who refers to each of *nodes*, of those nodes, sorted; self-references drop out."""
    ordered = sorted(set(nodes))
    referrers: dict[Node, list[Node]] = {node: [] for node in ordered}
    for node in ordered:
        for other in set(references(node)):
            if other != node and other in referrers:
                referrers[other].append(node)
    return {node: tuple(found) for node, found in referrers.items()}


def path_between(
    root: Node, target: Node, references: Callable[[Node], Iterable[Node]]
) -> tuple[Node, ...]:
    """A shortest way from *root* to *target*, both included; empty when there is none."""
    came_from: dict[Node, Node] = {root: root}
    queue = deque([root])
    while queue and target not in came_from:
        node = queue.popleft()
        for other in sorted(set(references(node)) - came_from.keys()):
            came_from[other] = node
            queue.append(other)
    if target not in came_from:
        return ()
    way = [target]
    while way[-1] != root:
        way.append(came_from[way[-1]])
    return tuple(reversed(way))
