"""What is fetched and what is built, as Nix decides it. Pure, but for whom it asks.

What is wanted is fetched if a cache has it with all that it refers to. Else it is built, and the
same is asked of the outputs that its derivation needs. So caches are asked for what could be
fetched, level by level, and recipes are read of what is built and of its inputs alone.

A cache that fails is no reason to build: where no other has the path, that is an error.

Source: ``DerivationGoal::haveDerivation`` and ``PathSubstitutionGoal``, Nix ``src/libstore/build``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from nixbk.errors import NixbkError
from nixbk.nix.derivation import DerivationError, DerivationKind
from nixbk.nix.store_path import StorePath
from nixbk.resolve.answers import Standing, as_substitute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nixbk.nix.derivation import Derivation
    from nixbk.resolve.answers import Fault
    from nixbk.resolve.caches.judge import Answer
    from nixbk.schema.lock import LockedSubstitute

_OPEN: Final = frozenset({DerivationKind.FLOATING, DerivationKind.DEFERRED})

Output = tuple[StorePath, str]
"""A derivation and one of its outputs."""


class Ask(Protocol):
    """Asks the caches."""

    def __call__(self, paths: Iterable[StorePath], /) -> Mapping[StorePath, tuple[Answer, ...]]:
        """What caches say of *paths* and of all that accepted answers refer to."""


class AskOutputs(Protocol):
    """Asks the caches what outputs came to whose paths do not follow from their recipes."""

    def outputs(self, ids: Iterable[str], /) -> Mapping[str, StorePath | NixbkError | None]:
        """By what outputs are called: the path, why it cannot be told, or None."""


class AskedCaches(Ask, AskOutputs, Protocol):
    """Asks the caches, and looks into what they have."""

    def look_into(
        self,
        substitutes: Mapping[StorePath, LockedSubstitute],
        old: Mapping[StorePath, LockedSubstitute],
    ) -> Mapping[StorePath, LockedSubstitute]:
        """*substitutes*, with the symbolic links among them told apart; *old* were so before."""


class Recipes(Protocol):
    """The derivations of a store."""

    def read(self, path: StorePath) -> Derivation:
        """The derivation at *path*, which hashes to it."""

    def make(self, drv_path: StorePath, output: str) -> StorePath:
        """What an output is that is a derivation itself."""


class Substitution(NamedTuple):
    """What is fetched and what is built.

    Attributes:
        derivations: what is built; with *fallback*, all recipes below the wishes.
        made: by derivation and output, the derivations that are outputs of others.
        substitutes: what is fetched, with all that it refers to; no sources.
        substituted: which of them stand for outputs.
        sources: what the derivations have as sources, and those that substitutes refer to.
        faults: of caches that others made up for.
    """

    derivations: dict[StorePath, Derivation]
    made: dict[Output, StorePath]
    substitutes: Mapping[StorePath, LockedSubstitute]
    substituted: dict[Output, StorePath]
    sources: frozenset[StorePath]
    faults: tuple[Fault, ...]


class UnavailableError(NixbkError):
    """No cache has a store path that is wanted by its name.

    Attributes:
        path: which.
    """

    def __init__(self, path: StorePath, missing: StorePath) -> None:
        what = f"no cache has '{path}'"
        if missing != path:
            what = f"no cache has '{missing}', which '{path}' needs"
        hint = "add a substituter that has it, or name the '.drv' that makes it"
        super().__init__(what, where=str(path), hint=hint)
        self.path = path


class FaultyCacheError(NixbkError):
    """A cache failed, and no other has the path.

    Attributes:
        fault: what is wrong.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message, where=f"substituters.{fault.substituter}", hint=fault.hint)
        self.fault = fault


def substitute(  # noqa: PLR0913 - the last two are choices
    outputs: Iterable[Output],
    paths: Iterable[StorePath],
    ask: Ask,
    recipes: Recipes,
    *,
    fallback: bool = False,
    open_outputs: AskOutputs | None = None,
) -> Substitution:
    """Decide what is fetched.

    Args:
        outputs: what is wanted of derivations.
        paths: what is wanted by its store path.
        ask: asks the caches.
        recipes: the derivations.
        fallback: whether the recipes of what is fetched are wanted, too. Then what has no path
            before it is built is built: of a recipe that is at hand, caches decide nothing.
        open_outputs: asks what such outputs came to; None to build them all.

    Raises:
        FaultyCacheError: a cache failed, and no other has the path.
        UnavailableError: one of *paths* is in no cache.
        NixbkError: a recipe cannot be read.
    """
    walk = _Walk(ask, recipes, None if fallback else open_outputs)
    roots, named = tuple(dict.fromkeys(outputs)), tuple(dict.fromkeys(paths))
    walk.run(roots, named)
    return _Harvest(walk, fallback=fallback).of(roots, named)


