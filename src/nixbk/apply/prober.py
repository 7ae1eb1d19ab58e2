"""Asks BuildKit's cache what it holds. Effect: solves that cannot build.

A probe fails before any container starts (see :mod:`nixbk.planner.compiler`), with one of the
messages below; every other failure is the engine's own and is raised.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from nixbk.apply.solver import MetError
from nixbk.buildkit.errors import BuildFailed
from nixbk.buildkit.shared_cache import NOT_SHARED
from nixbk.llb.mounts import REFUSED_SHARING
from nixbk.planner.compiler import RESULT_FILE
from nixbk.planner.operations import REFUSED_URL
from nixbk.planner.workshop import PROBE_IP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.apply.solver import Solver
    from nixbk.buildkit.shared_cache import SharedCache
    from nixbk.llb.vertex import Output
    from nixbk.planner.compiler import Compiler

PARALLEL_PROBES: Final = 8
MERGE: Final = "mergeop"
"""What a builder is capable of that merges file systems."""
_MISSES: Final = (
    f"invalid cache sharing option: {REFUSED_SHARING}",
    PROBE_IP,
    REFUSED_URL.removeprefix("http://"),
)
_GROUP: Final = 500
_GROUP_INPUTS: Final = 20_000
_PARTS: Final = 8


class ProbeMetError(MetError):
    """Another client's probe for a step was under way."""

    def __init__(self, name: str) -> None:
        super().__init__("another client was asking for the same step", where=name)


def is_miss(error: BuildFailed) -> bool:
    """Whether a probe's failure means that something is not in the cache."""
    return is_miss_text(error.message)


def is_absent(error: BuildFailed) -> bool:
    """Whether a probe's failure means that what it asks about is not in the cache.

    A probe runs nothing; where it tells of a program that failed or of a download that was another
    file, it shared the fate of somebody's real step, and that left nothing in the cache.
    """
    ran = error.failure.exit_code is not None or "digest mismatch" in error.message
    return ran or is_miss(error)


def is_miss_text(message: str) -> bool:
    """Whether *message* is what BuildKit says when a probe finds nothing."""
    return any(text in message for text in _MISSES)


class CacheProber:
    """A :class:`nixbk.planner.survey.Prober` over one running build; asks about nothing twice.

    Attributes:
        read: the result files that were read, by the root of their step.
    """

    def __init__(self, solver: Solver, compiler: Compiler, cache: SharedCache = NOT_SHARED) -> None:
        """Ask through *solver*, with vertices of *compiler*, which makes probes.

        Where cache is shared, results are read from file systems of their own, which the caches of
        other builders have, and not from all that a step left. Where it is taken from others, each
        output is asked for alone, since what needs several would have BuildKit fetch them all, and
        what it is made of before it: what BuildKit is about to fetch for a step that turns out to
        be missing, it takes for missing as well, as long as the build lasts.

        Args:
            solver: a running build.
            compiler: makes probes.
            cache: where cache is taken from and kept.
        """
        self.read: dict[Output, bytes] = {}
        self._solver = solver
        self._compiler = compiler
        self._cache = cache
        self._asked: dict[Output, bool] = {}

    def cached(self, roots: Sequence[Output]) -> Sequence[bool]:
        """Whether each output is in the cache: one question when all are, few when most are.

        Of all of them together a builder that can merges what it has, which copies nothing, and
        keeps that together with all it is made of. So the next time it finds the one, and opens
        and closes none of the others, each of which has it write to its disk.
        """
        new = list(dict.fromkeys(root for root in roots if root not in self._asked))
        with ThreadPoolExecutor(PARALLEL_PROBES) as pool:
            if self._cache.imports:
                for level in _levels(new):
                    left = level - self._asked.keys()
                    self._asked.update(zip(left, pool.map(self._there, left), strict=True))
                return [self._asked[root] for root in roots]
            groups = _groups(new)
            ask = self._merge if groups and self._merges() else self._all_there
            while groups:
                missing = []
                for group, there in zip(groups, pool.map(ask, groups), strict=True):
                    if there or len(group) == 1:
                        self._asked.update(dict.fromkeys(group, there))
                    else:
                        missing.append(group)
                groups = [part for group in missing for part in _parts(group)]
                ask = self._all_there  # merging what is there of a lot would be for once
        return [self._asked[root] for root in roots]

    def results(self, roots: Sequence[Output]) -> Sequence[bytes | None]:
        """The result file in each step's root, None where it is not in the cache."""
        there = self.cached(roots) if self._cache.imports else [True] * len(roots)
        with ThreadPoolExecutor(PARALLEL_PROBES) as pool:
            read = pool.map(lambda root, there: self._result(root) if there else None, roots, there)
            found = list(read)
        self.read.update((root, data) for root, data in zip(roots, found, strict=True) if data)
        return found

    def _merges(self) -> bool:
        return MERGE in self._solver.build.capabilities.llb

    def _merge(self, roots: Sequence[Output]) -> bool:
        """Whether all are in the cache; then so are they merged, from now on."""
        return self._there(self._compiler.merged(roots))

    def _all_there(self, roots: Sequence[Output]) -> bool:
        """Whether all are in the cache; then only the probe that needs them all fails."""
        if len(roots) == 1:
            return self._there(roots[0])
        together = self._compiler.together(roots)
        try:
            self._solver.solve(together)
        except BuildFailed as error:
            if not is_absent(error):
                raise
            # not the digest: daemons number the vertices of a definition anew
            return error.failure.name == together.vertex.name
        return True

    def _there(self, root: Output) -> bool:
        try:
            self._solver.solve(root)
        except BuildFailed as error:
            if not is_absent(error):
                raise
            return False
        return True

    def _result(self, root: Output) -> bytes | None:
        place = self._compiler.below(root) if self._cache.is_shared else root
        try:
            return self._solver.read(place, RESULT_FILE)
        except BuildFailed as error:
            if not is_absent(error):
                raise
            return None


def _levels(roots: Sequence[Output]) -> list[set[Output]]:
    """*roots* and the steps that they are made of, inputs first."""
    found = set(roots)
    for root in roots:
        for vertex in (root.vertex, *root.vertex.ancestry):
            found.update(output for output in vertex.inputs if output.vertex.kind == "exec")
    levels: dict[int, set[Output]] = {}
    for output in found:
        levels.setdefault(output.vertex.depth, set()).add(output)
    return [levels[depth] for depth in sorted(levels)]


def _groups(roots: Sequence[Output]) -> list[list[Output]]:
    """*roots*, in groups that one definition has room for."""
    groups: list[list[Output]] = []
    inputs = 0
    for root in roots:
        size = len(root.vertex.inputs)
        if not groups or len(groups[-1]) == _GROUP or inputs + size > _GROUP_INPUTS:
            groups.append([])
            inputs = 0
        groups[-1].append(root)
        inputs += size
    return groups


def _parts(group: list[Output]) -> list[list[Output]]:
    """A group in which something is missing, in parts: mostly it is little, or all of it."""
    size = -(-len(group) // _PARTS)
    return [group[start : start + size] for start in range(0, len(group), size)]
