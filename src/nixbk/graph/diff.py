"""What changed from one graph to another. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from nixbk.graph.closure import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class GraphDiff(Generic[Node]):
    """Nodes by what became of them, each sorted; together they are both graphs' nodes.

    Attributes:
        added: only in the new graph.
        removed: only in the old graph.
        changed: in both, referring to other nodes than before.
        kept: in both, and the same.
    """

    added: tuple[Node, ...]
    removed: tuple[Node, ...]
    changed: tuple[Node, ...]
    kept: tuple[Node, ...]


def diff(old: Mapping[Node, Iterable[Node]], new: Mapping[Node, Iterable[Node]]) -> GraphDiff[Node]:
    """How *new* differs from *old*; both give what each of their nodes refers to."""
    both = sorted(old.keys() & new.keys())
    same = {node for node in both if set(old[node]) == set(new[node])}
    return GraphDiff(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(node for node in both if node not in same),
        kept=tuple(node for node in both if node in same),
    )
