"""What is known of a lock: which step makes which store path, and what it refers to. Pure.

It remembers. The references of sources and substitutes are in the lock. Those of a derivation's
outputs are known once it was built, here or elsewhere at any earlier time. So are the paths of
floating outputs, and with them the *resolved* derivation that is built in place of one whose
inputs float.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.graph.closure import closure
from nixbk.nix.content_address import parse_content_address
from nixbk.nix.derivation import Derivation, DerivationKind
from nixbk.nix.resolution import has_placeholder, resolve, scratch_paths
from nixbk.nix.store_path import StorePath, fixed_output_path, output_path_name
from nixbk.planner.leaves import Leaves
from nixbk.planner.workshop import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nixbk.planner.leaves import Wanted
    from nixbk.planner.realisation import Realisation, RealisedOutput
    from nixbk.schema.lock import Lock, LockedImage, LockedInstallable, LockedPath

_FLOATING: Final = frozenset({DerivationKind.FLOATING, DerivationKind.IMPURE})


class RealisationChangedError(NixbkError):
    """A step left something else behind than what was known of it.

    Attributes:
        step: derivation path of the step.
    """

    def __init__(self, step: StorePath) -> None:
        super().__init__("the builder's cache holds another result", where=str(step))
        self.step = step


class Knowledge:
    """Steps, named by their derivation path or, for what is unpacked, by its own path.

    Attributes:
        lock: what it is about.
        leaves: the steps that unpack.
    """

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        self.leaves = Leaves(lock)
        self._realised: dict[StorePath, Realisation] = {}
        self._infos: dict[StorePath, RealisedOutput] = {}
        self._closures: dict[StorePath, frozenset[StorePath]] = {}
        self._producers: dict[StorePath, StorePath] = {}
        self._recipes: dict[StorePath, Recipe] = {}
        for drv_path in lock.derivations:
            for path in lock.outputs(drv_path).values():
                self._producers[path] = drv_path
        for step, info in self.leaves.infos():
            self._producers[info.path] = step
            self._infos[info.path] = info
        self._passing = self._find_passing()

    def producer(self, path: StorePath) -> StorePath:
        """The step that makes a store path."""
        return self._producers[path]

    def is_leaf(self, step: StorePath) -> bool:
        """Whether a step unpacks something instead of building a derivation."""
        return step in self.leaves

    def is_fetched(self, step: StorePath) -> bool:
        """Whether a step unpacks what a binary cache has."""
        return self.leaves.is_fetched(step)

    def realisation(self, drv_path: StorePath) -> Realisation | None:
        """What is known of a derivation's outputs, if anything is."""
        return self._realised.get(drv_path)

    def is_known(self, step: StorePath) -> bool:
        """Whether the references of everything a step makes are known."""
        return step in self._realised or self.is_leaf(step)

    def info(self, path: StorePath) -> RealisedOutput:
        """What is known of one store path."""
        return self._infos[path]

    def is_lasting(self, drv_path: StorePath) -> bool:
        """Whether a build of it is of use to later commands: it has no impure derivation in it."""
        return drv_path not in self._passing

    def outputs(self, step: StorePath) -> Mapping[str, StorePath]:
        """The store paths that a step makes, by output, as far as they are known by now."""
        if self.is_leaf(step):
            return self.leaves.outputs(step)
        known = self._realised.get(step)
        if known is not None:
            return {name: output.path for name, output in known.outputs.items()}
        derivation = self.lock.derivations[step]
        deferred = derivation.kind is DerivationKind.DEFERRED
        if deferred and all(map(self.is_known, self.lock.inputs_of(step))):
            return self.recipe(step).outputs
        return self.lock.outputs(step)

    def output(self, step: StorePath, name: str) -> StorePath | None:
        """The store path of one output, if it is known by now, whether it is built or not."""
        substitute = self.lock.substituted.get((step, name))
        return substitute if substitute is not None else self.outputs(step).get(name)

    def located(self, image: LockedImage) -> LockedImage:
        """*image* with all the store paths that are known by now."""
        return image._replace(
            installables=tuple(
                found._replace(paths={**found.paths, **self._selected(found)})
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

    def wanted(self, installable: LockedInstallable) -> Iterator[Wanted]:
        """The steps and outputs that an installable stands for."""
        drv_path = installable.drv_path
        for name in installable.outputs:
            if drv_path is None:
                yield self._of_path(installable.paths[name])
            else:
                yield self._of_output(drv_path, name)

    def needs(self, drv_path: StorePath) -> Iterator[Wanted]:
        """What a derivation names as its inputs, without their closures."""
        derivation = self.lock.derivations[drv_path]
        for path in (*derivation.input_srcs, *self.lock.substituted_inputs(drv_path)):
            yield self._of_path(path)
        for input_drv, names in self.lock.inputs_of(drv_path).items():
            for name in names:
                yield input_drv, name

    def beside(self, drv_path: StorePath) -> Iterator[Wanted]:
        """What the builder of a derivation finds that is no input of it."""
        for found in self.lock.sandbox_of(drv_path).values():
            yield self.placed(found)

    def placed(self, found: LockedPath) -> Wanted:
        """The step and output of something that builds find."""
        maker = self.lock.maker(found)
        return self._of_path(found.path) if maker is None else (maker, found.output)

    def below(self, drv_path: StorePath) -> tuple[StorePath, ...]:
        """The derivations that are built before a derivation is, as far as the lock tells."""
        inputs = tuple(self.lock.inputs_of(drv_path))
        if self.lock.locked_paths:
            steps = (step for step, _ in self.beside(drv_path))
            inputs = tuple(dict.fromkeys([*inputs, *(s for s in steps if not self.is_leaf(s))]))
        if not self._open:
            return inputs
        named = (step for step, _ in (*self.needs(drv_path), *self.beside(drv_path)))
        under = (drv for step in named for drv in self._open.get(step, ()))
        return tuple(dict.fromkeys([*inputs, *under]))

    def build_order(self, roots: Iterable[StorePath]) -> tuple[StorePath, ...]:
        """The derivations below *roots* (steps), inputs first."""
        found: set[StorePath] = set()
        for root in roots:
            if self.is_leaf(root):
                found.update(self._open.get(root, ()))
            else:
                found.add(root)
        return closure(found, self.below)

    def closure(self, paths: Iterable[StorePath]) -> frozenset[StorePath]:
        """Everything reachable from *paths* by references; all of it must be known."""
        found: set[StorePath] = set()
        for path in paths:
            if self._realised:
                found |= self._closure(path)
            else:
                self._follow(path, found, set())
        return frozenset(found)

    def known_closure(
        self, wanted: Iterable[Wanted]
    ) -> tuple[frozenset[StorePath], frozenset[StorePath]]:
        """The closure as far as it is known, and the steps at which knowledge ends."""
        known: set[StorePath] = set()
        unknown: set[StorePath] = set()
        for step, name in wanted:
            if not self.is_known(step):
                unknown.add(step)
            elif self._open or not self._realised:
                self._follow(self.path(step, name), known, unknown)
            else:
                known |= self._closure(self.path(step, name))
        return frozenset(known), frozenset(unknown)

    def path(self, step: StorePath, name: str) -> StorePath:
        """The path of an output that is known.

        Raises:
            NixbkError: there is no such output.
        """
        path = self.output(step, name)
        if path is None:
            raise NixbkError(f"the derivation has no output {name!r}", where=str(step))
        return path

    def _of_path(self, path: StorePath) -> Wanted:
        """The step and output of a source, a substitute, or a substitute that is lost."""
        if self.leaves.has(path):
            return self.leaves.wanted(path)
        drv_path = self._producers[path]
        names = self.lock.outputs(drv_path)
        return drv_path, next(name for name, output in names.items() if output == path)

    def _of_output(self, drv_path: StorePath, name: str) -> Wanted:
        substitute = self.lock.substituted.get((drv_path, name))
        return (drv_path, name) if substitute is None else self.leaves.wanted(substitute)

    @cached_property
    def _open(self) -> Mapping[StorePath, tuple[StorePath, ...]]:
        """By leaf, the derivations that make what it refers to, close or far; mostly there is none.

        A substitute that no cache has any more is built, while others still refer to it.
        """
        if not self.lock.substitutes:
            return {}
        leaves = {path: info for path, info in self._infos.items() if self.leaves.has(path)}
        if all(self.leaves.has(ref) for info in leaves.values() for ref in info.references):
            return {}
        found: dict[StorePath, dict[StorePath, None]] = {}
        refers = {path: info.references for path, info in leaves.items()}
        for path in closure(leaves, lambda path: refers.get(path, ())):
            if path in leaves:
                below = found.setdefault(self._producers[path], {})
                for ref in refers[path]:
                    maker = self._producers[ref]
                    below.update(found.get(maker, {}) if ref in leaves else {maker: None})
        return {step: tuple(drvs) for step, drvs in found.items() if drvs}

    def _follow(self, path: StorePath, known: set[StorePath], unknown: set[StorePath]) -> None:
        """Add what is reachable from *path*; only builds, and no lock, can turn in a circle."""
        pending = [path]
        while pending:
            current = pending.pop()
            if current in known:
                continue
            if current not in self._infos:
                unknown.add(self._producers[current])
                continue
            known.add(current)
            pending.extend(self._infos[current].references)

    def _selected(self, found: LockedInstallable) -> dict[str, StorePath]:
        if found.drv_path is None:
            return {}
        drv_path = found.drv_path
        known = {name: self.output(drv_path, name) for name in found.outputs}
        return {name: path for name, path in known.items() if path is not None}

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

    def _resolve(self, drv_path: StorePath) -> Recipe:
        derivation = self.lock.derivations[drv_path]
        floats = derivation.kind in _FLOATING
        inputs_float = any(
            not self.lock.derivations[item].kind.has_known_paths
            for item in self.lock.inputs_of(drv_path)
        ) or (derivation.is_fixed and has_placeholder(derivation, self.lock.substituted))
        if derivation.kind.has_known_paths and not derivation.dynamic and not inputs_float:
            return Recipe(drv_path, derivation, self.lock.outputs(drv_path))
        resolved = resolve(derivation, self.path, lambda maker, name: self.lock.made[maker, name])
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
        entered: set[StorePath] = set()
        while pending:
            current = pending[-1]
            if current in self._closures:
                pending.pop()
                continue
            references = [ref for ref in self._infos[current].references if ref != current]
            missing = [ref for ref in references if ref not in self._closures]
            if missing:
                if current in entered:
                    raise NixbkError("it refers to what refers to it", where=str(current))
                entered.add(current)
                pending.extend(missing)
                continue
            pending.pop()
            self._closures[current] = frozenset({current}).union(
                *(self._closures[ref] for ref in references)
            )
        return self._closures[path]


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
