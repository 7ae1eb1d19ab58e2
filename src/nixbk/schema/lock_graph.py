"""The proof of a lock's recipes, and of the store paths that follow from them.

A recipe hashes to its derivation path. The paths of its outputs follow from it and from the
recipes of its inputs, so they are proven where all of those are in the lock; a fixed output follows
from its own hash. What is fetched from a cache has no recipe in the lock: of what is built from it
the recipe is proven, and the output paths are not. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.nix.derivation import DerivationKind
from nixbk.nix.derivation_hash import DerivationHasher
from nixbk.schema.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.nix.derivation import Derivation
    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock
    from nixbk.schema.problems import KeyPath

EDITED: Final = "the lock was edited by hand or merged; run 'nixbk lock'"


def proven_outputs(lock: Lock) -> frozenset[StorePath]:
    """The output paths of a lock's derivations that follow from the recipes in the lock."""
    proven = proven_derivations(lock)
    return frozenset(path for drv_path in proven for path in lock.outputs(drv_path).values())


def proven_derivations(lock: Lock) -> frozenset[StorePath]:
    """The derivations of a lock that are whole, with all below them but what is fixed."""
    graph = RecipeGraph(lock)
    for _ in graph.problems():
        pass  # a lock that was read has none
    return frozenset(graph.proven)


class RecipeGraph:
    """The recipes of a lock, each hashed behind its inputs.

    Attributes:
        proven: the derivations whose output paths follow from recipes.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._known: dict[StorePath, Derivation] = {}
        self._hasher = DerivationHasher(self._known.__getitem__)
        self._bad = {path for path, found in lock.derivations.items() if found.path() != path}
        self._edited = frozenset(self._bad)
        self._unproven: set[StorePath] = set()

    @property
    def proven(self) -> tuple[StorePath, ...]:
        """In the order in which they were hashed."""
        return tuple(self._known)

    def problems(self) -> Iterator[Problem]:
        """What does not hash to what it says; linear in the lock, and without recursion.

        What is edited, or has such an input, is at fault once.
        """
        for path in self._edited:
            actual = self._lock.derivations[path].path()
            message = f"the recipe hashes to {actual.basename!r}"
            yield Problem(_key(path), message, EDITED, at_key=True)
        entered: set[StorePath] = set()
        for root in self._lock.derivations:
            stack = [root]
            while stack:
                path = stack[-1]
                if self._is_done(path):
                    stack.pop()
                    continue
                if path not in entered:
                    entered.add(path)
                    problems = list(_named(self._lock, path))
                    yield from problems
                    if problems:
                        self._bad.add(path)
                        continue
                    waiting = self._waiting(path)
                    if waiting:
                        stack += waiting
                        continue
                stack.pop()
                yield from self._hash(path)

    def _is_done(self, path: StorePath) -> bool:
        return path in self._known or path in self._bad or path in self._unproven

    def _waiting(self, path: StorePath) -> list[StorePath]:
        """The inputs of a derivation that are in the lock and not looked at yet."""
        derivations = self._lock.derivations
        inputs = derivations[path].input_drvs
        return [item for item in inputs if item in derivations and not self._is_done(item)]

    def _hash(self, path: StorePath) -> Iterator[Problem]:
        derivation = self._lock.derivations[path]
        inputs = derivation.input_drvs
        if any(item in self._bad for item in inputs):
            self._bad.add(path)
            return
        if self._waiting(path):
            yield Problem(_key(path), "the derivation depends on itself", at_key=True)
            self._bad.add(path)
            return
        is_fixed = derivation.kind is DerivationKind.FIXED
        if not is_fixed and any(item not in self._known for item in inputs):
            yield from self._unhashed(path, derivation)
            return
        try:
            self._hasher.add(path, derivation)
        except NixbkError as error:
            yield Problem(_key(path), error.message, EDITED, at_key=True)
            self._bad.add(path)
            return
        self._known[path] = derivation

    def _unhashed(self, path: StorePath, derivation: Derivation) -> Iterator[Problem]:
        """What can be said of a derivation with inputs whose recipes are not there."""
        self._unproven.add(path)
        for item, names in derivation.input_drvs.items():
            recipe = self._lock.derivations.get(item)
            for name in names if recipe else ():
                if recipe and name not in recipe.outputs:
                    message = f"it needs the output {name!r} of {item.basename!r}, which has none"
                    yield Problem(_key(path), message, EDITED, at_key=True)


def _key(path: StorePath) -> KeyPath:
    return ("derivations", path.basename)


def _named(lock: Lock, path: StorePath) -> Iterator[Problem]:
    """What a recipe names is in the lock."""
    derivation = lock.derivations[path]
    for item, names in derivation.input_drvs.items():
        if item in lock.derivations or (not lock.fallback and is_fetched(lock, item, names)):
            continue
        yield Problem((*_key(path), "inputs"), f"{item.basename!r} is not in the lock", EDITED)
    for source in derivation.input_srcs:
        if source not in lock.sources and source not in lock.substitutes:
            message = f"{source.basename!r} is not in the lock"
            yield Problem((*_key(path), "sources"), message, EDITED)
    for need in derivation.dynamic:
        place = need.path
        for name in need.chain:
            made = lock.made.get((place, name))
            if made is None or made not in lock.derivations:
                message = f"what {place.basename + '^' + name!r} makes is not in the lock"
                yield Problem((*_key(path), "aterm"), message, EDITED)
                break
            place = made


def is_fetched(lock: Lock, drv_path: StorePath, names: tuple[str, ...]) -> bool:
    """Whether outputs, at least one, are all fetched, so that their recipe is not needed."""
    return bool(names) and all((drv_path, name) in lock.substituted for name in names)
