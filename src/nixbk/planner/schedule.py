"""Which step may start next. Pure, but it remembers.

A step may start when the result of every step that makes one of its inputs, closure included, is
known. That closure is found as results come in, so a step whose last known blocker finishes may
find another behind it. Of the steps that may start, the one with the longest way still above it
goes first.

A result may be told before its step has ended. What starts because of it leans on that step: the
builder has it wait for the end.
"""

from __future__ import annotations

import heapq
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph


class Schedule:
    """The derivations of one survey that are still to be built."""

    def __init__(self, graph: BuildGraph, to_build: Sequence[StorePath]) -> None:
        """Take stock; *to_build* has inputs first."""
        self._graph = graph
        self._open = set(to_build)
        self._order = {drv: index for index, drv in enumerate(to_build)}
        self._heights = _heights(graph, to_build)
        self._blockers: dict[StorePath, set[StorePath]] = {}
        self._blocked: dict[StorePath, list[StorePath]] = {}
        self._ready: list[tuple[int, int, StorePath]] = []
        self._ending: set[StorePath] = set()
        self._leaning: dict[StorePath, frozenset[StorePath]] = {}
        for drv in to_build:
            self._consider(drv)

    def take(self) -> StorePath | None:
        """The next derivation that may start, None when none may."""
        return heapq.heappop(self._ready)[2] if self._ready else None

    def coming(self) -> StorePath | None:
        """What `take` would return, and it still does."""
        return self._ready[0][2] if self._ready else None

    def leaning(self, drv: StorePath) -> frozenset[StorePath]:
        """The steps that *drv* needs and that were still ending when it could start."""
        return self._leaning.get(drv, frozenset())

    def told(self, drv: StorePath) -> None:
        """Note that the realisation of *drv* was put in the graph, while its step is ending."""
        self._ending.add(drv)
        self._release(drv)

    def done(self, drv: StorePath) -> None:
        """Note that *drv* was built and its realisation put in the graph."""
        self._ending.discard(drv)
        self._release(drv)

    def _release(self, drv: StorePath) -> None:
        self._open.discard(drv)
        for blocked in self._blocked.pop(drv, ()):
            blockers = self._blockers[blocked]
            blockers.discard(drv)
            if not blockers:
                self._consider(blocked)

    def _consider(self, drv: StorePath) -> None:
        graph = self._graph
        known, unknown = graph.known_closure(chain(graph.needs(drv), graph.beside(drv)))
        steps = {graph.producer(path) for path in known} | unknown
        blockers = steps & self._open
        if not blockers:
            if not steps.isdisjoint(self._ending):
                self._leaning[drv] = frozenset(steps & self._ending)
            heapq.heappush(self._ready, (-self._heights[drv], self._order[drv], drv))
            return
        self._blockers[drv] = blockers
        for blocker in blockers:
            self._blocked.setdefault(blocker, []).append(drv)


def _heights(graph: BuildGraph, to_build: Sequence[StorePath]) -> dict[StorePath, int]:
    """Length of the longest chain of builds that waits for each derivation."""
    heights = dict.fromkeys(to_build, 0)
    for drv in reversed(to_build):
        for input_drv in graph.below(drv):
            if input_drv in heights:
                heights[input_drv] = max(heights[input_drv], heights[drv] + 1)
    return heights
