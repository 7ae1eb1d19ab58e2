"""From a manifest to its lock: pins the inputs, evaluates, and finds every source's bytes.

What only some locks need is imported by those that do: one of store paths alone takes no Nix.

Effect: asks an evaluator and caches; reads the files beside the manifest. Nothing is written: what
the bundle needs is part of the result, and `nixbk.resolve.bundle` writes it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from nixbk.errors import NixbkError
from nixbk.resolve.installables import images_of, made_paths, named, rows_of
from nixbk.resolve.locking import LockingError, at
from nixbk.resolve.recipes import StoreRecipes
from nixbk.resolve.substituters import Asking, SmallNarError, substituters_of
from nixbk.resolve.substitution import (
    AskedCaches,
    FaultyCacheError,
    Substitution,
    UnavailableError,
    substitute,
)
from nixbk.schema.installable import InstallableKind
from nixbk.schema.lock import Lock, LockedPath, LockedShell, LockedSource
from nixbk.schema.lock_verify import verify
from nixbk.schema.manifest_file import NO_CACHE, NO_CACHE_HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.evaluator import Evaluated, Evaluator, ResolvedInput
    from nixbk.resolve.input_trees import InputTrees
    from nixbk.resolve.installables import Row
    from nixbk.schema.lock import LockedInput
    from nixbk.schema.manifest_file import ManifestFile
    from nixbk.schema.problems import KeyPath

    Bundle = Mapping[str, Callable[[], Iterator[bytes]]]

__all__ = ["Locked", "LockingError", "make_lock"]


class Locked(NamedTuple):
    """A new lock, with what its bundle needs.

    Attributes:
        lock: proven.
        bundle: for each archive of the bundle, by its SHA-256, how to read it.
        warnings: what is wrong with caches that others made up for.
    """

    lock: Lock
    bundle: Bundle
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sources:
    """What of a lock is neither built nor fetched."""

    entries: dict[StorePath, LockedSource] = field(default_factory=dict)
    shell: LockedShell | None = None
    paths: dict[str, LockedPath] = field(default_factory=dict)
    bundle: Bundle = field(default_factory=dict)


def make_lock(  # noqa: PLR0913 - most of them by name
    file: ManifestFile,
    folder: Path,
    lock_path: Path,
    evaluator: Evaluator,
    *,
    old: Lock | None = None,
    update: bool = False,
    trees: Callable[[], InputTrees] | None = None,
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
        trees: Callable[[], InputTrees] | None,
        substituters: AskedCaches | None,
    ) -> None:
        self._file = file
        self._manifest = file.manifest
        self._folder = folder
        self._lock_path = lock_path
        self._evaluator = evaluator
        self._trees = trees
        self._substituters = substituters

    def run(self, old: Lock | None, pinned: Mapping[str, LockedInput]) -> Locked:
        """The lock, with the inputs of *pinned* where they are still asked for."""
        inputs, evaluated = self._evaluate(pinned)
        recipes = StoreRecipes(self._evaluator)
        if self._substituters is None:
            recipes.load(found.drv_path for found in evaluated.values())
        rows = rows_of(self._file, evaluated, recipes)
        parts = self._parts(rows, recipes, old)
        rows = [_located(row, parts.substituted) for row in rows]
        sources = self._sources(parts, inputs)
        lock = Lock(
            images_of(self._file, rows),
            parts.derivations,
            sources.entries,
            {name: resolved.locked for name, resolved in inputs.items()},
            sources.shell,
            {**made_paths(self._file, rows), **sources.paths},
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
        return Locked(lock, sources.bundle, warnings)

    def _evaluate(
        self, pinned: Mapping[str, LockedInput]
    ) -> tuple[dict[str, ResolvedInput], dict[KeyPath, Evaluated]]:
        """The inputs, and what is to be evaluated, by its key."""
        paths = [where for where, i in named(self._manifest) if i.kind is InstallableKind.PATH]
        inputs: dict[str, ResolvedInput] = {}
        evaluated: dict[KeyPath, Evaluated] = {}
        if self._manifest.inputs or len(paths) < sum(1 for _ in named(self._manifest)):
            from nixbk.resolve.evaluation import evaluate  # noqa: PLC0415 - see above
            from nixbk.resolve.pinning import pin  # noqa: PLC0415 - see above

            inputs = pin(self._file, self._evaluator, pinned)
            evaluated = evaluate(self._file, self._evaluator, inputs)
        if paths and self._substituters is None:  # a manifest from elsewhere than a file
            raise LockingError(NO_CACHE, where=self._file.where(*paths[0]), hint=NO_CACHE_HINT)
        return inputs, evaluated

    def _parts(self, rows: list[Row], recipes: StoreRecipes, old: Lock | None) -> Substitution:
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
                outputs,
                paths,
                self._substituters,
                recipes,
                fallback=self._manifest.fallback,
                open_outputs=self._substituters,
            )
            before = old.substitutes if old else {}
            entries = self._substituters.look_into(parts.substitutes, before)
        except UnavailableError as error:
            raise at(self._file, error, *paths[error.path]) from error
        except FaultyCacheError as error:
            raise at(self._file, error, "substituters", error.fault.substituter) from error
        except SmallNarError as error:
            raise at(self._file, error, "substituters", error.substituter) from error
        return parts._replace(substitutes=entries)

    def _sources(self, parts: Substitution, inputs: Mapping[str, ResolvedInput]) -> _Sources:
        """What derivations have as sources, and the files of the sandbox, which join them."""
        in_sandbox = self._manifest.sandbox.sources.values()
        if not parts.sources and all(source.installable for _, source in in_sandbox):
            return _Sources()
        from nixbk.resolve import sandbox_files  # noqa: PLC0415 - see above
        from nixbk.resolve.source_places import SourcePlaces  # noqa: PLC0415 - see above

        trees = self._trees() if self._trees else None
        places = SourcePlaces(self._lock_path, self._evaluator, trees)
        found = places.find(parts.sources, inputs, parts.substitutes)
        where = (self._file, self._folder, places, found)
        return _Sources(
            found, sandbox_files.shell(*where), sandbox_files.paths(*where), places.bundle
        )


def _located(row: Row, substituted: Mapping[tuple[StorePath, str], StorePath]) -> Row:
    """*row* with the paths that caches know where its recipe does not tell."""
    if row.drv_path is None or len(row.paths) == len(row.names):
        return row
    keys = {name: (row.drv_path, name) for name in row.names}
    found = {name: substituted[key] for name, key in keys.items() if key in substituted}
    return row._replace(paths={**row.paths, **found})