@dataclass
class _Walk:
    """What is known so far.

    Attributes:
        ask: asks the caches.
        recipes: the derivations of the store.
        open_outputs: asks what outputs came to; None to build those.
        read: those that were read.
        built: those that have to be built; with makers of derivations.
        makers: by output path, the derivations that it is wanted of.
        standing: what is fetched if it is wanted.
        made: the derivations that are outputs of others.
        realised: what outputs came to whose paths do not follow from their recipes.
        waiting: those of them that caches are to be asked for.
    """

    ask: Ask
    recipes: Recipes
    open_outputs: AskOutputs | None = None
    read: dict[StorePath, Derivation] = field(default_factory=dict)
    built: dict[StorePath, None] = field(default_factory=dict)
    makers: dict[StorePath, dict[StorePath, None]] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    made: dict[Output, StorePath] = field(default_factory=dict)
    realised: dict[Output, StorePath | None] = field(default_factory=dict)
    waiting: dict[Output, None] = field(default_factory=dict)

    def run(self, outputs: Sequence[Output], paths: Sequence[StorePath]) -> None:
        """Ask until all is known."""
        for drv_path, name in outputs:
            if self._want(drv_path, name):
                self._build(drv_path)
        wanted = list(paths)
        while True:
            while self.waiting:
                self._ask_outputs()
            new = [path for path in (*wanted, *self.makers) if path not in self.standing]
            if not new:
                break
            self.standing.add(self.ask(dict.fromkeys(new)))
            fault = self.standing.fatal()
            if fault is not None:
                raise FaultyCacheError(fault)
            self.standing.settle(self._sources())
            for path, makers in list(self.makers.items()):
                if path in self.standing and not self.standing.has(path):
                    for drv_path in makers:
                        self._build(drv_path)

    def recipe(self, path: StorePath) -> Derivation:
        """The derivation at *path*."""
        if path not in self.read:
            self.read[path] = self.recipes.read(path)
        return self.read[path]

    def _sources(self) -> set[StorePath]:
        """What recipes that were read have beside them, and so is there."""
        return {path for derivation in self.read.values() for path in derivation.input_srcs}

    def _want(self, drv_path: StorePath, name: str) -> bool:
        """An output is needed; whether its derivation has to be built for it."""
        derivation = self.recipe(drv_path)
        path = fetchable(derivation, name)
        if path is None and self.open_outputs is not None and is_open(derivation, name):
            if (drv_path, name) not in self.realised:
                self.waiting[drv_path, name] = None
                return False
            path = self.realised[drv_path, name]
        if path is None or (path in self.standing and not self.standing.has(path)):
            return True
        self.makers.setdefault(path, {})[drv_path] = None
        return False

    def _ask_outputs(self) -> None:
        """Ask what outputs came to, which are wanted from then on, or built."""
        from nixbk.nix.derivation_hash import OutputHasher  # noqa: PLC0415 - few locks have any

        wanted = list(self.waiting)
        self.waiting.clear()
        hasher = OutputHasher(self.recipe)
        ids = {key: hasher.output_id(*key) for key in wanted}
        assert self.open_outputs is not None  # noqa: S101 - nothing waits otherwise
        told = self.open_outputs.outputs(name for name in ids.values() if name is not None)
        for key in wanted:
            found = told.get(ids[key] or "")
            if isinstance(found, NixbkError):
                raise FaultyCacheError(_fault(key, found))
            self.realised[key] = found
            if self._want(*key):
                self._build(key[0])

    def _build(self, root: StorePath) -> None:
        work = [root]
        while work:
            drv_path = work.pop()
            if drv_path in self.built:
                continue
            self.built[drv_path] = None
            derivation = self.recipe(drv_path)
            for item, names in derivation.input_drvs.items():
                work += [item for name in names if self._want(item, name)]
            for need in derivation.dynamic:
                place = need.path
                for name in need.chain:
                    work.append(place)
                    place = self.product(place, name)
                work.append(place)

    def product(self, maker: StorePath, name: str) -> StorePath:
        """The derivation that is an output of another."""
        if (maker, name) not in self.made:
            self.made[maker, name] = self.recipes.make(maker, name)
        return self.made[maker, name]


