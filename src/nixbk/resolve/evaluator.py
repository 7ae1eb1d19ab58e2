"""What nixbk asks of Nix when it locks, as a Protocol, and the values that go to and fro.

The real one is `nixbk.resolve.nix_command.NixCommand`; `nixbk.resolve.memory` has its twin
for tests. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nixbk.nix.hashes import Hash
    from nixbk.nix.store_path import StorePath
    from nixbk.schema.installable import Installable
    from nixbk.schema.lock import LockedInput


class EvaluationError(NixbkError):
    """Nix cannot evaluate what was asked for."""


class NixMissingError(NixbkError):
    """There is no ``nix`` command, or it is too old."""


class InputRequest(NamedTuple):
    """An input to lock.

    Attributes:
        name: its key.
        url: the flake reference, relative to the manifest's folder.
        flake: whether it is a flake.
    """

    name: str
    url: str
    flake: bool


class ResolvedInput(NamedTuple):
    """An input that is locked and at hand.

    Attributes:
        locked: what the lock says of it.
        reference: the locked flake reference that Nix evaluates here.
        store_path: the tree of it; None when nobody asked for that yet.
        is_local: whether it lies in the file system, to be locked anew each time.
    """

    locked: LockedInput
    reference: str
    store_path: StorePath | None
    is_local: bool = False


class Wish(NamedTuple):
    """An installable to evaluate.

    Attributes:
        installable: taken apart.
        system: Nix's name of the platform.
        reference: the locked flake reference, for what is in a flake.
        nar_hash: of that flake's tree.
    """

    installable: Installable
    system: str
    reference: str | None = None
    nar_hash: Hash | None = None


class Evaluated(NamedTuple):
    """The derivation behind an installable.

    Attributes:
        drv_path: the derivation, which is in the store.
        outputs: the outputs that are wanted when the user names none; every output when
            this is not known.
    """

    drv_path: StorePath
    outputs: tuple[str, ...]


class PathInfo(NamedTuple):
    """What the store knows of a path."""

    path: StorePath
    nar_hash: Hash
    nar_size: int
    references: tuple[StorePath, ...]


class Evaluator(Protocol):
    """Nix, as far as locking needs it."""

    def lock_input(self, request: InputRequest) -> ResolvedInput:
        """Pin an input to what it is now.

        Raises:
            EvaluationError: it cannot be had.
        """

    def fetch_input(self, locked: LockedInput) -> ResolvedInput:
        """Have the tree of an input that is pinned already.

        Raises:
            EvaluationError: it cannot be had, or is not what was pinned.
        """

    def evaluate(
        self, wishes: Sequence[Wish], inputs: Mapping[str, StorePath]
    ) -> Sequence[Evaluated | EvaluationError]:
        """The derivations of *wishes*, each of them or why there is none.

        Args:
            wishes: of any kind.
            inputs: trees that functions of plain files may take, by name.
        """

    def derivation(self, path: StorePath) -> bytes:
        """The text of a derivation of the store.

        Raises:
            EvaluationError: it is not there.
        """

    def build(self, drv_path: StorePath, output: str) -> StorePath:
        """The path of an output, built as for an import from a derivation.

        Raises:
            EvaluationError: it cannot be built.
        """

    def infos(self, paths: Iterable[StorePath]) -> Mapping[StorePath, PathInfo]:
        """What the store knows of *paths*.

        Raises:
            EvaluationError: one of them is not there.
        """

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """The archive of a store path.

        Raises:
            EvaluationError: it is not there.
        """
