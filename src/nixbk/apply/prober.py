"""Asks BuildKit's cache what it holds. Effect: solves that cannot build.

A probe fails before any container starts (see :mod:`nixbk.planner.compiler`), with one of the
messages below; every other failure is the engine's own and is raised.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from nixbk.buildkit.errors import BuildFailed
from nixbk.llb.mounts import REFUSED_SHARING
from nixbk.planner.compiler import REFUSED_URL, RESULT_FILE
from nixbk.planner.workshop import PROBE_IP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.apply.solver import Solver
    from nixbk.llb.vertex import Output
    from nixbk.planner.compiler import Compiler

PARALLEL_PROBES: Final = 8
_MISSES: Final = (
    f"invalid cache sharing option: {REFUSED_SHARING}",
    PROBE_IP,
    REFUSED_URL.removeprefix("http://"),
)
_GROUP: Final = 200


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
    """A :class:`nixbk.planner.survey.Prober` over one running build; asks about nothing twice."""

    def __init__(self, solver: Solver, compiler: Compiler) -> None:
        """Ask through *solver*, with vertices of *compiler*, which makes probes."""
        self._solver = solver
        self._compiler = compiler
        self._asked: dict[Output, bool] = {}

    def cached(self, roots: Sequence[Output]) -> Sequence[bool]:
        """Whether each output is in the cache: one question when all are, else one for each."""
        new = [root for root in roots if root not in self._asked]
        for start in range(0, len(new), _GROUP):
            group = new[start : start + _GROUP]
            self._asked.update(zip(group, self._cached_group(group), strict=True))
        return [self._asked[root] for root in roots]

    def results(self, roots: Sequence[Output]) -> Sequence[bytes | None]:
        """The result file in each step's root, None where it is not in the cache."""
        with ThreadPoolExecutor(PARALLEL_PROBES) as pool:
            return list(pool.map(self._result, roots))

    def _cached_group(self, roots: Sequence[Output]) -> Sequence[bool]:
        if len(roots) > 1 and self._all_there(roots):
            return [True] * len(roots)
        with ThreadPoolExecutor(PARALLEL_PROBES) as pool:
            return list(pool.map(self._there, roots))

    def _all_there(self, roots: Sequence[Output]) -> bool:
        """Whether all are in the cache; then only the probe that needs them all fails."""
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
        try:
            return self._solver.read(root, RESULT_FILE)
        except BuildFailed as error:
            if not is_absent(error):
                raise
            return None
