"""What would have to be built: the lock held against BuildKit's cache. Pure; probes are injected.

Two questions, in this order:

1. :func:`learn`, upwards from the sources: what is known of each derivation's outputs, from
   earlier builds or from result files in BuildKit's cache? Without it a step cannot be compiled.
2. :func:`survey`, downwards from what is wanted: which steps are in the cache? Below one that is,
   only what it refers to is needed; below one that is not, all its inputs are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from nixbk.nix.derivation import DerivationError
from nixbk.planner.realisation import Realisation
from nixbk.planner.steps import UnsupportedDerivationError
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixbk.errors import NixbkError
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph, Wanted


class Prober(Protocol):
    """Asks BuildKit's cache without building anything."""

    def cached(self, roots: Sequence[Output]) -> Sequence[bool]:
        """Whether each output is in the cache."""

    def results(self, roots: Sequence[Output]) -> Sequence[bytes | None]:
        """The result file in each step's root, None where it is not in the cache."""


class KnownRealisations(Protocol):
    """Result files of earlier builds, by the digest of their step as a probe."""

    def load(self, digests: Iterable[str]) -> Mapping[str, bytes]:
        """Those that are known."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in the cache and what is not.

    Attributes:
        to_build: derivation paths that are not there and are needed, inputs first.
        to_send: sources that are not there and are needed, sorted.
        cached: steps that are there and are needed.
        refused: those of *to_build* that cannot be built at all, and why.
    """

    to_build: tuple[StorePath, ...]
    to_send: tuple[StorePath, ...]
    cached: frozenset[StorePath]
    refused: Mapping[StorePath, NixbkError] = field(default_factory=dict)


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
        roots = [graph.step(step, Flavour.PROBE).root for step in askable]
        for step, there in zip(askable, prober.cached(roots), strict=True):
            (cached if there else absent).add(step)
        missing |= absent
        frontier = _inputs_of(graph, absent) - cached - missing
    drvs = {step for step in missing if not graph.is_source(step)}
    if not drvs.issubset(order):  # the content of one was found as what another made
        order = graph.build_order([*order, *drvs])
    to_build = tuple(drv for drv in order if drv in drvs)
    refusals = {drv: _refusal(graph, drv) for drv in to_build}
    return Survey(
        to_build=to_build,
        to_send=tuple(
            sorted(path for step in missing - drvs for path in graph.outputs(step).values())
        ),
        cached=frozenset(cached),
        refused={drv: why for drv, why in refusals.items() if why is not None},
    )


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
        if graph.is_source(step):
            continue
        known, unknown = graph.known_closure(chain(graph.needs(step), graph.beside(step)))
        found.update(map(graph.producer, known))
        found |= unknown
    return found
