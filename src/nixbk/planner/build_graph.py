"""A lock together with what is realised of it so far. Pure, but it remembers.

The references of a derivation's outputs are known once it was built, here or elsewhere at any
earlier time. So are the paths of floating outputs, and with them the *resolved* derivation that is
built in place of one whose inputs float. The build graph holds those findings, answers which store
objects a step may see, and compiles each step once in each flavour.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

from nixbk.errors import NixbkError
from nixbk.graph.closure import closure
from nixbk.llb.origin import Origin
from nixbk.nix.content_address import content_address, parse_content_address
from nixbk.nix.derivation import Derivation, DerivationKind
from nixbk.nix.resolution import resolve, scratch_paths
from nixbk.nix.store_path import (
    StorePath,
    compress_hash,
    fixed_output_path,
    output_path_name,
)
from nixbk.planner.compiler import Compiler
from nixbk.planner.realisation import RealisedOutput
from nixbk.planner.steps import UnsupportedDerivationError
from nixbk.planner.workshop import Flavour, Place, Recipe, Step, StoreObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nixbk.planner.realisation import Realisation
    from nixbk.planner.workshop import Again, Workshop
    from nixbk.schema.lock import Lock, LockedImage

Wanted: TypeAlias = tuple[StorePath, str]
"""A step and one of its outputs; a source's is called ``""``."""

SOURCE_OUTPUT: Final = ""
_FLOATING: Final = frozenset({DerivationKind.FLOATING, DerivationKind.IMPURE})


class ImpureInputError(UnsupportedDerivationError):
    """A derivation must not depend on what comes out otherwise each time."""


class RealisationChangedError(NixbkError):
    """A step left something else behind than what was known of it.

    Attributes:
        step: derivation path of the step.
    """

    def __init__(self, step: StorePath) -> None:
        super().__init__("the builder's cache holds another result", where=str(step))
        self.step = step


