"""Derivations: what Nix builds, as their ``.drv`` file says it. Pure.

The text format is in `nixbk.nix.aterm`. Beyond it, the outputs of a derivation
are all of one kind::

    kind             path  method-algorithm  hash
    input-addressed  yes   ""                ""
    fixed            yes   yes               base 16      ; one, named "out"
    floating         ""    yes               ""           ; content-addressed
    deferred         ""    ""                ""           ; waits for a floating input
    impure           ""    yes               "impure"

    method-algorithm = ["r:" / "text:" / "git:"] algorithm

Source: ``Derivation`` and ``BasicDerivation::type``, Nix
``src/libstore/derivations.cc``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nixbk.nix import aterm, structured_attrs
from nixbk.nix.aterm import DerivationError
from nixbk.nix.hashes import Hash, HashAlgorithm, HashError
from nixbk.nix.store_path import (
    IngestionMethod,
    StorePath,
    StorePathError,
    check_name,
    fixed_output_path,
    output_path_name,
    text_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Derivation", "DerivationError", "DerivationKind", "DerivationOutput", "DynamicInput"]

DRV_SUFFIX: Final = ".drv"

_METHODS: Final[dict[str, IngestionMethod]] = {
    "": "flat",
    "r": "nar",
    "text": "text",
    "git": "git",
}
_BASE16: Final = re.compile(r"[0-9a-f]+")


class DerivationKind(StrEnum):
    """How the output paths of a derivation come about.

    Source: ``DerivationType``, Nix ``src/libstore/derivations.hh``.
    """

    INPUT_ADDRESSED = "input-addressed"
    FIXED = "fixed"
    FLOATING = "floating"
    DEFERRED = "deferred"
    IMPURE = "impure"

    @property
    def has_known_paths(self) -> bool:
        """Whether the output paths are known before the build."""
        return self in {DerivationKind.INPUT_ADDRESSED, DerivationKind.FIXED}


@dataclass(frozen=True, slots=True)
class DerivationOutput:
    """One output as the ``.drv`` file has it; valid once built.

    Whether a fixed path follows from its hash is left to the derivation hasher,
    since it depends on the derivation's name.

    Attributes:
        path: full store path, or empty when it is known only after the build.
        method_algorithm: such as ``r:sha256``, or empty.
        hash: base 16, ``impure``, or empty.

    Raises:
        DerivationError: the three do not go together.

    Source: ``parseDerivationOutput``, Nix ``src/libstore/derivations.cc``.
    """

    path: str = ""
    method_algorithm: str = ""
    hash: str = ""

    def __post_init__(self) -> None:
        if self.path:
            try:
                StorePath.parse(self.path)
            except StorePathError as error:
                raise DerivationError(error.message) from error
        if self.method_algorithm:
            _, algorithm = _method_algorithm(self.method_algorithm)
            if self.hash in {"", "impure"}:
                if self.path:
                    raise DerivationError(
                        f"a content-addressed output cannot have the path {self.path!r}"
                    )
            elif len(self.hash) != 2 * algorithm.size_bytes or not _BASE16.fullmatch(self.hash):
                raise DerivationError(f"the hash {self.hash!r} is no base-16 {algorithm} hash")
            elif not self.path:
                raise DerivationError("a fixed output has no path")
        elif self.hash:
            raise DerivationError(f"the hash {self.hash!r} has no algorithm")

    @property
    def kind(self) -> DerivationKind:
        """Which of the five kinds this output is."""
        if not self.method_algorithm:
            return DerivationKind.INPUT_ADDRESSED if self.path else DerivationKind.DEFERRED
        if self.path:
            return DerivationKind.FIXED
        return DerivationKind.IMPURE if self.hash else DerivationKind.FLOATING

    @property
    def is_fixed(self) -> bool:
        """Whether the content's hash is known beforehand."""
        return self.kind is DerivationKind.FIXED

    @property
    def is_floating(self) -> bool:
        """Whether the path follows from content that only the build yields."""
        return self.kind is DerivationKind.FLOATING

    @property
    def method(self) -> IngestionMethod | None:
        """How content is hashed, if the output is content-addressed."""
        return _method_algorithm(self.method_algorithm)[0] if self.method_algorithm else None

    @property
    def algorithm(self) -> HashAlgorithm | None:
        """What content is hashed with, if the output is content-addressed."""
        return _method_algorithm(self.method_algorithm)[1] if self.method_algorithm else None

    @property
    def content_hash(self) -> Hash | None:
        """What the content of a fixed output must hash to."""
        if not self.is_fixed:
            return None
        algorithm = _method_algorithm(self.method_algorithm)[1]
        return Hash(algorithm, bytes.fromhex(self.hash))

    def fixed_path(self, drv_name: str, output_name: str) -> StorePath:
        """The path that follows from the hash of a fixed output.

        Raises:
            DerivationError: the output is not fixed, or can have no such path.

        Source: ``DerivationOutput::CAFixed::path``.
        """
        content, method = self.content_hash, self.method
        if content is None or method is None:
            raise DerivationError(f"the output {output_name!r} is not fixed")
        try:
            return fixed_output_path(output_path_name(drv_name, output_name), content, method)
        except StorePathError as error:
            raise DerivationError(error.message) from error


