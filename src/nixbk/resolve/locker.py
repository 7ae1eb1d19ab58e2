"""From a manifest to its lock: pins the inputs, evaluates, and finds every source's bytes.

Effect: asks an evaluator; reads the files beside the manifest. Nothing is written: what the
bundle needs is part of the result, and `nixbk.resolve.bundle` writes it.
"""

from __future__ import annotations

import os
import platform as machine
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.nix.store_path import StorePath
from nixbk.resolve.evaluator import EvaluationError, Evaluator, InputRequest, ResolvedInput, Wish
from nixbk.resolve.recipes import StoreRecipes
from nixbk.resolve.source_places import SourcePlaces
from nixbk.resolve.substituters import Asking, SmallNarError, substituters_of
from nixbk.resolve.substitution import (
    AskedCaches,
    FaultyCacheError,
    Substitution,
    UnavailableError,
    substitute,
)
from nixbk.schema.installable import ALL_OUTPUTS, Installable, InstallableKind
from nixbk.schema.lock import (
    Lock,
    LockedImage,
    LockedInstallable,
    LockedPath,
    LockedShell,
    LockedSource,
)
from nixbk.schema.lock_verify import verify
from nixbk.schema.manifest_file import NO_CACHE, NO_CACHE_HINT
from nixbk.schema.platform import MACHINES, SYSTEMS
from nixbk.schema.sandbox import SHELL_TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nixbk.nix.derivation import Derivation
    from nixbk.resolve.evaluator import Evaluated
    from nixbk.resolve.input_trees import InputTrees
    from nixbk.schema.lock import LockedInput
    from nixbk.schema.manifest_file import ManifestFile
    from nixbk.schema.problems import KeyPath

SHELL_NAME = "sh"
"""The store name of the builds' shell."""

PATH_NAME = "sandbox-path"
"""The store name of other files that builds find."""


class LockingError(NixbkError):
    """A manifest cannot be locked."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A new lock, with what its bundle needs.

    Attributes:
        lock: proven.
        bundle: for each archive of the bundle, by its SHA-256, how to read it.
        warnings: what is wrong with caches that others made up for.
    """

    lock: Lock
    bundle: Mapping[str, Callable[[], Iterator[bytes]]]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Row:
    """Something that the manifest names, and what it stands for.

    Attributes:
        where: its key.
        text: as the user wrote it.
        drv_path: the derivation; None for a store path.
        names: the outputs that are wanted.
        paths: their store paths, as far as they are known.
    """

    where: KeyPath
    text: str
    drv_path: StorePath | None
    names: tuple[str, ...]
    paths: Mapping[str, StorePath]


def make_lock(  # noqa: PLR0913 - most of them by name
    file: ManifestFile,
    folder: Path,
    lock_path: Path,
    evaluator: Evaluator,
    *,
    old: Lock | None = None,
    update: bool = False,
    trees: InputTrees | None = None,
    asking: Asking | None = None,
    substituters: AskedCaches | None = None,
) -> Locked:
    """The lock of a manifest.

    Args:
        file: the manifest.
        folder: the manifest's.
        lock_path: where the lock will be written; its sources are found below its folder.
        evaluator: Nix; not asked for what is a store path itself.
        old: the lock so far, whose revisions are kept.
        update: whether to pin every input anew instead.
        trees: how large parts of inputs are had again; without them, they go to the bundle.
        asking: how the manifest's caches are asked.
        substituters: asked instead of those.

    Raises:
        LockingError: with the manifest's key, what cannot be locked, and why.
    """
    with ExitStack() as stack:
        if substituters is None and file.manifest.substituters:
            how = asking or Asking(os.environ)
            try:
                substituters = stack.enter_context(substituters_of(file.manifest, folder, how))
            except NixbkError as error:
                raise LockingError(error.message, where=error.where, hint=error.hint) from error
        locker = _Locker(file, folder, lock_path, evaluator, trees, substituters)
        return locker.run(old, old.inputs if old and not update else {})


