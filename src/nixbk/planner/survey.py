"""What would have to be built: the lock held against BuildKit's cache. Pure; probes are injected.

Two questions, in this order:

1. :func:`learn`, upwards from the sources: what is known of each derivation's outputs, from
   earlier builds or from result files in BuildKit's cache? Without it a step cannot be compiled.
2. :func:`survey`, downwards from what is wanted: which steps are in the cache? Below one that is,
   only what it refers to is needed; below one that is not, all its inputs are.

A substitute may be in the cache in another file than the one that was asked for. What is compiled
from it is another step then, so :func:`examine` asks both again.
"""

from __future__ import annotations

from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from nixbk.nix.derivation import DerivationError
from nixbk.planner.leaves import Choice, file_of
from nixbk.planner.realisation import Realisation
from nixbk.planner.steps import UnsupportedDerivationError
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixbk.errors import NixbkError
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.leaves import Wanted
    from nixbk.schema.lock import LockedSubstitute

NONE_REFUSED: Final[Mapping[StorePath, NixbkError]] = MappingProxyType({})


class Prober(Protocol):
    """Asks BuildKit's cache without building anything."""

    def cached(self, roots: Sequence[Output]) -> Sequence[bool]:
        """Whether each output is in the cache."""

    def results(self, roots: Sequence[Output]) -> Sequence[bytes | None]:
        """The result file in each step's root, None where it is not in the cache."""


class NobodyAsked:
    """A :class:`Prober` for which nothing is in the cache."""

    def cached(self, roots: Sequence[Output]) -> Sequence[bool]:
        """False for each."""
        return [False] * len(roots)

    def results(self, roots: Sequence[Output]) -> Sequence[bytes | None]:
        """None for each."""
        return [None] * len(roots)


class KnownRealisations(Protocol):
    """Result files of earlier builds, by the digest of their step as a probe."""

    def load(self, digests: Iterable[str]) -> Mapping[str, bytes]:
        """Those that are known."""

    def store(self, digest: str, result: bytes) -> None:
        """Keep one for the next time."""


class Survey(NamedTuple):
    """What is in the cache and what is not.

    Attributes:
        to_build: derivation paths that are not there and are needed, inputs first.
        to_send: sources that are not there and are needed, sorted.
        to_fetch: substitutes that are not there and are needed, sorted.
        cached: steps that are there and are needed.
        refused: those of *to_build* that cannot be built at all, and why.
    """

    to_build: tuple[StorePath, ...]
    to_send: tuple[StorePath, ...]
    cached: frozenset[StorePath]
    refused: Mapping[StorePath, NixbkError] = NONE_REFUSED
    to_fetch: tuple[StorePath, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.to_build or self.to_send or self.to_fetch)


def examine(  # noqa: PLR0913  the first three are what is asked about
    graph: BuildGraph,
    order: Sequence[StorePath],
    wanted: Sequence[Wanted],
    known: KnownRealisations,
    prober: Prober,
    *,
    results: Prober | None = None,
) -> Survey:
    """:func:`learn` and :func:`survey`, until it is settled which files substitutes come from.

    Args:
        graph: where findings are noted.
        order: all derivation paths below what is wanted, inputs first.
        wanted: outputs an image or a user asks for.
        known: result files of earlier builds, and what was found out of files.
        prober: BuildKit's cache.
        results: asked for result files in its place.
    """
    recall(graph, known)
    while True:
        learn(graph, order, known, results or prober)
        before = graph.leaves.chosen
        found = survey(graph, order, wanted, prober)
        if graph.leaves.chosen == before:
            return found
        note_choices(graph, known)


def recall(graph: BuildGraph, known: KnownRealisations) -> None:
    """Choose the files of substitutes that were there the last time."""
    keys = {_key(found): found for found in graph.leaves.undecided()}
    if not keys:
        return
    choices = {}
    for key, text in known.load(keys).items():
        for number, archive in enumerate(keys[key].archives):
            if file_of(archive).encode() == text:
                choices[keys[key].path] = Choice(number)
                break
    graph.choose(choices)


def note_choices(graph: BuildGraph, known: KnownRealisations) -> None:
    """Keep which files substitutes come from."""
    chosen = graph.leaves.chosen
    for found in graph.leaves.undecided():
        if found.path in chosen:
            known.store(_key(found), chosen[found.path].encode())


def _key(found: LockedSubstitute) -> str:
    return f"file of {found.path} beside {file_of(found.archives[0])}"