@lru_cache(maxsize=64)
def _method_algorithm(text: str) -> tuple[IngestionMethod, HashAlgorithm]:
    prefix, _, algorithm = text.rpartition(":")
    if prefix not in _METHODS or text.startswith(":"):
        raise DerivationError(f"unknown content-addressing method {text!r}")
    try:
        return _METHODS[prefix], HashAlgorithm.parse(algorithm)
    except HashError as error:
        raise DerivationError(error.message, hint=error.hint) from error


class DynamicInput(NamedTuple):
    """An output of a derivation that is itself an output.

    Attributes:
        path: the derivation that is at hand.
        chain: the outputs that lead from one derivation to the next.
        output: what is needed of the last.
    """

    path: StorePath
    chain: tuple[str, ...]
    output: str


@dataclass(frozen=True, slots=True)
class Derivation:
    """One build recipe; valid once built, its parts in the order Nix prints them.

    Attributes:
        name: the derivation's name, without ``.drv``.
        outputs: at least one, by name, all of one kind.
        input_drvs: the derivations whose outputs are needed, and which outputs.
        input_srcs: the store paths needed that no derivation makes.
        system: such as ``x86_64-linux`` or ``builtin``.
        builder: the program, or ``builtin:<name>``.
        args: its arguments.
        env: its environment; ``__json`` holds structured attributes as text.
        dynamic: outputs that are needed of derivations that others make. Their makers are in
            *input_drvs*, too. Only what was read from a file has any.
        source: the text of the file and where its parts are.

    Raises:
        DerivationError: a field breaks its rule.

    Source: ``Derivation``, Nix ``src/libstore/derivations.hh``.
    """

    name: str
    outputs: dict[str, DerivationOutput]
    input_drvs: dict[StorePath, tuple[str, ...]]
    input_srcs: tuple[StorePath, ...]
    system: str
    builder: str
    args: tuple[str, ...]
    env: dict[str, str]
    dynamic: tuple[DynamicInput, ...] = field(init=False, default=())
    source: aterm.Source = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        normal = aterm.normal
        env = {normal(name): normal(value) for name, value in self.env.items()}
        store = object.__setattr__
        store(self, "outputs", {name: self.outputs[name] for name in sorted(self.outputs)})
        store(
            self,
            "input_drvs",
            {path: tuple(sorted(set(self.input_drvs[path]))) for path in sorted(self.input_drvs)},
        )
        store(self, "input_srcs", tuple(sorted(set(self.input_srcs))))
        store(self, "system", normal(self.system))
        store(self, "builder", normal(self.builder))
        store(self, "args", tuple(map(normal, self.args)))
        store(self, "env", {name: env[name] for name in sorted(env, key=aterm.to_bytes)})
        for names in (self.outputs, *self.input_drvs.values()):
            _check_names(names)
        if set(self.system) & {'"', "\\"}:
            raise DerivationError(f"{self.system!r} is no name of a system")
        store(self, "source", aterm.render(self._fields(), self.env))
        _check(self)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Read the environment from the text when it is asked for."""
            if name != "env":
                raise AttributeError(name)
            env = aterm.read_env(self.source)
            object.__setattr__(self, "env", env)
            return env

    @staticmethod
    def from_bytes(name: str, data: bytes) -> Derivation:
        """Read a ``.drv`` file; the inverse of `to_bytes`.

        Args:
            name: the derivation's name, which its file name says: ``hello-2.10``
                of ``/nix/store/<digest>-hello-2.10.drv``.
            data: the file's content.

        Raises:
            DerivationError: *data* is not what Nix would print of a derivation.
        """
        try:
            fields, source = aterm.parse(data)
            drv = object.__new__(Derivation)
            store = object.__setattr__
            store(drv, "name", name)
            store(drv, "outputs", {n: DerivationOutput(*o) for n, o in fields.outputs.items()})
            inputs = {StorePath.parse(path): names for path, names in fields.inputs.items()}
            store(drv, "input_drvs", inputs)
            store(drv, "input_srcs", tuple(map(StorePath.parse, fields.sources)))
            store(drv, "system", fields.system)
            store(drv, "builder", fields.builder)
            store(drv, "args", fields.args)
            dynamic = [DynamicInput(StorePath.parse(p), c, n) for p, c, n in fields.dynamic]
            store(drv, "dynamic", tuple(dynamic))
            store(drv, "source", source)
            _check(drv)
        except (DerivationError, StorePathError) as error:
            raise DerivationError(
                error.message, where=f"derivation {name!r}", hint=error.hint
            ) from error
        return drv

    def to_bytes(self) -> bytes:
        """The ``.drv`` file's content, byte for byte as Nix writes it."""
        return self.source.data

    def path(self) -> StorePath:
        """The store path of the ``.drv`` file itself.

        Source: ``computeStorePath``, Nix ``src/libstore/derivations.cc``.
        """
        references = (*self.input_drvs, *self.input_srcs)
        return text_path(self.name + DRV_SUFFIX, self.source.data, references)

    @property
    def kind(self) -> DerivationKind:
        """The kind all its outputs are of."""
        return next(iter(self.outputs.values())).kind

    @property
    def is_fixed(self) -> bool:
        """Whether its output's hash is known beforehand, so that it may use the network."""
        return self.kind is DerivationKind.FIXED

    @property
    def has_network(self) -> bool:
        """Whether its builder may use the network.

        Source: ``DerivationType::isSandboxed``, Nix ``src/libstore/derivations.cc``.
        """
        return self.kind in {DerivationKind.FIXED, DerivationKind.IMPURE}

    @property
    def is_builtin(self) -> bool:
        """Whether Nix itself is the builder.

        Source: ``BasicDerivation::isBuiltin``.
        """
        return self.builder.startswith("builtin:")

    @property
    def structured_attrs(self) -> dict[str, Any] | None:
        """The structured attributes, read anew at each use; None without any.

        Raises:
            DerivationError: ``__json`` is no JSON object.

        Source: ``StructuredAttrs::tryExtract``, Nix ``src/libstore/parsed-derivations.cc``.
        """
        text = self.env.get(structured_attrs.ENV_VAR)
        return None if text is None else structured_attrs.parse(text)

    def _fields(self) -> aterm.Fields:
        return aterm.Fields(
            outputs={n: (o.path, o.method_algorithm, o.hash) for n, o in self.outputs.items()},
            inputs={str(path): names for path, names in self.input_drvs.items()},
            sources=[str(path) for path in self.input_srcs],
            system=self.system,
            builder=self.builder,
            args=self.args,
        )


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        try:
            check_name(name)
        except StorePathError as error:
            raise DerivationError(f"{name!r} is no output name: {error.message}") from error


