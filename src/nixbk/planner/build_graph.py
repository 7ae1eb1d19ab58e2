"""A lock together with what is realised of it so far. Pure, but it remembers.

The references of a derivation's outputs are known once it was built, here or elsewhere at any
earlier time. The build graph holds those findings, answers which store objects a step may see,
and compiles each step once in each flavour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.graph.closure import closure
from nixbk.llb.origin import Origin
from nixbk.planner.compiler import Compiler, Flavour, Step, StoreObject
from nixbk.planner.realisation import RealisedOutput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nixbk.nix.hashes import Hash
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.compiler import Workshop
    from nixbk.planner.realisation import Realisation
    from nixbk.schema.lock import Lock


_ADDRESS_PREFIXES: Final = {
    "flat": "fixed:",
    "nar": "fixed:r:",
    "git": "fixed:git:",
    "text": "text:",
}


class RealisationChangedError(NixbkError):
    """A step left something else behind than what was known of it.

    Attributes:
        step: derivation path of the step.
    """

    def __init__(self, step: StorePath) -> None:
        super().__init__("the builder's cache holds another result", where=str(step))
        self.step = step


class BuildGraph:
    """Steps, named by their derivation path or, for a source, by its own path."""

    def __init__(self, lock: Lock, workshop: Workshop) -> None:
        self.lock = lock
        self._compilers = {flavour: Compiler(workshop, flavour) for flavour in Flavour}
        self._steps: dict[tuple[StorePath, Flavour], Step] = {}
        self._realised: dict[StorePath, Realisation] = {}
        self._infos: dict[StorePath, RealisedOutput] = {}
        self._closures: dict[StorePath, frozenset[StorePath]] = {}
        self._producers: dict[StorePath, StorePath] = {}
        self._origins: dict[StorePath, Origin] = {}
        for source in lock.sources.values():
            self._producers[source.path] = source.path
            self._infos[source.path] = RealisedOutput(
                source.path,
                source.nar_hash,
                source.nar_size,
                source.references,
                source.file_type,
                source.target,
            )
        for drv_path in lock.derivations:
            for path in lock.outputs(drv_path).values():
                self._producers[path] = drv_path

    # What is known

    def producer(self, path: StorePath) -> StorePath:
        """The step that makes a store path."""
        return self._producers[path]

    def is_source(self, step: StorePath) -> bool:
        """Whether a step unpacks a source instead of building a derivation."""
        return step in self.lock.sources

    def realisation(self, drv_path: StorePath) -> Realisation | None:
        """What is known of a derivation's outputs, if anything is."""
        return self._realised.get(drv_path)

    def is_known(self, step: StorePath) -> bool:
        """Whether the references of everything a step makes are known."""
        return step in self._realised or self.is_source(step)

    def info(self, path: StorePath) -> RealisedOutput:
        """What is known of one store path."""
        return self._infos[path]

    def realise(self, drv_path: StorePath, realisation: Realisation) -> None:
        """Note what a derivation's build left behind.

        Raises:
            NixbkError: it is not about the outputs that the derivation declares.
            RealisationChangedError: something else was known of it.
        """
        expected = self.lock.outputs(drv_path)
        found = {name: output.path for name, output in realisation.outputs.items()}
        if found != expected:
            raise NixbkError(
                f"the builder returned {sorted(map(str, found.values()))} instead of "
                f"{sorted(map(str, expected.values()))}",
                where=str(drv_path),
            )
        known = self._realised.get(drv_path)
        if known is not None and known != realisation:
            raise RealisationChangedError(drv_path)
        self._realised[drv_path] = realisation
        for output in realisation.outputs.values():
            self._infos[output.path] = output

    # What follows from it

    def inputs(self, drv_path: StorePath) -> Iterator[StorePath]:
        """The store paths a derivation names as its inputs, without their closures."""
        derivation = self.lock.derivations[drv_path]
        yield from derivation.input_srcs
        for input_drv, names in derivation.input_drvs.items():
            outputs = self.lock.outputs(input_drv)
            yield from (outputs[name] for name in names)

    def closure(self, paths: Iterable[StorePath]) -> frozenset[StorePath]:
        """Everything reachable from *paths* by references; all of it must be known."""
        found: set[StorePath] = set()
        for path in paths:
            found |= self._closure(path)
        return frozenset(found)

    def known_closure(
        self, paths: Iterable[StorePath]
    ) -> tuple[frozenset[StorePath], frozenset[StorePath]]:
        """The closure as far as it is known, and the steps at which knowledge ends."""
        known: set[StorePath] = set()
        unknown: set[StorePath] = set()
        for path in paths:
            step = self._producers[path]
            if self.is_known(step):
                known |= self._closure(path)
            else:
                unknown.add(step)
        return frozenset(known), frozenset(unknown)

    def step(self, step: StorePath, flavour: Flavour) -> Step:
        """The compiled form of a step whose inputs are all known."""
        compiled = self._steps.get((step, flavour))
        if compiled is None:
            compiled = self._compile(step, flavour)
            self._steps[step, flavour] = compiled
        return compiled

    def compiler(self, flavour: Flavour) -> Compiler:
        """The compiler that made the steps of *flavour*."""
        return self._compilers[flavour]

    def store_object(self, path: StorePath, flavour: Flavour) -> StoreObject:
        """A known store path and the file system it lies in."""
        producer = self._producers[path]
        step = self.step(producer, flavour)
        if self.is_source(producer):
            source = self.lock.sources[producer]
            address = content_address(source.method, source.content_hash or source.nar_hash)
            return StoreObject(self._infos[path], step.root, content_address=address)
        outputs = self.lock.outputs(producer).values()
        siblings = tuple(sorted(other for other in outputs if other != path))
        fixed = self.lock.derivations[producer].outputs.get("out")
        if fixed is None or fixed.content_hash is None or fixed.method is None:
            return StoreObject(self._infos[path], step.root, siblings)
        address = content_address(fixed.method, fixed.content_hash)
        return StoreObject(
            self._infos[path], step.root, siblings, by_content=True, content_address=address
        )

    def build_order(self, roots: Iterable[StorePath]) -> tuple[StorePath, ...]:
        """The derivations below *roots* (derivation paths), inputs first."""
        return closure(roots, lambda drv: self.lock.derivations[drv].input_drvs)

    def _closure(self, path: StorePath) -> frozenset[StorePath]:
        pending = [path]
        while pending:
            current = pending[-1]
            if current in self._closures:
                pending.pop()
                continue
            references = [ref for ref in self._infos[current].references if ref != current]
            missing = [ref for ref in references if ref not in self._closures]
            if missing:
                pending.extend(missing)
                continue
            pending.pop()
            self._closures[current] = frozenset({current}).union(
                *(self._closures[ref] for ref in references)
            )
        return self._closures[path]

    def _origin(self, step: StorePath) -> Origin | None:
        """The first installable of the manifest that needs a step."""
        if not self._origins:
            for key, image in self.lock.images.items():
                for index, installable in enumerate(image.installables):
                    origin = Origin(f"images.{key}.installables[{index}]", installable.text)
                    self._note_origin(installable.drv_path, origin)
        return self._origins.get(step)

    def _note_origin(self, root: StorePath, origin: Origin) -> None:
        pending = [root]
        while pending:
            step = pending.pop()
            if step not in self._origins:
                self._origins[step] = origin
                if not self.is_source(step):
                    derivation = self.lock.derivations[step]
                    pending += [*derivation.input_drvs, *derivation.input_srcs]

    def _compile(self, step: StorePath, flavour: Flavour) -> Step:
        compiler = self._compilers[flavour]
        origin = self._origin(step)
        if self.is_source(step):
            return compiler.source(self.lock.sources[step], origin)
        derivation = self.lock.derivations[step]
        if derivation.builder.startswith("builtin:"):
            return compiler.derivation(
                derivation, self.lock.outputs(step), (), shell=None, origin=origin
            )
        shell = self.lock.shell
        return compiler.derivation(
            derivation,
            self.lock.outputs(step),
            [self.store_object(path, flavour) for path in self.closure(self.inputs(step))],
            shell=self.store_object(shell, flavour) if shell is not None else None,
            origin=origin,
        )


def content_address(method: str, content: Hash) -> str:
    """How Nix writes that a path follows from its content; empty when it does not.

    Source: ``ContentAddress::render``, Nix ``src/libstore/content-address.cc``.
    """
    prefix = _ADDRESS_PREFIXES.get(method)
    if prefix is None:
        return ""
    return f"{prefix}{content.algorithm.value}:{content.base32()}"
