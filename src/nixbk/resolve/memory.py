"""The twin of the ``nix`` command for tests: answers from what it was given. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nixbk.nix.nar import nar_hash
from nixbk.nix.store_path import StorePath, source_path
from nixbk.resolve.evaluator import (
    Evaluated,
    EvaluationError,
    InputRequest,
    PathInfo,
    ResolvedInput,
    Wish,
)
from nixbk.schema.installable import ALL_OUTPUTS, InstallableKind
from nixbk.schema.lock import LockedInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nixbk.nix.derivation import Derivation


@dataclass
class MemoryEvaluator:
    """An evaluator of a world that fits in memory.

    Attributes:
        answers: what each installable text evaluates to.
        trees: the archive behind each flake reference.
        asked: every call, by its name and subject, in order.
        made: what outputs of derivations are.
    """

    answers: dict[str, Evaluated | EvaluationError] = field(default_factory=dict)
    trees: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    made: dict[tuple[StorePath, str], StorePath] = field(default_factory=dict)
    _derivations: dict[StorePath, bytes] = field(default_factory=dict)
    _archives: dict[StorePath, tuple[bytes, tuple[StorePath, ...]]] = field(default_factory=dict)

    def add_derivation(self, derivation: Derivation) -> StorePath:
        """Have *derivation* in the store."""
        path = derivation.path()
        self._derivations[path] = derivation.to_bytes()
        return path

    def add_path(
        self, path: StorePath, archive: bytes, references: Iterable[StorePath] = ()
    ) -> StorePath:
        """Have *archive* in the store, whatever its path says."""
        self._archives[path] = (archive, tuple(references))
        return path

    def add_source(self, name: str, archive: bytes) -> StorePath:
        """Have a source in the store, at the path that its content gives."""
        digest = nar_hash([archive])[0].digest
        return self.add_path(source_path(name, digest), archive)

    def lock_input(self, request: InputRequest) -> ResolvedInput:
        """Pin an input; see `Evaluator`."""
        self.asked.append(("lock_input", request.url))
        archive = self.trees.get(request.url)
        if archive is None:
            raise EvaluationError(f"cannot fetch {request.url!r}")
        found = nar_hash([archive])[0]
        path = self.add_source("source", archive)
        is_local = request.url.startswith((".", "path:"))
        reference = request.url if is_local else f"{request.url}?narHash={found.sri()}"
        rev = None if is_local else found.base16()[:40]
        locked = LockedInput(request.name, request.url, request.flake, reference, rev, found)
        return ResolvedInput(locked, reference, path, is_local)

    def fetch_input(self, locked: LockedInput) -> ResolvedInput:
        """Have the tree of a pinned input; see `Evaluator`."""
        self.asked.append(("fetch_input", locked.locked))
        archive = self.trees.get(locked.url)
        if archive is None or nar_hash([archive])[0] != locked.nar_hash:
            raise EvaluationError(f"cannot fetch {locked.locked!r}")
        return ResolvedInput(locked, locked.locked, self.add_source("source", archive))

    def evaluate(
        self, wishes: Sequence[Wish], inputs: Mapping[str, StorePath]
    ) -> Sequence[Evaluated | EvaluationError]:
        """The derivations of *wishes*; see `Evaluator`."""
        del inputs
        self.asked.extend(("evaluate", wish.installable.text) for wish in wishes)
        return [self._answer(wish) for wish in wishes]

    def _answer(self, wish: Wish) -> Evaluated | EvaluationError:
        installable = wish.installable
        if installable.kind is InstallableKind.STORE:
            return Evaluated(StorePath.parse(installable.target), ALL_OUTPUTS)
        missing = EvaluationError(f"there is no attribute {'.'.join(installable.attribute)!r}")
        return self.answers.get(installable.text.partition("^")[0], missing)

    def derivation(self, path: StorePath) -> bytes:
        """The text of a derivation; see `Evaluator`."""
        if path not in self._derivations:
            raise EvaluationError("the store has no such path", where=str(path))
        return self._derivations[path]

    def build(self, drv_path: StorePath, output: str) -> StorePath:
        """The path of an output; see `Evaluator`."""
        if (drv_path, output) not in self.made:
            raise EvaluationError("the build failed", where=str(drv_path))
        return self.made[drv_path, output]

    def infos(self, paths: Iterable[StorePath]) -> Mapping[StorePath, PathInfo]:
        """What the store knows of *paths*; see `Evaluator`."""
        found = {}
        for path in paths:
            chunks = list(self.nar(path))
            references = self._archives[path][1] if path in self._archives else ()
            found[path] = PathInfo(path, *nar_hash(chunks), references)
        return found

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """The archive of a store path; see `Evaluator`."""
        if path not in self._archives:
            raise EvaluationError("the store has no such path", where=str(path))
        return iter([self._archives[path][0]])