def _check(drv: Derivation) -> None:
    """Check what the text format leaves open."""
    try:
        check_name(drv.name + DRV_SUFFIX)
    except StorePathError as error:
        raise DerivationError(error.message) from error
    for path, names in drv.input_drvs.items():
        if not path.name.endswith(DRV_SUFFIX):
            raise DerivationError(f"the input {str(path)!r} is no derivation")
        if not names and all(path != found.path for found in drv.dynamic):
            raise DerivationError(f"no output of the input {str(path)!r} is asked for")
    _check_outputs(drv.outputs)


def _check_outputs(outputs: Mapping[str, DerivationOutput]) -> None:
    """Source: ``BasicDerivation::type``, Nix ``src/libstore/derivations.cc``."""
    if not outputs:
        raise DerivationError("a derivation must have at least one output")
    kinds = {output.kind for output in outputs.values()}
    if kinds == {DerivationKind.INPUT_ADDRESSED}:
        return
    if len(kinds) > 1:
        raise DerivationError(
            f"a derivation cannot mix outputs of the kinds {', '.join(sorted(kinds))}"
        )
    if kinds == {DerivationKind.FIXED} and set(outputs) != {"out"}:
        raise DerivationError("a fixed-output derivation must have one output, named 'out'")
    if kinds == {DerivationKind.FLOATING}:
        algorithms = {_method_algorithm(o.method_algorithm)[1] for o in outputs.values()}
        if len(algorithms) > 1:
            raise DerivationError("all floating outputs must use the same hash algorithm")
