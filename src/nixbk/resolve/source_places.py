"""Where the bytes of sources are to be had without Nix: in the repository, an input, or the bundle.

Effect: asks an evaluator; reads the files beside the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.nix import nar
from nixbk.nix.store_path import source_path
from nixbk.resolve.bundle_files import bundle_folder
from nixbk.resolve.classify import examine
from nixbk.resolve.evaluator import PathInfo
from nixbk.resolve.filesystem import nar_of
from nixbk.resolve.repository import Repository
from nixbk.schema.lock import BundleOrigin, FileOrigin, InputOrigin, LockedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping
    from pathlib import Path

    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.evaluator import Evaluator, ResolvedInput
    from nixbk.resolve.input_trees import InputTrees
    from nixbk.schema.lock import LockedInput

LARGE_BYTES: Final = 1 << 20
"""What is larger is no part of the bundle if an input has it."""


class SourcePlaces:
    """Finds sources, and takes note of what the bundle needs.

    Args:
        lock_path: where the lock will be written; sources are found below its folder.
        evaluator: has the sources of derivations.
        trees: how large parts of inputs are had again; without them, they go to the bundle.

    Attributes:
        bundle: for each archive of the bundle, by its SHA-256, how to read it.
    """

    def __init__(self, lock_path: Path, evaluator: Evaluator, trees: InputTrees | None) -> None:
        self.bundle: dict[str, Callable[[], Iterator[bytes]]] = {}
        self._evaluator = evaluator
        self._trees = trees
        self._input_files: dict[str, Repository] = {}
        self._repository = Repository(
            lock_path.parent, (lock_path.name, bundle_folder(lock_path).name)
        )

    def find(
        self,
        paths: Iterable[StorePath],
        inputs: Mapping[str, ResolvedInput],
        fetched: Container[StorePath] = (),
    ) -> dict[StorePath, LockedSource]:
        """The sources at *paths*, and what they refer to as far as it is not *fetched*."""
        infos: dict[StorePath, PathInfo] = {}
        wanted = set(paths)
        while wanted:
            infos.update(self._evaluator.infos(wanted))
            new = {r for path in wanted for r in infos[path].references} - infos.keys()
            wanted = {path for path in new if path not in fetched}
        return {path: self._source(infos[path], inputs) for path in sorted(infos)}

    def _source(self, info: PathInfo, inputs: Mapping[str, ResolvedInput]) -> LockedSource:
        found = examine(info, lambda: self._evaluator.nar(info.path))
        file = self._repository.find(info.path.name, info.nar_hash, info.nar_size)
        if file is not None:
            return found._replace(origin=FileOrigin(file))
        if info.nar_size > LARGE_BYTES and self._trees is not None:
            for resolved in inputs.values():
                if not resolved.is_local:
                    part = self._part(resolved.locked, info)
                    if part is not None:
                        return found._replace(origin=InputOrigin(resolved.locked.name, part))
        digest = info.nar_hash.digest.hex()
        self.bundle[digest] = lambda: self._evaluator.nar(info.path)
        return found._replace(origin=BundleOrigin(digest))

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

    def own(self, place: Path, name: str, sources: dict[StorePath, LockedSource]) -> StorePath:
        """The store path of a file or folder beside the manifest, which becomes a source."""
        place = place.resolve()
        found, size = nar.nar_hash(nar_of(place))
        path = source_path(name, found.digest)
        source = examine(PathInfo(path, found, size, ()), lambda: nar_of(place))
        file = self._repository.find(place.name, found, size)
        if file is None:
            digest = found.digest.hex()
            self.bundle.setdefault(digest, lambda: nar_of(place))
            sources.setdefault(path, source._replace(origin=BundleOrigin(digest)))
        else:
            sources.setdefault(path, source._replace(origin=FileOrigin(file)))
        return path