class BuildGraph:
    """Steps, named by their derivation path or, for a source, by its own path.

    A ``.drv`` file may be a source of one derivation while another is built from it. Then the step
    that unpacks it has a name of its own.
    """

    def __init__(self, lock: Lock, workshop: Workshop) -> None:
        self.lock = lock
        self._compilers = {flavour: Compiler(workshop, flavour) for flavour in Flavour}
        self._steps: dict[tuple[StorePath, Flavour], Step] = {}
        self._realised: dict[StorePath, Realisation] = {}
        self._infos: dict[StorePath, RealisedOutput] = {}
        self._closures: dict[StorePath, frozenset[StorePath]] = {}
        self._producers: dict[StorePath, StorePath] = {}
        self._origins: dict[StorePath, Origin] = {}
        self._recipes: dict[StorePath, Recipe] = {}
        self._sources = {self.source_step(path): source for path, source in lock.sources.items()}
        for step, source in self._sources.items():
            self._producers[source.path] = step
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
        self._passing = self._find_passing()

    # What is known

    def producer(self, path: StorePath) -> StorePath:
        """The step that makes a store path."""
        return self._producers[path]

    def is_source(self, step: StorePath) -> bool:
        """Whether a step unpacks a source instead of building a derivation."""
        return step in self._sources

    def source_step(self, path: StorePath) -> StorePath:
        """The step that unpacks a source."""
        if path not in self.lock.derivations:
            return path
        return StorePath(compress_hash(sha256(f"source:{path}".encode()).digest()), path.name)

    def realisation(self, drv_path: StorePath) -> Realisation | None:
        """What is known of a derivation's outputs, if anything is."""
        return self._realised.get(drv_path)

    def is_known(self, step: StorePath) -> bool:
        """Whether the references of everything a step makes are known."""
        return step in self._realised or self.is_source(step)

    def info(self, path: StorePath) -> RealisedOutput:
        """What is known of one store path."""
        return self._infos[path]

    def is_lasting(self, drv_path: StorePath) -> bool:
        """Whether a build of it is of use to later commands: it has no impure derivation in it."""
        return drv_path not in self._passing

    def outputs(self, step: StorePath) -> Mapping[str, StorePath]:
        """The store paths that a step makes, by output, as far as they are known by now."""
        if self.is_source(step):
            return {SOURCE_OUTPUT: self._sources[step].path}
        known = self._realised.get(step)
        if known is not None:
            return {name: output.path for name, output in known.outputs.items()}
        derivation = self.lock.derivations[step]
        deferred = derivation.kind is DerivationKind.DEFERRED
        if deferred and all(map(self.is_known, self.lock.inputs_of(step))):
            return self.recipe(step).outputs
        return self.lock.outputs(step)

    def output(self, step: StorePath, name: str) -> StorePath | None:
        """The store path of one output, if it is known by now."""
        return self.outputs(step).get(name)

    def located(self, image: LockedImage) -> LockedImage:
        """*image* with all the store paths that are known by now."""
        return replace(
            image,
            installables=tuple(
                replace(
                    found, paths={**found.paths, **self._selected(found.drv_path, found.outputs)}
                )
                for found in image.installables
            ),
        )

    def realise(self, drv_path: StorePath, realisation: Realisation) -> None:
        """Note what a derivation's build left behind.

        Raises:
            NixbkError: it is not about the outputs that the derivation declares.
            RealisationChangedError: something else was known of it.
        """
        self._check(drv_path, realisation)
        known = self._realised.get(drv_path)
        if known is not None and known != realisation:
            raise RealisationChangedError(drv_path)
        self._realised[drv_path] = realisation
        for output in realisation.outputs.values():
            # Several recipes may yield one path; what uses it takes it from the first known.
            maker = self._producers.get(output.path)
            if maker is None or not self.is_known(maker) or maker == drv_path:
                self._producers[output.path] = drv_path
                self._infos[output.path] = output

    # What follows from it

    def recipe(self, drv_path: StorePath) -> Recipe:
        """What is built in place of a derivation whose inputs are all known."""
        recipe = self._recipes.get(drv_path)
        if recipe is None:
            recipe = self._recipes[drv_path] = self._resolve(drv_path)
        return recipe

    def needs(self, drv_path: StorePath) -> Iterator[Wanted]:
        """What a derivation names as its inputs, without their closures."""
        derivation = self.lock.derivations[drv_path]
        for source in derivation.input_srcs:
            yield self.source_step(source), SOURCE_OUTPUT
        for input_drv, names in self.lock.inputs_of(drv_path).items():
            for name in names:
                yield input_drv, name

    def beside(self, drv_path: StorePath) -> Iterator[Wanted]:
        """What the builder of a derivation finds that is no input of it."""
        for found in self.lock.sandbox_of(drv_path).values():
            yield (found.drv_path or self.source_step(found.path)), found.output

    def below(self, drv_path: StorePath) -> tuple[StorePath, ...]:
        """The derivations that are built before a derivation is, as far as the lock tells."""
        inputs = tuple(self.lock.inputs_of(drv_path))
        if not self.lock.sandbox_drvs:
            return inputs
        made = (found.drv_path for found in self.lock.sandbox_of(drv_path).values())
        return tuple(dict.fromkeys([*inputs, *(drv for drv in made if drv is not None)]))

    def closure(self, paths: Iterable[StorePath]) -> frozenset[StorePath]:
        """Everything reachable from *paths* by references; all of it must be known."""
        found: set[StorePath] = set()
        for path in paths:
            found |= self._closure(path)
        return frozenset(found)

    def known_closure(
        self, wanted: Iterable[Wanted]
    ) -> tuple[frozenset[StorePath], frozenset[StorePath]]:
        """The closure as far as it is known, and the steps at which knowledge ends."""
        known: set[StorePath] = set()
        unknown: set[StorePath] = set()
        for step, name in wanted:
            if self.is_known(step):
                known |= self._closure(self._path(step, name))
            else:
                unknown.add(step)
        return frozenset(known), frozenset(unknown)

    def step(self, step: StorePath, flavour: Flavour) -> Step:
        """The compiled form of a step whose inputs are all known.

        Derivations that resolve to the same one have the same step.

        Raises:
            UnsupportedDerivationError: it asks for what nixbk cannot give.
            DerivationError: one of its options is malformed.
        """
        named = step if self.is_source(step) else self.recipe(step).path
        compiled = self._steps.get((named, flavour))
        if compiled is None:
            compiled = self._steps[named, flavour] = self._compile(step, flavour)
        return compiled

    def refuse(self, drv_path: StorePath) -> None:
        """Refuse a derivation that cannot be built, as far as it can be told by now.

        Raises:
            ImpureInputError: it is pure and depends on one that is not.
            UnsupportedDerivationError: it asks for what nixbk cannot give.
            DerivationError: one of its options is malformed.
        """
        derivation = self.lock.derivations[drv_path]
        self._refuse_impure_inputs(drv_path)
        self._compilers[Flavour.PROBE].refuse(derivation)
        if all(map(self.is_known, self.below(drv_path))):
            self.step(drv_path, Flavour.PROBE)

    def variant(self, drv_path: StorePath, again: Again, nonce: str) -> Step:
        """A derivation's step as it runs once more beside what is cached.

        Args:
            drv_path: the derivation; its inputs are known.
            again: why it runs again.
            nonce: what makes it another step than before.
        """
        return self._compile(drv_path, Flavour.RUN, again=(again, nonce))

    def compiler(self, flavour: Flavour) -> Compiler:
        """The compiler that made the steps of *flavour*."""
        return self._compilers[flavour]

    def store_object(self, path: StorePath, flavour: Flavour) -> StoreObject:
        """A known store path and the file system it lies in."""
        producer = self._producers[path]
        return self.object_in(self.step(producer, flavour), path)

    def object_in(self, step: Step, path: StorePath) -> StoreObject:
        """A known store path as it lies in what *step* made."""
        producer = self._producers[path]
        info = self._infos[path]
        if self.is_source(producer):
            source = self._sources[producer]
            address = content_address(source.method, source.content_hash or source.nar_hash)
            return StoreObject(
                info, step.root, content_address=address, outputs=self._told_outputs(path)
            )
        made = self._realised[producer].outputs.values()
        siblings = tuple(sorted(o.path for o in made if o.path != path and not o.existing))
        address = info.content_address
        fixed = self.lock.derivations[producer].outputs.get("out")
        if fixed is not None and fixed.content_hash is not None and fixed.method is not None:
            address = content_address(fixed.method, fixed.content_hash)
        return StoreObject(
            info, step.root, siblings, by_content=bool(address), content_address=address
        )

    def _told_outputs(self, path: StorePath) -> tuple[StorePath, ...] | None:
        """The outputs that a ``.drv`` file names; None when a build decides them."""
        derivation = self.lock.derivations.get(path)
        if derivation is None:
            return ()
        if not derivation.kind.has_known_paths:
            return None
        return tuple(self.lock.outputs(path).values())

    def build_order(self, roots: Iterable[StorePath]) -> tuple[StorePath, ...]:
        """The derivations below *roots* (derivation paths), inputs first."""
        return closure(roots, self.below)

    def _refuse_impure_inputs(self, drv_path: StorePath) -> None:
        """Source: ``DerivationResolutionGoal``, Nix ``src/libstore/build``."""
        derivations = self.lock.derivations
        if drv_path not in self._passing or derivations[drv_path].has_network:
            return
        for input_drv in self.lock.inputs_of(drv_path):
            if derivations[input_drv].kind is DerivationKind.IMPURE:
                raise ImpureInputError(
                    f"pure derivation '{drv_path}' depends on impure derivation '{input_drv}'",
                    where=derivations[drv_path].name,
                    hint="make it impure as well, or give it a fixed output hash",
                )

    def _find_passing(self) -> frozenset[StorePath]:
        """The impure derivations, and all that depends on one."""
        derivations = self.lock.derivations
        if all(derivation.kind is not DerivationKind.IMPURE for derivation in derivations.values()):
            return frozenset()
        found: set[StorePath] = set()
        for drv in closure(derivations, self.lock.inputs_of):
            impure = derivations[drv].kind is DerivationKind.IMPURE
            if impure or not found.isdisjoint(self.lock.inputs_of(drv)):
                found.add(drv)
        return frozenset(found)

    def _selected(self, drv_path: StorePath, names: Iterable[str]) -> dict[str, StorePath]:
        known = self.outputs(drv_path)
        return {name: known[name] for name in names if name in known}

    def _path(self, step: StorePath, name: str) -> StorePath:
        """The path of an output that is known."""
        path = self.output(step, name)
        if path is None:
            raise NixbkError(f"the derivation has no output {name!r}", where=str(step))
        return path

    def _resolve(self, drv_path: StorePath) -> Recipe:
        derivation = self.lock.derivations[drv_path]
        floats = derivation.kind in _FLOATING
        inputs_float = any(
            not self.lock.derivations[item].kind.has_known_paths
            for item in self.lock.inputs_of(drv_path)
        )
        if derivation.kind.has_known_paths and not derivation.dynamic and not inputs_float:
            return Recipe(drv_path, derivation, self.lock.outputs(drv_path))
        resolved = resolve(derivation, self._path, lambda maker, name: self.lock.made[maker, name])
        path = resolved.path()
        if floats:
            return Recipe(path, resolved, scratch_paths(resolved, path))
        outputs = {name: StorePath.parse(found.path) for name, found in resolved.outputs.items()}
        return Recipe(path, resolved, outputs)

    def _check(self, drv_path: StorePath, realisation: Realisation) -> None:
        """See that a result is about the outputs that the derivation declares."""
        derivation = self.lock.derivations[drv_path]
        found = {name: output.path for name, output in realisation.outputs.items()}
        if derivation.kind in _FLOATING:
            expected = {
                name: _path_of(derivation, name, output)
                for name, output in realisation.outputs.items()
                if name in derivation.outputs
            }
            if expected.keys() != derivation.outputs.keys():
                raise NixbkError(
                    f"the builder returned the outputs {sorted(found)} instead of "
                    f"{sorted(derivation.outputs)}",
                    where=str(drv_path),
                )
        else:
            expected = dict(self.recipe(drv_path).outputs)
        if found != expected:
            raise NixbkError(
                f"the builder returned {sorted(map(str, found.values()))} instead of "
                f"{sorted(map(str, expected.values()))}",
                where=str(drv_path),
            )

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
                    pending += self.lock.inputs_of(step)
                    pending += map(self.source_step, derivation.input_srcs)

    def _compile(
        self, step: StorePath, flavour: Flavour, again: tuple[Again, str] | None = None
    ) -> Step:
        compiler = self._compilers[flavour]
        origin = self._origin(step)
        if self.is_source(step):
            return compiler.source(self._sources[step], origin)
        self._refuse_impure_inputs(step)
        recipe = self.recipe(step)
        inputs = self.closure(self._path(*need) for need in self.needs(step))
        sandbox = self.lock.sandbox_of(step)
        made = [found.path for found in sandbox.values() if found.drv_path is not None]
        return compiler.derivation(
            recipe,
            [self.store_object(path, flavour) for path in inputs],
            sandbox={
                target: Place(self.store_object(found.path, flavour), found.subpath)
                for target, found in sandbox.items()
            },
            beside=[self.store_object(path, flavour) for path in self.closure(made) - inputs],
            origin=origin,
            again=again,
        )


def _path_of(derivation: Derivation, name: str, output: RealisedOutput) -> StorePath:
    """The path that follows from what came out as a floating output.

    Raises:
        NixbkError: its content address is not one of the kind that the derivation asks for.
    """
    method, content = parse_content_address(output.content_address)
    asked = derivation.outputs[name]
    if method != asked.method or content.algorithm is not asked.algorithm:
        raise NixbkError(
            f"the output {name!r} is addressed by {output.content_address!r}",
            where=derivation.name,
        )
    others = [path for path in output.references if path != output.path]
    return fixed_output_path(
        output_path_name(derivation.name, name),
        content,
        method,
        others,
        self_reference=len(others) < len(output.references),
    )
