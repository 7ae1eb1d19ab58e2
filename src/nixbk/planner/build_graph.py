"""A lock together with what is known of it, and the steps that follow. Pure, but it remembers.

The build graph answers which store objects a step may see, and compiles each step once in each
flavour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.llb.origin import Origin
from nixbk.nix.content_address import content_address
from nixbk.nix.derivation import DRV_SUFFIX, DerivationKind
from nixbk.planner.compiler import Compiler
from nixbk.planner.knowledge import Knowledge
from nixbk.planner.steps import UnsupportedDerivationError
from nixbk.planner.workshop import Flavour, Place, Step, StoreObject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.nix.store_path import StorePath
    from nixbk.planner.leaves import Choice
    from nixbk.planner.workshop import Again, Workshop
    from nixbk.schema.lock import Lock


class ImpureInputError(UnsupportedDerivationError):
    """A derivation must not depend on what comes out otherwise each time."""


class BuildGraph(Knowledge):
    """What is known of a lock, with the steps that follow from it."""

    def __init__(self, lock: Lock, workshop: Workshop) -> None:
        super().__init__(lock)
        self._compilers = {flavour: Compiler(workshop, flavour) for flavour in Flavour}
        self._steps: dict[tuple[StorePath, Flavour], Step] = {}
        self._origins: dict[StorePath, Origin] = {}

    def step(self, step: StorePath, flavour: Flavour) -> Step:
        """The compiled form of a step whose inputs are all known.

        Derivations that resolve to the same one have the same step.

        Raises:
            UnsupportedDerivationError: it asks for what nixbk cannot give.
            DerivationError: one of its options is malformed.
        """
        named = step if self.is_leaf(step) else self.recipe(step).path
        compiled = self._steps.get((named, flavour))
        if compiled is None:
            compiled = self._steps[named, flavour] = self._compile(step, flavour)
        return compiled

    def choose(self, choices: Mapping[StorePath, Choice]) -> None:
        """Take substitutes from elsewhere; steps that were compiled are others then."""
        for path, choice in choices.items():
            self.leaves.choose(path, choice)
        self._steps.clear()

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
        if self.is_leaf(producer):
            number, members = self.leaves.root(path)
            return StoreObject(
                info,
                step.roots[number],
                members,
                by_content=self.is_fetched(producer),
                content_address=self.leaves.content_address(path),
                outputs=self._told_outputs(path),
            )
        made = self._realised[producer].outputs.values()
        members = tuple(sorted(o.path for o in made if o.path == path or not o.existing))
        address = info.content_address
        fixed = self.lock.derivations[producer].outputs.get("out")
        if fixed is not None and fixed.content_hash is not None and fixed.method is not None:
            address = content_address(fixed.method, fixed.content_hash)
        return StoreObject(
            info, step.root, members, by_content=bool(address), content_address=address
        )

    def _told_outputs(self, path: StorePath) -> tuple[StorePath, ...] | None:
        """The outputs that a ``.drv`` file names; None when a build decides them."""
        derivation = self.lock.derivations.get(path)
        if derivation is None:
            unread = self.is_fetched(self._producers[path]) and path.name.endswith(DRV_SUFFIX)
            return None if unread else ()
        if not derivation.kind.has_known_paths:
            return None
        return tuple(self.lock.outputs(path).values())

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

    def _origin(self, step: StorePath) -> Origin | None:
        """The first installable of the manifest that needs a step."""
        if not self._origins:
            for key, image in self.lock.images.items():
                for index, installable in enumerate(image.installables):
                    origin = Origin(f"images.{key}.installables[{index}]", installable.text)
                    self._note_origin([step for step, _ in self.wanted(installable)], origin)
        return self._origins.get(step)

    def _note_origin(self, pending: list[StorePath], origin: Origin) -> None:
        while pending:
            step = pending.pop()
            if step in self._origins:
                continue
            self._origins[step] = origin
            if not self.is_leaf(step):
                pending += [needed for needed, _ in self.needs(step)]
            elif self.is_fetched(step):
                paths = self.outputs(step).values()
                pending += [self._producers[ref] for p in paths for ref in self.info(p).references]

    def _compile(
        self, step: StorePath, flavour: Flavour, again: tuple[Again, str] | None = None
    ) -> Step:
        compiler = self._compilers[flavour]
        origin = self._origin(step)
        source = self.leaves.source(step)
        if source is not None:
            return compiler.source(source, origin)
        if self.is_fetched(step):
            return compiler.substitutes(self.leaves.unpackings(step), origin)
        self._refuse_impure_inputs(step)
        recipe = self.recipe(step)
        inputs = self.closure(self.path(*need) for need in self.needs(step))
        sandbox = self.lock.sandbox_of(step)
        made = [
            found.path
            for found in sandbox.values()
            if found.drv_path is not None or found.path not in self.lock.sources
        ]
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
