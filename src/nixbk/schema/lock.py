"""The lock: what exactly an image is made of, with every recipe and every source.

A lock is enough to build from: no evaluation happens after it. The values here are what
the rest of nixbk works with; :mod:`nixbk.schema.lock_document` writes them as TOML,
:mod:`nixbk.schema.lock_file` reads and proves them. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from nixbk.nix.store_path import StorePath
from nixbk.schema.lock_values import (
    BundleOrigin,
    Compression,
    ContentMethod,
    FileOrigin,
    FileType,
    InputOrigin,
    LockedArchive,
    LockedImage,
    LockedInput,
    LockedInstallable,
    LockedPath,
    LockedShell,
    LockedSource,
    LockedSubstitute,
    Origin,
)
from nixbk.schema.sandbox import SHELL_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from nixbk.nix.derivation import Derivation

__all__ = [
    "VERSION",
    "BundleOrigin",
    "Compression",
    "ContentMethod",
    "FileOrigin",
    "FileType",
    "InputOrigin",
    "Lock",
    "LockedArchive",
    "LockedImage",
    "LockedInput",
    "LockedInstallable",
    "LockedPath",
    "LockedShell",
    "LockedSource",
    "LockedSubstitute",
    "Origin",
]

VERSION = 1
"""The version of the format that this nixbk reads and writes."""


@dataclass(frozen=True)
class Lock:
    """Everything that is needed to build the images of a manifest.

    Attributes:
        images: by their key in the manifest.
        derivations: every derivation that is built for one of them; with *fallback*, also those
            of what is substituted.
        sources: every store object that one of those derivations needs and none makes.
        inputs: by name.
        locked_shell: the shell of the builds, when it is a file beside the manifest.
        locked_paths: what else builds find, by where; a shell that is in an installable, too.
        features: system features that the builder has.
        made: by derivation and output, the derivations that are outputs of others.
        substitutes: every store object that is fetched from a binary cache, with all that those
            refer to; what is here is never built.
        substituted: by derivation and output, the substitute that is taken in its place: for all
            outputs that an installable, the sandbox or a derivation of the lock needs.
        fallback: whether the recipes of what is substituted are in the lock, too.
    """

    images: Mapping[str, LockedImage]
    derivations: Mapping[StorePath, Derivation]
    sources: Mapping[StorePath, LockedSource]
    inputs: Mapping[str, LockedInput] = field(default_factory=dict)
    locked_shell: LockedShell | None = None
    locked_paths: Mapping[str, LockedPath] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    made: Mapping[tuple[StorePath, str], StorePath] = field(default_factory=dict)
    substitutes: Mapping[StorePath, LockedSubstitute] = field(default_factory=dict)
    substituted: Mapping[tuple[StorePath, str], StorePath] = field(default_factory=dict)
    fallback: bool = False

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
        """The derivations that are built to make what builds find, each once."""
        found = (self.maker(path) for path in self.locked_paths.values())
        return tuple(dict.fromkeys(path for path in found if path))

    def maker(self, entry: LockedPath) -> StorePath | None:
        """The derivation that is built to make a part of the sandbox.

        None for a source or a substitute, which is there without one.
        """
        return None if entry.path in self.substitutes else entry.drv_path

    def sandbox_of(self, drv_path: StorePath) -> Mapping[str, LockedPath]:
        """What the builder of one derivation finds, by where.

        What a derivation of the sandbox needs itself is built without what derivations make.
        """
        if self.derivations[drv_path].builder.startswith("builtin:"):
            return {}
        if drv_path not in self._below_sandbox:
            return self.sandbox
        return {target: path for target, path in self.sandbox.items() if self.maker(path) is None}

    @property
    def roots(self) -> tuple[StorePath, ...]:
        """The derivations that installables have built, in the order of the images, each once."""
        found = (
            i.drv_path
            for image in self.images.values()
            for i in image.installables
            if i.drv_path and any((i.drv_path, name) not in self.substituted for name in i.outputs)
        )
        return tuple(dict.fromkeys(found))

    def fetched(self, installable: LockedInstallable) -> tuple[StorePath, ...]:
        """The substitutes that an installable stands for, in the order of its outputs."""
        if installable.drv_path is None:
            return tuple(installable.paths.values())
        keys = ((installable.drv_path, name) for name in installable.outputs)
        return tuple(self.substituted[key] for key in keys if key in self.substituted)

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

        What makes a derivation of them has done so when it was locked, and what is fetched is
        one of `substituted_inputs`.
        """
        if not self.substituted:
            return self._wanted_by(drv_path)
        known = self._inputs.get(drv_path)
        if known is None:
            known = self._inputs[drv_path] = {
                path: left
                for path, names in self._wanted_by(drv_path).items()
                if (left := tuple(n for n in names if (path, n) not in self.substituted))
            }
        return known

    def substituted_inputs(self, drv_path: StorePath) -> tuple[StorePath, ...]:
        """The substitutes that a derivation is built from, sorted."""
        if not self.substituted:
            return ()
        found = {
            self.substituted[path, name]
            for path, names in self._wanted_by(drv_path).items()
            for name in names
            if (path, name) in self.substituted
        }
        return tuple(sorted(found))

    def _wanted_by(self, drv_path: StorePath) -> Mapping[StorePath, tuple[str, ...]]:
        """The outputs that a derivation takes in, by what makes them."""
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
        """The installables that need a derivation, source or substitute, as image and index.

        They are keys of the manifest: ``images.<image>.installables[<index>]``. The work is
        linear in the lock, so this is for messages.
        """
        needed = self._dependents(path)
        if any(found.path == path or found.drv_path in needed for found in self.sandbox.values()):
            needed.update(self.derivations)  # what is fetched needs no sandbox
        return tuple(
            (key, number)
            for key, image in self.images.items()
            for number, installable in enumerate(image.installables)
            if self._stands_for(installable, needed)
        )

    def _stands_for(self, installable: LockedInstallable, needed: AbstractSet[StorePath]) -> bool:
        drv_path = installable.drv_path
        if not needed.isdisjoint(self.fetched(installable)):
            return True
        built = (name for name in installable.outputs if (drv_path, name) not in self.substituted)
        return drv_path in needed and any(built)

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
    def _inputs(self) -> dict[StorePath, Mapping[StorePath, tuple[str, ...]]]:
        return {}

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
            inputs = (*self.inputs_of(path), *self.substituted_inputs(path))
            for used in (*inputs, *derivation.input_srcs):
                yield path, used
        for path, substitute in self.substitutes.items():
            for used in substitute.references:
                yield path, used
        for path, source in self.sources.items():
            for used in source.references:
                yield path, used