def learn(
    graph: BuildGraph, order: Sequence[StorePath], known: KnownRealisations, prober: Prober
) -> None:
    """Note in *graph* all that can be known of the derivations in *order* without building.

    What cannot be built is not known; :func:`survey` says why.

    Args:
        graph: where findings are noted.
        order: derivation paths, inputs first.
        known: result files of earlier builds.
        prober: BuildKit's cache, asked only for what *known* lacks.
    """
    waiting = {drv: set(graph.below(drv)) for drv in order}
    users: dict[StorePath, list[StorePath]] = {drv: [] for drv in order}
    for drv, inputs in waiting.items():
        for input_drv in inputs:
            users[input_drv].append(drv)
    level = [drv for drv in order if not waiting[drv]]
    while level:
        learned = _learn_level(graph, level, known, prober)
        level = []
        for drv in learned:
            for user in users[drv]:
                waiting[user].discard(drv)
                if not waiting[user]:
                    level.append(user)


def _learn_level(
    graph: BuildGraph, level: Sequence[StorePath], known: KnownRealisations, prober: Prober
) -> list[StorePath]:
    steps = {drv: graph.step(drv, Flavour.PROBE) for drv in level if _refusal(graph, drv) is None}
    found = dict(known.load(step.digest for step in steps.values()))
    unknown = [step for step in steps.values() if step.digest not in found]
    if unknown:
        results = prober.results([step.root for step in unknown])
        for step, data in zip(unknown, results, strict=True):
            if data is not None:
                found[step.digest] = data
    learned = []
    for drv, step in steps.items():
        if step.digest in found:
            graph.realise(drv, Realisation.from_bytes(found[step.digest]))
            learned.append(drv)
    return learned


def survey(
    graph: BuildGraph,
    order: Sequence[StorePath],
    wanted: Iterable[Wanted],
    prober: Prober,
) -> Survey:
    """Find which steps the closure of *wanted* still needs.

    Args:
        graph: with everything noted that is known.
        order: all derivation paths below what is wanted, inputs first.
        wanted: outputs an image or a user asks for.
        prober: BuildKit's cache.
    """
    known, unknown = graph.known_closure(wanted)
    frontier = {graph.producer(path) for path in known} | unknown
    cached: set[StorePath] = set()
    missing: set[StorePath] = set()
    while frontier:
        askable = sorted(step for step in frontier if graph.is_known(step))
        absent = frontier.difference(askable)
        for step, there in zip(askable, _cached(graph, askable, prober), strict=True):
            (cached if there else absent).add(step)
        found = _elsewhere(graph, absent, prober)
        absent -= found
        cached |= found
        missing |= absent
        frontier = _inputs_of(graph, absent) - cached - missing
    drvs = {step for step in missing if not graph.is_leaf(step)}
    leaves = [(path, step) for step in missing - drvs for path in graph.outputs(step).values()]
    if not drvs.issubset(order):  # the content of one was found as what another made
        order = graph.build_order([*order, *drvs])
    to_build = tuple(drv for drv in order if drv in drvs)
    refusals = {drv: _refusal(graph, drv) for drv in to_build}
    return Survey(
        to_build=to_build,
        to_send=tuple(sorted(path for path, step in leaves if not graph.is_fetched(step))),
        to_fetch=tuple(sorted(path for path, step in leaves if graph.is_fetched(step))),
        cached=frozenset(cached),
        refused={drv: why for drv, why in refusals.items() if why is not None},
    )


def _cached(graph: BuildGraph, steps: Sequence[StorePath], prober: Prober) -> list[bool]:
    """Whether all that each step leaves is in the cache."""
    roots = [graph.step(step, Flavour.PROBE).roots for step in steps]
    there = iter(prober.cached(list(chain.from_iterable(roots))))
    return [all(list(islice(there, len(found)))) for found in roots]


def _elsewhere(graph: BuildGraph, absent: Iterable[StorePath], prober: Prober) -> set[StorePath]:
    """The steps of *absent* that are there in another file, which is then chosen."""
    leaves = graph.leaves
    files = {step: leaves.alternatives(step) for step in sorted(absent)}
    found: set[StorePath] = set()
    for number in range(max(files.values(), default=0)):
        asked = [step for step, count in files.items() if 1 < count > number and step not in found]
        before = {step: leaves.choices(step) for step in asked}
        for step in asked:
            graph.choose(leaves.alternative(step, number))
        for step, there in zip(asked, _cached(graph, asked, prober), strict=True):
            if there:
                found.add(step)
            else:
                graph.choose(before[step])
    return found


def _refusal(graph: BuildGraph, drv: StorePath) -> NixbkError | None:
    """Why a derivation cannot be built, if it is known that it cannot."""
    try:
        graph.refuse(drv)
    except (UnsupportedDerivationError, DerivationError) as error:
        return error
    return None


def _inputs_of(graph: BuildGraph, steps: Iterable[StorePath]) -> set[StorePath]:
    """The steps that make what *steps* need, as far as it can be told."""
    found: set[StorePath] = set()
    for step in steps:
        if graph.is_leaf(step):
            continue
        known, unknown = graph.known_closure(chain(graph.needs(step), graph.beside(step)))
        found.update(map(graph.producer, known))
        found |= unknown
    return found