class _Locker:
    def __init__(  # noqa: PLR0913, PLR0917 - the parts of one function
        self,
        file: ManifestFile,
        folder: Path,
        lock_path: Path,
        evaluator: Evaluator,
        trees: InputTrees | None,
        substituters: AskedCaches | None,
    ) -> None:
        self._file = file
        self._manifest = file.manifest
        self._folder = folder
        self._evaluator = evaluator
        self._substituters = substituters
        self._places = SourcePlaces(lock_path, evaluator, trees)

    def run(self, old: Lock | None, pinned: Mapping[str, LockedInput]) -> Locked:
        """The lock, with the inputs of *pinned* where they are still asked for."""
        inputs = self._inputs(pinned)
        wishes = list(self._wishes(inputs))
        found = self._evaluate(wishes, inputs)
        recipes = StoreRecipes(self._evaluator)
        if self._substituters is None:
            recipes.load(evaluated.drv_path for evaluated in found)
        rows = self._rows(wishes, found, recipes)
        parts = self._parts(rows, recipes, old)
        sources = self._places.find(parts.sources, inputs, parts.substitutes)
        shell = self._shell(sources)
        lock = Lock(
            self._images(rows),
            parts.derivations,
            sources,
            {name: resolved.locked for name, resolved in inputs.items()},
            shell,
            {**self._made_paths(rows), **self._file_paths(sources)},
            tuple(sorted(set(self._manifest.sandbox.system_features))),
            parts.made,
            parts.substitutes,
            parts.substituted,
            self._manifest.fallback,
        )
        problems = verify(lock)  # who asked the caches has held signatures against the keys
        if problems:  # what Nix gave us does not fit together, and nobody edited it
            raise LockingError(problems[0].message, where=str(problems[0].path[-1]))
        warnings = tuple(f"substituters.{f.substituter}: {f.message}" for f in parts.faults)
        return Locked(lock, self._places.bundle, warnings)

    # What is fetched ----------------------------------------------------------------------

    def _parts(self, rows: list[_Row], recipes: StoreRecipes, old: Lock | None) -> Substitution:
        """What is built and what is fetched."""
        if self._substituters is None:
            derivations = recipes.known
            made = recipes.make_all()
            sources = {path for found in derivations.values() for path in found.input_srcs}
            return Substitution(derivations, made, {}, {}, frozenset(sources), ())
        outputs = [(row.drv_path, name) for row in rows if row.drv_path for name in row.names]
        paths = {row.paths["out"]: row.where for row in rows if row.drv_path is None}
        try:
            parts = substitute(
                outputs, paths, self._substituters, recipes, fallback=self._manifest.fallback
            )
            before = old.substitutes if old else {}
            entries = self._substituters.look_into(parts.substitutes, before)
        except UnavailableError as error:
            raise self._at(error, *paths[error.path]) from error
        except FaultyCacheError as error:
            raise self._at(error, "substituters", error.fault.substituter) from error
        except SmallNarError as error:
            raise self._at(error, "substituters", error.substituter) from error
        return replace(parts, substitutes=entries)

    # Inputs -------------------------------------------------------------------------------

    def _inputs(self, old: Mapping[str, LockedInput]) -> dict[str, ResolvedInput]:
        """All inputs of the manifest, and the flakes that installables name themselves."""
        requests: dict[str, tuple[InputRequest, KeyPath]] = {}
        for name, entry in self._manifest.inputs.items():
            requests[name] = InputRequest(name, entry.url, entry.flake), ("inputs", name)
        for where, installable in self._installables():
            if installable.kind is InstallableKind.FLAKE:
                target = installable.target
                requests.setdefault(target, (InputRequest(target, target, flake=True), where))
            elif installable.kind is InstallableKind.INPUT:
                declared = self._manifest.inputs.get(installable.target)
                if declared is None:  # a manifest from elsewhere than a file
                    raise LockingError(
                        f"{installable.target!r} is no input",
                        where=self._file.where(*where),
                        hint=f"declare it as 'inputs.{installable.target}.url'",
                    )
                if not declared.flake:
                    raise LockingError(
                        f"the input {installable.target!r} is no flake",
                        where=self._file.where(*where),
                        hint="it has 'flake = false'; only files of Nix code can use it",
                    )
        takes_files = any(i.kind is InstallableKind.FILE for _, i in self._installables())
        found = {}
        for name, (request, place) in requests.items():
            try:
                found[name] = self._input(request, old.get(name), have_tree=takes_files)
            except EvaluationError as error:
                raise self._at(error, *place) from error
        return found

    def _input(
        self, request: InputRequest, old: LockedInput | None, *, have_tree: bool
    ) -> ResolvedInput:
        # The lock of a local input is its own text: it is what lies there now.
        if (
            old is None
            or (old.url, old.flake) != (request.url, request.flake)
            or (old.locked == old.url)
        ):
            return self._evaluator.lock_input(request)
        if have_tree:
            return self._evaluator.fetch_input(old)
        return ResolvedInput(old, old.locked, None)

    # Installables -------------------------------------------------------------------------

    def _installables(self) -> Iterator[tuple[KeyPath, Installable]]:
        """Everything that is to be evaluated, by its key."""
        for key, image in self._manifest.images.items():
            for number, text in enumerate(image.installables):
                yield ("images", key, "installables", number), Installable.parse(text)
        for below, source in self._manifest.sandbox.sources.values():
            if source.installable is not None:
                yield ("sandbox", *below), source.installable

    def _platform(self, key: str) -> str:
        platforms = self._manifest.images[key].platforms
        if platforms:
            return platforms[0]
        found = MACHINES.get(machine.machine())
        if found is None:
            raise LockingError(
                f"no platform is known for machines of the kind {machine.machine()!r}",
                where=self._file.where("images", key),
                hint=f"write 'images.{key}.platforms'",
            )
        return found

    def _wishes(self, inputs: Mapping[str, ResolvedInput]) -> Iterator[tuple[KeyPath, Wish]]:
        first = next(iter(self._manifest.images))
        for where, installable in self._installables():
            if installable.kind is InstallableKind.PATH:
                if self._substituters is None:  # a manifest from elsewhere than a file
                    raise LockingError(NO_CACHE, where=self._file.where(*where), hint=NO_CACHE_HINT)
                continue
            key = str(where[1]) if where[0] == "images" else first
            resolved = inputs.get(installable.target)
            wish = Wish(installable, SYSTEMS[self._platform(key)])
            if installable.kind in (InstallableKind.INPUT, InstallableKind.FLAKE):
                assert resolved is not None  # noqa: S101 - _inputs resolved every target
                nar_hash = resolved.locked.nar_hash
                wish = replace(wish, reference=resolved.reference, nar_hash=nar_hash)
            yield where, wish

    def _evaluate(
        self, wishes: list[tuple[KeyPath, Wish]], inputs: Mapping[str, ResolvedInput]
    ) -> list[Evaluated]:
        if not wishes:
            return []
        trees = {name: inputs[name].store_path for name in self._manifest.inputs if name in inputs}
        known = {name: path for name, path in trees.items() if path is not None}
        results: list[Evaluated] = []
        answers = self._evaluator.evaluate([wish for _, wish in wishes], known)
        for (where, wish), result in zip(wishes, answers, strict=True):
            if isinstance(result, EvaluationError):
                raise self._at(result, *where) from result
            if wish.installable.kind is InstallableKind.STORE:
                try:
                    self._evaluator.derivation(result.drv_path)
                except EvaluationError as error:
                    raise self._at(error, *where) from error
            results.append(result)
        return results

    def _rows(
        self, wishes: list[tuple[KeyPath, Wish]], found: list[Evaluated], recipes: StoreRecipes
    ) -> list[_Row]:
        """Everything that the manifest names, in its order."""
        evaluated = {where: row for (where, _), row in zip(wishes, found, strict=True)}
        rows: list[_Row] = []
        for where, installable in self._installables():
            text = installable.text
            if where not in evaluated:
                path = StorePath.parse(installable.target)
                rows.append(_Row(where, text, None, ("out",), {"out": path}))
                continue
            drv_path = evaluated[where].drv_path
            derivation = recipes.read(drv_path)
            names = self._names(where, installable, evaluated[where], derivation)
            if where[0] == "sandbox":
                names = ("out",) if "out" in names else names[:1]
            paths = {
                name: StorePath.parse(derivation.outputs[name].path)
                for name in names
                if derivation.outputs[name].path
            }
            rows.append(_Row(where, text, drv_path, names, paths))
        return rows

    def _names(
        self,
        where: KeyPath,
        installable: Installable,
        evaluated: Evaluated,
        derivation: Derivation,
    ) -> tuple[str, ...]:
        """The outputs that an installable stands for."""
        names = installable.outputs or evaluated.outputs
        if names == ALL_OUTPUTS:
            names = tuple(derivation.outputs)
        for name in names:
            if name not in derivation.outputs:
                raise LockingError(
                    f"{derivation.name!r} has no output {name!r}",
                    where=self._file.where(*where),
                    hint=f"it has {', '.join(derivation.outputs)}",
                )
        return names

    def _images(self, rows: list[_Row]) -> dict[str, LockedImage]:
        return {
            key: LockedImage(
                (self._platform(key),),
                tuple(
                    LockedInstallable(row.text, row.drv_path, row.names, row.paths)
                    for row in rows
                    if row.where[:2] == ("images", key)
                ),
            )
            for key in self._manifest.images
        }

    def _made_paths(self, rows: list[_Row]) -> dict[str, LockedPath]:
        """What of the sandbox is in installables, by where builds find it."""
        by_key = {row.where: row for row in rows if row.where[0] == "sandbox"}
        paths: dict[str, LockedPath] = {}
        for target, (below, source) in self._manifest.sandbox.sources.items():
            if source.installable is None:
                continue
            row = by_key["sandbox", *below]
            (name,) = row.names
            path = row.paths.get(name)
            if path is None:
                raise LockingError(
                    "its store path is known only when it is built",
                    where=self._file.where("sandbox", *below),
                    hint="name what is not content-addressed, or a file",
                )
            output = name if row.drv_path else ""
            paths[target] = LockedPath(source.text, path, source.path, row.drv_path, output)
        return paths

    # Files of the sandbox -----------------------------------------------------------------

    def _shell(self, sources: dict[StorePath, LockedSource]) -> LockedShell | None:
        """The shell of the builds, if it is a file, which becomes one of the sources."""
        found = self._manifest.sandbox.sources.get(SHELL_TARGET)
        if found is None or found[0] != ("shell",) or found[1].installable is not None:
            return None
        place = self._folder / found[1].path
        try:
            if not place.is_file():
                raise LockingError("the shell is no file", hint="name a static shell")
            path = self._places.own(place, SHELL_NAME, sources)
        except NixbkError as error:
            raise self._at(error, "sandbox", "shell") from error
        return LockedShell(found[1].text, path)

    def _file_paths(self, sources: dict[StorePath, LockedSource]) -> dict[str, LockedPath]:
        """What else of the sandbox lies beside the manifest, by where builds find it."""
        paths: dict[str, LockedPath] = {}
        for target, (below, source) in self._manifest.sandbox.sources.items():
            if source.installable is not None or below == ("shell",):
                continue
            place = self._folder / source.path
            try:
                if not place.exists():
                    raise LockingError(f"there is no file {source.path!r}")
                path = self._places.own(place, PATH_NAME, sources)
            except NixbkError as error:
                raise self._at(error, "sandbox", *below) from error
            paths[target] = LockedPath(source.text, path)
        return paths

    def _at(self, error: NixbkError, *path: str | int) -> LockingError:
        return LockingError(error.message, where=self._file.where(*path), hint=error.hint)
