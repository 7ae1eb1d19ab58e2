"""The derivations of a store, as an evaluator gives them. Effect: asks the evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.nix.derivation_hash import load, verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixbk.nix.derivation import Derivation
    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.evaluator import Evaluator


class StoreRecipes:
    """The derivations of a store, each read once.

    Attributes:
        known: those that were read.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.known: dict[StorePath, Derivation] = {}

    def load(self, roots: Iterable[StorePath]) -> None:
        """Read *roots* and all below them, proven together."""
        self.known = load(roots, self._evaluator.derivation)

    def read(self, path: StorePath) -> Derivation:
        """The derivation at *path*, which hashes to it."""
        if path not in self.known:
            self.known[path] = verify(path, self._evaluator.derivation(path))
        return self.known[path]

    def make(self, drv_path: StorePath, output: str) -> StorePath:
        """What an output is that is a derivation itself; Nix builds it."""
        return self._evaluator.build(drv_path, output)

    def make_all(self) -> dict[tuple[StorePath, str], StorePath]:
        """The derivations that are outputs of those which were read; they join them."""
        made: dict[tuple[StorePath, str], StorePath] = {}
        work = list(self.known.values())
        while work:
            for need in work.pop().dynamic:
                path = need.path
                for name in need.chain:
                    if (path, name) not in made:
                        made[path, name] = self.make(path, name)
                    path = made[path, name]
                    if path not in self.known:
                        found = load([path], self._evaluator.derivation)
                        work += [found[new] for new in found.keys() - self.known.keys()]
                        self.known.update(found)
        return made
