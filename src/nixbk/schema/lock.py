"""The lock: what exactly an image is made of, with every recipe and every source.

A lock is enough to build from: no evaluation happens after it. The values here are what
the rest of nixbk works with; :mod:`nixbk.schema.lock_document` writes them as TOML,
:mod:`nixbk.schema.lock_file` reads and proves them. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from nixbk.nix.store_path import StorePath
from nixbk.schema.sandbox import SHELL_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nixbk.nix.derivation import Derivation
    from nixbk.nix.hashes import Hash

VERSION = 1
"""The version of the format that this nixbk reads and writes."""

FileType = Literal["directory", "regular", "symlink"]
ContentMethod = Literal["nar", "text", "flat", "none"]


@dataclass(frozen=True, slots=True)
class LockedInput:
    """An input with what it was when it was locked.

    Attributes:
        name: its key in the manifest, or the flake reference itself for an installable that
            names one directly.
        url: the flake reference as the user wrote it.
        flake: whether it is a flake.
        locked: the flake reference that is evaluated: with its revision, or relative to the
            lock's folder for what lies in it.
        rev: the revision, where there is one.
        nar_hash: of the whole tree.
        last_modified: seconds since 1970, where it is known.
    """

    name: str
    url: str
    flake: bool
    locked: str
    rev: str | None
    nar_hash: Hash
    last_modified: int | None = None


@dataclass(frozen=True, slots=True)
class LockedInstallable:
    """An installable with the derivation it stands for.

    Attributes:
        text: as the user wrote it.
        drv_path: the derivation.
        outputs: names of the selected outputs, in the order to install them.
        paths: their store paths by name; without those that a build decides.
    """

    text: str
    drv_path: StorePath
    outputs: tuple[str, ...]
    paths: Mapping[str, StorePath]


@dataclass(frozen=True, slots=True)
class LockedImage:
    """The installables of an image, for its platforms."""

    platforms: tuple[str, ...]
    installables: tuple[LockedInstallable, ...]


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """A file or folder of the repository, relative to the lock's folder."""

    file: str


@dataclass(frozen=True, slots=True)
class InputOrigin:
    """A part of an input: its name, and a path in it (empty for all of it)."""

    input: str
    path: str


@dataclass(frozen=True, slots=True)
class BundleOrigin:
    """A NAR in the folder beside the lock, by the SHA-256 of it in hexadecimal digits."""

    sha256: str


Origin = FileOrigin | InputOrigin | BundleOrigin


@dataclass(frozen=True, slots=True)
class LockedSource:
    """A store object that is no output of a derivation of the lock.

    Attributes:
        path: where it is in the store.
        nar_hash: SHA-256 of its NAR.
        nar_size: length of its NAR in bytes.
        references: the store paths it refers to.
        origin: where its bytes are to be had.
        file_type: what it is at its root.
        target: of a symlink; empty for what is none.
        method: how its path follows from its content; ``none`` when it does not.
        content_hash: what its path is made of; None when that is the NAR hash, or nothing.
    """

    path: StorePath
    nar_hash: Hash
    nar_size: int
    references: tuple[StorePath, ...]
    origin: Origin
    file_type: FileType = "directory"
    target: str = ""
    method: ContentMethod = "nar"
    content_hash: Hash | None = None


@dataclass(frozen=True, slots=True)
class LockedShell:
    """The shell of the builds: its file as the manifest names it, and its source."""

    file: str
    path: StorePath


@dataclass(frozen=True, slots=True)
class LockedPath:
    """Something that builds find and that is no input of theirs.

    Attributes:
        text: as the manifest names it.
        path: the store object that it is in.
        subpath: where in there; empty for all of it.
        drv_path: the derivation that makes the store object; None for a source.
        output: which of its outputs; empty for a source.
    """

    text: str
    path: StorePath
    subpath: str = ""
    drv_path: StorePath | None = None
    output: str = ""