def fetchable(derivation: Derivation, name: str) -> StorePath | None:
    """The path of an output that a cache may have; None for one that is always built.

    Source: ``DerivationGoal::haveDerivation`` and ``DerivationOptions::substitutesAllowed``.
    """
    from nixbk.nix.options import derivation_options  # noqa: PLC0415 - not for store paths

    output = derivation.outputs.get(name)
    if output is None or not output.path:
        return None
    try:
        if not derivation_options(derivation).allow_substitutes:
            return None
    except DerivationError:
        return None  # whoever builds it says what is wrong
    return StorePath.parse(output.path)


def is_open(derivation: Derivation, name: str) -> bool:
    """Whether a cache may know what an output came to, though its recipe does not tell.

    Source: ``DerivationGoal::haveDerivation`` and ``DerivationOptions::substitutesAllowed``.
    """
    from nixbk.nix.options import derivation_options  # noqa: PLC0415 - few locks have any

    if derivation.kind not in _OPEN or name not in derivation.outputs or derivation.dynamic:
        return False
    try:
        return derivation_options(derivation).allow_substitutes
    except DerivationError:
        return False  # whoever builds it says what is wrong


def _fault(key: Output, error: NixbkError) -> Fault:
    from nixbk.resolve.answers import RETRY, Fault  # noqa: PLC0415 - of a failure

    drv_path, name = key
    message = f"about '{drv_path}^{name}', {error.where!r} says nothing: {error.message}"
    return Fault(error.where or "", drv_path, message, error.hint or RETRY)


class _Harvest:
    """What of a walk is needed in the end."""

    def __init__(self, walk: _Walk, *, fallback: bool) -> None:
        self._walk = walk
        self._fallback = fallback

    def of(self, outputs: Sequence[Output], paths: Sequence[StorePath]) -> Substitution:
        """What is needed for the wishes."""
        standing = self._walk.standing
        for path in paths:
            if not standing.has(path):
                raise _unavailable(standing, path)
        fetched = {path for path in self._walk.makers if standing.has(path)}
        taken = standing.closure((*fetched, *paths))
        needed, derivations = self._needed(outputs, taken)
        own_paths = {key: self._path(key) for key in needed}
        substituted = {
            key: path for key, path in own_paths.items() if path is not None and path in taken
        }
        roots = {*substituted.values(), *paths}
        own = {path for derivation in derivations.values() for path in derivation.input_srcs}
        sources = own - roots
        closure = standing.closure(roots, sources)
        substitutes = {
            path: as_substitute(standing.answers(path)) for path in sorted(closure, key=str)
        }
        sources |= {r for s in substitutes.values() for r in s.references} - substitutes.keys()
        return Substitution(
            derivations,
            self._walk.made,
            substitutes,
            substituted,
            frozenset(sources),
            tuple(standing.faults()),
        )

    def _path(self, key: Output) -> StorePath | None:
        if key in self._walk.realised:
            return None if key[0] in self._walk.built else self._walk.realised[key]
        derivation = self._walk.recipe(key[0])
        output = derivation.outputs.get(key[1])
        return StorePath.parse(output.path) if output is not None and output.path else None

    def _needed(
        self, outputs: Sequence[Output], taken: set[StorePath]
    ) -> tuple[dict[Output, None], dict[StorePath, Derivation]]:
        """The outputs that are needed, and the derivations that are kept, inputs first."""
        needed: dict[Output, None] = dict.fromkeys(outputs)
        kept: dict[StorePath, Derivation] = {}
        work = [key[0] for key in outputs if self._is_kept(key, taken)]
        while work:
            drv_path = work.pop()
            if drv_path in kept:
                continue
            derivation = kept[drv_path] = self._walk.recipe(drv_path)
            for key, is_maker in self._inputs(derivation):
                if not is_maker:
                    needed[key] = None
                if is_maker or self._is_kept(key, taken):
                    work.append(key[0])
        return needed, kept

    def _inputs(self, derivation: Derivation) -> Iterator[tuple[Output, bool]]:
        """The outputs that a derivation needs, and whether they are derivations themselves."""
        for item, names in derivation.input_drvs.items():
            yield from (((item, name), False) for name in names)
        for need in derivation.dynamic:
            place = need.path
            for name in need.chain:
                yield (place, name), True
                place = self._walk.product(place, name)
            yield (place, need.output), False

    def _is_kept(self, key: Output, taken: set[StorePath]) -> bool:
        return self._fallback or self._path(key) not in taken


def _unavailable(standing: Standing, path: StorePath) -> UnavailableError:
    missing = next(standing.missing(path), path)
    return UnavailableError(path, missing)
