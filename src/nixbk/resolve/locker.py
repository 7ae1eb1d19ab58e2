"""From a manifest to its lock: pins the inputs, evaluates, and finds every source's bytes.

Effect: asks an evaluator; reads the files beside the manifest. Nothing is written: what the
bundle needs is part of the result, and `nixbk.resolve.bundle` writes it.
"""

from __future__ import annotations

import platform as machine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.nix import nar
from nixbk.nix.derivation_hash import load
from nixbk.nix.store_path import StorePath, source_path
from nixbk.resolve.classify import examine
from nixbk.resolve.evaluator import (
    EvaluationError,
    Evaluator,
    InputRequest,
    PathInfo,
    ResolvedInput,
    Wish,
)
from nixbk.resolve.filesystem import nar_of
from nixbk.resolve.repository import Repository
from nixbk.resolve.sources import bundle_folder
from nixbk.schema.installable import ALL_OUTPUTS, Installable, InstallableKind
from nixbk.schema.lock import (
    BundleOrigin,
    FileOrigin,
    InputOrigin,
    Lock,
    LockedImage,
    LockedInstallable,
    LockedPath,
    LockedShell,
    LockedSource,
)
from nixbk.schema.lock_verify import verify
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

LARGE_BYTES = 1 << 20
"""What is larger is no part of the bundle if an input has it."""

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
    """

    lock: Lock
    bundle: Mapping[str, Callable[[], Iterator[bytes]]]


def make_lock(  # noqa: PLR0913 - two of them by name
    file: ManifestFile,
    folder: Path,
    lock_path: Path,
    evaluator: Evaluator,
    *,
    old: Lock | None = None,
    update: bool = False,
    trees: InputTrees | None = None,
) -> Locked:
    """The lock of a manifest.

    Args:
        file: the manifest.
        folder: the manifest's.
        lock_path: where the lock will be written; its sources are found below its folder.
        evaluator: Nix.
        old: the lock so far, whose revisions are kept.
        update: whether to pin every input anew instead.
        trees: how large parts of inputs are had again; without them, they go to the bundle.

    Raises:
        LockingError: with the manifest's key, what cannot be locked, and why.
    """
    locker = _Locker(file, folder, lock_path, evaluator, trees)
    return locker.run(old.inputs if old and not update else {})


class _Locker:
    def __init__(
        self,
        file: ManifestFile,
        folder: Path,
        lock_path: Path,
        evaluator: Evaluator,
        trees: InputTrees | None,
    ) -> None:
        self._file = file
        self._manifest = file.manifest
        self._folder = folder
        self._evaluator = evaluator
        self._trees = trees
        self._input_files: dict[str, Repository] = {}
        self._bundle: dict[str, Callable[[], Iterator[bytes]]] = {}
        self._repository = Repository(
            lock_path.parent, (lock_path.name, bundle_folder(lock_path).name)
        )

    def run(self, old: Mapping[str, LockedInput]) -> Locked:
        """The lock, with the inputs of *old* where they are still asked for."""
        inputs = self._inputs(old)
        wishes = list(self._wishes(inputs))
        found = self._evaluate(wishes, inputs)
        paths = [evaluated.drv_path for evaluated in found]
        derivations = load(paths, self._evaluator.derivation)
        made = self._made(derivations)
        images = self._images(wishes, found, derivations)
        sources = self._sources(derivations, inputs)
        shell = self._shell(sources)
        lock = Lock(
            images,
            derivations,
            sources,
            {name: resolved.locked for name, resolved in inputs.items()},
            shell,
            {**self._made_paths(wishes, found, derivations), **self._file_paths(sources)},
            tuple(sorted(set(self._manifest.sandbox.system_features))),
            made,
        )
        problems = verify(lock)
        if problems:  # what Nix gave us does not fit together, and nobody edited it
            raise LockingError(problems[0].message, where=str(problems[0].path[-1]))
        return Locked(lock, self._bundle)

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

    def _images(
        self,
        wishes: list[tuple[KeyPath, Wish]],
        found: list[Evaluated],
        derivations: Mapping[StorePath, Derivation],
    ) -> dict[str, LockedImage]:
        rows: dict[str, list[LockedInstallable]] = {key: [] for key in self._manifest.images}
        for (where, wish), evaluated in zip(wishes, found, strict=True):
            if where[0] != "images":
                continue
            key = str(where[1])
            derivation = derivations[evaluated.drv_path]
            names = self._names(where, wish, evaluated, derivation)
            paths = {
                name: StorePath.parse(derivation.outputs[name].path)
                for name in names
                if derivation.outputs[name].path
            }
            text = wish.installable.text
            rows[key].append(LockedInstallable(text, evaluated.drv_path, names, paths))
        return {key: LockedImage((self._platform(key),), tuple(row)) for key, row in rows.items()}

    def _names(
        self, where: KeyPath, wish: Wish, evaluated: Evaluated, derivation: Derivation
    ) -> tuple[str, ...]:
        """The outputs that an installable stands for."""
        names = wish.installable.outputs or evaluated.outputs
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

    def _made(
        self, derivations: dict[StorePath, Derivation]
    ) -> dict[tuple[StorePath, str], StorePath]:
        """The derivations that are outputs of others, which Nix makes; they join *derivations*."""
        made: dict[tuple[StorePath, str], StorePath] = {}
        work = list(derivations.values())
        while work:
            for need in work.pop().dynamic:
                path = need.path
                for name in need.chain:
                    if (path, name) not in made:
                        made[path, name] = self._evaluator.build(path, name)
                    path = made[path, name]
                    if path not in derivations:
                        found = load([path], self._evaluator.derivation)
                        work += [found[new] for new in found.keys() - derivations.keys()]
                        derivations.update(found)
        return made

    def _made_paths(
        self,
        wishes: list[tuple[KeyPath, Wish]],
        found: list[Evaluated],
        derivations: Mapping[StorePath, Derivation],
    ) -> dict[str, LockedPath]:
        """What of the sandbox derivations make, by where builds find it."""
        rows = {
            where: (evaluated.drv_path, names)
            for (where, wish), evaluated in zip(wishes, found, strict=True)
            if where[0] == "sandbox"
            for names in [self._names(where, wish, evaluated, derivations[evaluated.drv_path])]
        }
        paths: dict[str, LockedPath] = {}
        for target, (below, source) in self._manifest.sandbox.sources.items():
            if source.installable is None:
                continue
            drv_path, names = rows["sandbox", *below]
            name = "out" if "out" in names else names[0]
            path = derivations[drv_path].outputs[name].path
            if not path:
                raise LockingError(
                    "its store path is known only when it is built",
                    where=self._file.where("sandbox", *below),
                    hint="name what is not content-addressed, or a file",
                )
            store_path = StorePath.parse(path)
            paths[target] = LockedPath(source.text, store_path, source.path, drv_path, name)
        return paths

    # Sources ------------------------------------------------------------------------------

    def _sources(
        self, derivations: Mapping[StorePath, Derivation], inputs: Mapping[str, ResolvedInput]
    ) -> dict[StorePath, LockedSource]:
        """Every source of the derivations, and what sources refer to."""
        infos: dict[StorePath, PathInfo] = {}
        wanted = {path for derivation in derivations.values() for path in derivation.input_srcs}
        while wanted:
            infos.update(self._evaluator.infos(wanted))
            wanted = {r for path in wanted for r in infos[path].references} - infos.keys()
        return {path: self._source(infos[path], inputs) for path in sorted(infos)}

    def _source(self, info: PathInfo, inputs: Mapping[str, ResolvedInput]) -> LockedSource:
        found = examine(info, lambda: self._evaluator.nar(info.path))
        file = self._repository.find(info.path.name, info.nar_hash, info.nar_size)
        if file is not None:
            return replace(found, origin=FileOrigin(file))
        if info.nar_size > LARGE_BYTES and self._trees is not None:
            for resolved in inputs.values():
                if not resolved.is_local:
                    part = self._part(resolved.locked, info)
                    if part is not None:
                        return replace(found, origin=InputOrigin(resolved.locked.name, part))
        digest = info.nar_hash.digest.hex()
        self._bundle[digest] = lambda: self._evaluator.nar(info.path)
        return replace(found, origin=BundleOrigin(digest))

    def _part(self, locked: LockedInput, info: PathInfo) -> str | None:
        """Where in an input a source is, if the input can be had again without Nix."""
        assert self._trees is not None  # noqa: S101 - the caller looked
        try:
            tree = self._trees.tree(locked)
        except NixbkError:
            return None
        if locked.name not in self._input_files:
            self._input_files[locked.name] = Repository(tree, all_files=True)
        files = self._input_files[locked.name]
        part = files.find(info.path.name, info.nar_hash, info.nar_size)
        return "" if part == "." else part

    def _shell(self, sources: dict[StorePath, LockedSource]) -> LockedShell | None:
        """The shell of the builds, if it is a file, which becomes one of the sources."""
        found = self._manifest.sandbox.sources.get(SHELL_TARGET)
        if found is None or found[0] != ("shell",) or found[1].installable is not None:
            return None
        place = self._folder / found[1].path
        try:
            if not place.is_file():
                raise LockingError("the shell is no file", hint="name a static shell")
            path = self._own_source(place, SHELL_NAME, sources)
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
                path = self._own_source(place, PATH_NAME, sources)
            except NixbkError as error:
                raise self._at(error, "sandbox", *below) from error
            paths[target] = LockedPath(source.text, path)
        return paths

    def _own_source(
        self, place: Path, name: str, sources: dict[StorePath, LockedSource]
    ) -> StorePath:
        """The store path of a file or folder beside the manifest, which becomes a source."""
        place = place.resolve()
        found, size = nar.nar_hash(nar_of(place))
        path = source_path(name, found.digest)
        source = examine(PathInfo(path, found, size, ()), lambda: nar_of(place))
        file = self._repository.find(place.name, found, size)
        if file is None:
            digest = found.digest.hex()
            self._bundle.setdefault(digest, lambda: nar_of(place))
            sources.setdefault(path, replace(source, origin=BundleOrigin(digest)))
        else:
            sources.setdefault(path, replace(source, origin=FileOrigin(file)))
        return path

    def _at(self, error: NixbkError, *path: str | int) -> LockingError:
        return LockingError(error.message, where=self._file.where(*path), hint=error.hint)
