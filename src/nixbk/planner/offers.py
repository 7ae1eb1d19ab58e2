"""Which store paths may be given to others as what their paths say they are. Pure.

Whoever substitutes a path believes that it is what its recipe makes. So a path is given away if
what is there proves it: the path of an input-addressed output follows from recipes that are all in
the lock, down to sources whose paths follow from their content; a content-addressed path follows
from its content. And nothing is given away without what it refers to.

What binary caches have is theirs to give. It counts as there, and is not given away again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixbk.graph.closure import closure
from nixbk.nix.derivation import DerivationKind
from nixbk.planner.workshop import Flavour
from nixbk.schema.lock_graph import proven_derivations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.realisation import RealisedOutput
    from nixbk.schema.lock import LockedSource

ABSENT: Final = "it is not in the builder's cache"
PASSING: Final = "it is impure, or depends on what is"
UNPROVEN: Final = "not all the recipes below it are in the lock"
FOREIGN: Final = "its path follows neither from a recipe nor from its content"

_BY_CONTENT: Final = frozenset({DerivationKind.FIXED, DerivationKind.FLOATING})


@dataclass(frozen=True, slots=True)
class Offer:
    """A store path that may be given away.

    Attributes:
        info: what is known of it.
        content_address: how it follows from its content, or empty.
        deriver: the derivation that it was built from; None for a source.
        source: what it is a copy of; None for an output.
    """

    info: RealisedOutput
    content_address: str
    deriver: StorePath | None = None
    source: LockedSource | None = None

    @property
    def path(self) -> StorePath:
        """Where it is in a store."""
        return self.info.path


@dataclass(frozen=True, slots=True)
class Offers:
    """What of a number of store paths, and of all they refer to, may be given away.

    Attributes:
        given: what may be, each behind what it refers to.
        withheld: what may not be, and why.
        fetched: what comes from binary caches.
    """

    given: tuple[Offer, ...]
    withheld: Mapping[StorePath, str]
    fetched: tuple[StorePath, ...]


def offers(graph: BuildGraph, paths: Iterable[StorePath], cached: AbstractSet[StorePath]) -> Offers:
    """What of the closure of *paths* may be given away.

    Args:
        graph: with everything noted that is known, which the closure has to be.
        paths: outputs, sources or substitutes.
        cached: the steps that the builder has.
    """
    given: dict[StorePath, Offer] = {}
    withheld: dict[StorePath, str] = {}
    fetched: dict[StorePath, None] = {}
    doubts = _doubts(graph)
    for path in closure(paths, lambda path: graph.info(path).references):
        step = graph.producer(path)
        if graph.is_fetched(step):
            fetched[path] = None
            continue
        missing = [ref for ref in graph.info(path).references if ref in withheld]
        if graph.is_leaf(step):
            why = "" if graph.leaves.content_address(path) else FOREIGN
        elif step not in cached:
            why = ABSENT
        else:
            why = doubts[step]
        if not why and missing:
            why = f"it refers to {missing[0].name}, which is not pushed"
        if why:
            withheld[path] = why
        else:
            given[path] = _offer(graph, path, step)
    referred = {ref for offer in given.values() for ref in offer.info.references}
    return Offers(tuple(given.values()), withheld, tuple(p for p in fetched if p in referred))


def _offer(graph: BuildGraph, path: StorePath, step: StorePath) -> Offer:
    info = graph.info(path)
    if graph.is_leaf(step):
        return Offer(info, graph.leaves.content_address(path), source=graph.leaves.source(step))
    address = graph.store_object(path, Flavour.PROBE).content_address
    return Offer(info, address, deriver=graph.recipe(step).path)


def _doubts(graph: BuildGraph) -> Mapping[StorePath, str]:
    """Why it is not proven what a derivation makes, by derivation; empty where it is."""
    lock = graph.lock
    proven = proven_derivations(lock)
    found: dict[StorePath, str] = {}
    for drv_path in closure(lock.derivations, lock.inputs_of):
        derivation = lock.derivations[drv_path]
        doubtful = (item for item in lock.inputs_of(drv_path) if found[item])
        if not graph.is_lasting(drv_path):
            why = PASSING
        elif derivation.kind in _BY_CONTENT:
            why = ""
        elif drv_path not in proven or any(doubtful):
            why = UNPROVEN
        else:
            why = _foreign(graph, derivation.input_srcs)
        found[drv_path] = why
    return found


def _foreign(graph: BuildGraph, sources: Iterable[StorePath]) -> str:
    """What is wrong with the paths that a recipe names without a recipe of theirs."""
    for path in closure(sources, lambda path: graph.info(path).references):
        if not graph.leaves.has(path) or not graph.leaves.content_address(path):
            return f"it is made of {path.name}; {FOREIGN}"
    return ""