@dataclass(frozen=True)
class Lock:
    """Everything that is needed to build the images of a manifest.

    Attributes:
        images: by their key in the manifest.
        derivations: every derivation that one of them needs.
        sources: every other store object that one of them needs.
        inputs: by name.
        locked_shell: the shell of the builds, when it is a file beside the manifest.
        locked_paths: what else builds find, by where; a shell that is in an installable, too.
        features: system features that the builder has.
        made: by derivation and output, the derivations that are outputs of others.
    """

    images: Mapping[str, LockedImage]
    derivations: Mapping[StorePath, Derivation]
    sources: Mapping[StorePath, LockedSource]
    inputs: Mapping[str, LockedInput] = field(default_factory=dict)
    locked_shell: LockedShell | None = None
    locked_paths: Mapping[str, LockedPath] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    made: Mapping[tuple[StorePath, str], StorePath] = field(default_factory=dict)

    @property
    def shell(self) -> StorePath | None:
        """The source that is ``/bin/sh`` in builds."""
        return self.locked_shell.path if self.locked_shell else None

    @cached_property
    def sandbox(self) -> Mapping[str, LockedPath]:
        """All that builds find, by where."""
        shell = self.locked_shell
        first = {SHELL_TARGET: LockedPath(shell.file, shell.path)} if shell else {}
        return {**first, **self.locked_paths}

    @property
    def sandbox_drvs(self) -> tuple[StorePath, ...]:
        """The derivations that make what builds find, each once."""
        found = (path.drv_path for path in self.locked_paths.values() if path.drv_path)
        return tuple(dict.fromkeys(found))

    def sandbox_of(self, drv_path: StorePath) -> Mapping[str, LockedPath]:
        """What the builder of one derivation finds, by where.

        What a derivation of the sandbox needs itself is built without what derivations make.
        """
        if self.derivations[drv_path].builder.startswith("builtin:"):
            return {}
        if drv_path not in self._below_sandbox:
            return self.sandbox
        return {target: path for target, path in self.sandbox.items() if path.drv_path is None}

    @property
    def roots(self) -> tuple[StorePath, ...]:
        """The derivations of all installables, in the order of the images, each once."""
        found = (i.drv_path for image in self.images.values() for i in image.installables)
        return tuple(dict.fromkeys(found))

    def outputs(self, drv_path: StorePath) -> Mapping[str, StorePath]:
        """The store paths of a derivation's outputs; without those that a build decides."""
        known = self._outputs.get(drv_path)
        if known is None:
            known = {
                name: StorePath.parse(output.path)
                for name, output in self.derivations[drv_path].outputs.items()
                if output.path
            }
            self._outputs[drv_path] = known
        return known

    def inputs_of(self, drv_path: StorePath) -> Mapping[StorePath, tuple[str, ...]]:
        """The derivations that one is built from, and which of their outputs.

        What makes a derivation of them has done so when it was locked.
        """
        derivation = self.derivations[drv_path]
        if not derivation.dynamic:
            return derivation.input_drvs
        found = {path: names for path, names in derivation.input_drvs.items() if names}
        for need in derivation.dynamic:
            path = need.path
            for name in need.chain:
                path = self.made[path, name]
            found[path] = tuple(sorted({*found.get(path, ()), need.output}))
        return found

    def origins(self, path: StorePath) -> tuple[tuple[str, int], ...]:
        """The installables that need a derivation or source, as image and index.

        They are keys of the manifest: ``images.<image>.installables[<index>]``. The work is
        linear in the lock, so this is for messages.
        """
        needed = self._dependents(path)
        if any(found.path == path or found.drv_path in needed for found in self.sandbox.values()):
            needed.update(self.derivations)
        return tuple(
            (key, number)
            for key, image in self.images.items()
            for number, installable in enumerate(image.installables)
            if installable.drv_path in needed
        )

    def _dependents(self, path: StorePath) -> set[StorePath]:
        found = {path}
        work = [path]
        while work:
            for user in self._users.get(work.pop(), ()):
                if user not in found:
                    found.add(user)
                    work.append(user)
        return found

    @cached_property
    def _below_sandbox(self) -> frozenset[StorePath]:
        found: set[StorePath] = set()
        work = list(self.sandbox_drvs)
        while work:
            drv_path = work.pop()
            if drv_path not in found:
                found.add(drv_path)
                work.extend(self.inputs_of(drv_path))
        return frozenset(found)

    @cached_property
    def _outputs(self) -> dict[StorePath, Mapping[str, StorePath]]:
        return {}

    @cached_property
    def _users(self) -> dict[StorePath, list[StorePath]]:
        users: dict[StorePath, list[StorePath]] = {}
        for path, used in self._edges():
            users.setdefault(used, []).append(path)
        return users

    def _edges(self) -> Iterator[tuple[StorePath, StorePath]]:
        for path, derivation in self.derivations.items():
            for used in (*self.inputs_of(path), *derivation.input_srcs):
                yield path, used
        for path, source in self.sources.items():
            for used in source.references:
                yield path, used
