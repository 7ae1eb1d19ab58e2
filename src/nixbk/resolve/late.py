"""Nix, loaded when it is first asked: a lock of what caches have never asks it. Effect: as Nix has.

See `nixbk.resolve.evaluator.Evaluator` for what each method is.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.evaluator import (
        Evaluated,
        EvaluationError,
        Evaluator,
        InputRequest,
        PathInfo,
        ResolvedInput,
        Wish,
    )
    from nixbk.schema.lock import LockedInput


class LateEvaluator:
    """An evaluator that is made when it is asked.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], Evaluator]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Evaluator:
        return self._make()

    def lock_input(self, request: InputRequest) -> ResolvedInput:
        """Pin an input."""
        return self._made.lock_input(request)

    def fetch_input(self, locked: LockedInput) -> ResolvedInput:
        """Have the tree of an input that is pinned already."""
        return self._made.fetch_input(locked)

    def evaluate(
        self, wishes: Sequence[Wish], inputs: Mapping[str, StorePath]
    ) -> Sequence[Evaluated | EvaluationError]:
        """The derivations of *wishes*."""
        return self._made.evaluate(wishes, inputs)

    def derivation(self, path: StorePath) -> bytes:
        """The text of a derivation."""
        return self._made.derivation(path)

    def build(self, drv_path: StorePath, output: str) -> StorePath:
        """The path of an output."""
        return self._made.build(drv_path, output)

    def infos(self, paths: Iterable[StorePath]) -> Mapping[StorePath, PathInfo]:
        """What the store knows of *paths*."""
        return self._made.infos(paths)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """The archive of a store path."""
        return self._made.nar(path)
