"""Hashes of derivations modulo their inputs, and the output paths they yield. Pure.

A derivation is hashed as its own text in which each input derivation is
replaced by that derivation's hash, so that two ways to the same fixed output
hash alike::

    identity = base 16 of SHA-256(text with hashes for inputs)
             / base 16 of SHA-256("fixed:out:" method-algorithm ":" hash ":" path)
             / none, if the outputs or those of an input are known only after a build
    modulo   = SHA-256(text with hashes for inputs, outputs and their variables empty)
    path     = output path made from modulo

Texts are spliced from the bytes that were read and never printed again. A
graph is walked with a stack of its own, each derivation once.

Source: ``hashDerivationModulo`` and ``processDerivationOutputPaths``, Nix
``src/libstore/derivations.cc``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.nix import aterm
from nixbk.nix.derivation import DRV_SUFFIX, Derivation, DerivationError, DerivationKind
from nixbk.nix.store_path import StorePath, output_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NOT_KNOWN: Final = "are known only after a build"


class Hashes(NamedTuple):
    """What is known of one derivation.

    Attributes:
        identity: base 16, what stands for the derivation where it is an input;
            None if it is deferred.
        modulo: raw SHA-256 with the outputs masked, from which the output paths
            follow; None unless they do.
        outputs: the names of the outputs.
    """

    identity: str | None
    modulo: bytes | None
    outputs: frozenset[str]


class DerivationHasher:
    """Hashes a graph of derivations, each of them once.

    What *lookup* returns is believed to be the derivation at that path: `verify`
    is what proves it.

    Args:
        lookup: the derivation at a path; asked at most twice for each.
    """

    def __init__(self, lookup: Callable[[StorePath], Derivation]) -> None:
        self._lookup = lookup
        self._known: dict[StorePath, Hashes] = {}

    def hashes(self, path: StorePath) -> Hashes:
        """The hashes of the derivation at *path*.

        Raises:
            DerivationError: an input has no such output, or the graph has a cycle.

        Source: ``pathDerivationModulo``, Nix ``src/libstore/derivations.cc``.
        """
        self._walk(path, self._lookup)
        return self._known[path]

    def identity(self, path: StorePath) -> str | None:
        """What stands for the derivation at *path* as an input, if it is known."""
        return self.hashes(path).identity

    def output_paths(self, drv: Derivation) -> dict[str, StorePath]:
        """The paths that follow from the recipe, whatever it declares.

        Args:
            drv: any derivation; its inputs are looked up.

        Raises:
            DerivationError: the paths are known only after a build.

        Source: ``processDerivationOutputPaths``.
        """
        if drv.kind is DerivationKind.FIXED:
            return {name: o.fixed_path(drv.name, name) for name, o in drv.outputs.items()}
        if drv.kind in {DerivationKind.FLOATING, DerivationKind.IMPURE}:
            raise DerivationError(
                f"the output paths of the {drv.kind} derivation {drv.name!r} {_NOT_KNOWN}"
            )
        for path in drv.input_drvs:
            self._walk(path, self._lookup)
        modulo = self._hash(drv).modulo
        if modulo is None:
            raise DerivationError(
                f"the derivation {drv.name!r} depends on outputs whose paths {_NOT_KNOWN}"
            )
        return {name: output_path(drv.name, name, modulo) for name in drv.outputs}

    def check(self, drv: Derivation) -> None:
        """Refuse a derivation that declares other output paths than its own.

        A floating or impure derivation declares none, and passes.

        Raises:
            DerivationError: an output, or the variable of a fixed output, is wrong.

        Source: ``Derivation::checkInvariants``, Nix ``src/libstore/derivations.cc``.
        """
        for path in drv.input_drvs:
            self._walk(path, self._lookup)
        _check_outputs(drv, self._hash(drv).modulo)

    def add(self, path: StorePath, drv: Derivation) -> None:
        """Hash and `check` the derivation at *path*, whose inputs are all hashed already.

        Raises:
            DerivationError: as `check`, or an input is not hashed yet.
        """
        hashes = self._hash(drv)
        _check_outputs(drv, hashes.modulo)
        self._known[path] = hashes

    def _walk(self, root: StorePath, lookup: Callable[[StorePath], Derivation]) -> None:
        known = self._known
        stack = [root]
        entered: set[StorePath] = set()
        while stack:
            path = stack[-1]
            if path in known:
                stack.pop()
                continue
            drv = lookup(path)
            missing = [item for item in drv.input_drvs if item not in known]
            if not missing:
                known[path] = self._hash(drv)
                stack.pop()
            elif path in entered:
                raise DerivationError("the derivation depends on itself", where=str(path))
            else:
                entered.add(path)
                stack += missing

    def _hash(self, drv: Derivation) -> Hashes:
        """Source: ``hashDerivationModulo``, Nix ``src/libstore/derivations.cc``."""
        outputs = frozenset(drv.outputs)
        kind = drv.kind
        if kind is DerivationKind.FIXED:
            return Hashes(_fixed_identity(drv), None, outputs)
        inputs = self._inputs(drv)
        if inputs is None or kind not in {DerivationKind.INPUT_ADDRESSED, DerivationKind.DEFERRED}:
            return Hashes(None, None, outputs)
        modulo = hashlib.sha256(_masked(drv, inputs)).digest()
        if kind is DerivationKind.DEFERRED:
            return Hashes(None, modulo, outputs)
        return Hashes(_whole(drv, inputs).hexdigest(), modulo, outputs)

    def _inputs(self, drv: Derivation) -> bytes | None:
        """The input derivations with their hashes for paths; None if one is deferred."""
        if drv.dynamic:
            return None
        known = self._known
        wanted: dict[str, tuple[str, ...]] = {}
        for path, names in drv.input_drvs.items():
            hashes = known.get(path)
            if hashes is None:
                raise DerivationError(f"the input {str(path)!r} of {drv.name!r} is not known")
            if not hashes.outputs.issuperset(names):
                absent = next(name for name in names if name not in hashes.outputs)
                raise DerivationError(
                    f"{drv.name!r} needs the output {absent!r} of {str(path)!r}, which has none"
                )
            identity = hashes.identity
            if identity is None:
                return None
            if identity in wanted:
                names = tuple(sorted({*wanted[identity], *names}))  # noqa: PLW2901 (two paths, one hash)
            wanted[identity] = names
        return _entries(wanted)


class OutputHasher:
    """Hashes derivations as what is told of their outputs is named, whatever kind they have.

    ::

        static = base 16 of SHA-256(text with the static hashes of inputs, as what they are inputs)
        name   = base 16 of SHA-256(that text, outputs and their variables empty)

    Args:
        lookup: the derivation at a path; asked at most twice for each.

    Source: ``staticOutputHashes`` and ``hashDerivationModulo``, Nix 2.34
    ``src/libstore/derivations.cc``.
    """

    def __init__(self, lookup: Callable[[StorePath], Derivation]) -> None:
        self._lookup = lookup
        self._static: dict[StorePath, str | None] = {}

    def output_id(self, path: StorePath, name: str) -> str | None:
        """What an output of the derivation at *path* is called; None where nothing is told of it.

        Raises:
            DerivationError: the graph has a cycle.
        """
        drv = self._lookup(path)
        for item in drv.input_drvs:
            self._walk(item)
        inputs = self._inputs(drv)
        if inputs is None or drv.kind is DerivationKind.FIXED:
            return None
        return f"sha256:{hashlib.sha256(_masked(drv, inputs)).hexdigest()}!{name}"

    def _walk(self, root: StorePath) -> None:
        stack = [root]
        entered: set[StorePath] = set()
        while stack:
            path = stack[-1]
            if path in self._static:
                stack.pop()
                continue
            drv = self._lookup(path)
            missing = [item for item in drv.input_drvs if item not in self._static]
            if missing and drv.kind is not DerivationKind.FIXED:
                if path in entered:
                    raise DerivationError("the derivation depends on itself", where=str(path))
                entered.add(path)
                stack += missing
                continue
            self._static[path] = self._hash(drv)
            stack.pop()

    def _hash(self, drv: Derivation) -> str | None:
        if drv.kind is DerivationKind.FIXED:
            return _fixed_identity(drv)
        inputs = self._inputs(drv)
        if inputs is None or drv.kind is DerivationKind.IMPURE:
            return None
        return _whole(drv, inputs).hexdigest()

    def _inputs(self, drv: Derivation) -> bytes | None:
        """The inputs with their hashes for paths; None if one has none."""
        if drv.dynamic:
            return None
        wanted: dict[str, set[str]] = {}
        for path, names in drv.input_drvs.items():
            static = self._static[path]
            if static is None:
                return None
            wanted.setdefault(static, set()).update(names)
        return _entries({digest: tuple(sorted(names)) for digest, names in wanted.items()})


def verify(path: StorePath, data: bytes) -> Derivation:
    """The derivation in *data*, proven to be the one at *path*.

    Its declared output paths are not proven here: that takes its inputs.

    Raises:
        DerivationError: *data* is no derivation, or that of another path.
    """
    if not path.is_derivation:
        raise DerivationError(f"{str(path)!r} is no derivation")
    drv = Derivation.from_bytes(path.name.removesuffix(DRV_SUFFIX), data)
    actual = drv.path()
    if actual != path:
        raise DerivationError(
            f"the derivation hashes to {str(actual)!r}",
            where=str(path),
            hint="it was changed after it was made; lock again",
        )
    return drv


def load(
    roots: Iterable[StorePath], read: Callable[[StorePath], bytes]
) -> dict[StorePath, Derivation]:
    """Everything *roots* depend on, inputs first, all of it proven.

    Each text must hash to its path, and each declared output path must follow
    from the recipes. The order depends on the graph alone.

    Args:
        roots: paths of derivations.
        read: the content of a ``.drv`` file; asked once for each.

    Raises:
        DerivationError: a derivation is malformed, changed, or declares wrong outputs.
    """
    read_already: dict[StorePath, Derivation] = {}
    loaded: dict[StorePath, Derivation] = {}
    hasher = DerivationHasher(loaded.__getitem__)
    stack = sorted(set(roots), reverse=True)
    while stack:
        path = stack[-1]
        if path in loaded:
            stack.pop()
            continue
        drv = read_already.pop(path, None)
        if drv is None:
            drv = verify(path, read(path))
            missing = [item for item in drv.input_drvs if item not in loaded]
            if missing:
                read_already[path] = drv
                missing.reverse()
                stack += missing
                continue
        try:
            hasher.add(path, drv)
        except DerivationError as error:
            raise DerivationError(error.message, where=str(path), hint=error.hint) from error
        loaded[path] = drv
        stack.pop()
    return loaded


def _fixed_identity(drv: Derivation) -> str:
    output = drv.outputs["out"]
    text = f"fixed:out:{output.method_algorithm}:{output.hash}:{output.path}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _entries(wanted: Mapping[str, tuple[str, ...]]) -> bytes:
    """Inputs as a text has them, under hashes for paths."""
    entries = [f'("{digest}",{aterm.render_names(wanted[digest])})' for digest in sorted(wanted)]
    return f",[{','.join(entries)}]".encode("ascii")


def _whole(drv: Derivation, inputs: bytes) -> hashlib._Hash:
    """The hash of the text with hashes for inputs."""
    source = drv.source
    whole = hashlib.sha256(source.data[: source.outputs_end])
    whole.update(inputs)
    whole.update(source.data[source.inputs_end :])
    return whole


def _masked(drv: Derivation, inputs: bytes) -> bytes:
    """The text with hashes for inputs, and the paths of outputs and their variables empty."""
    source = drv.source
    outputs = ",".join(f'("{name}","","","")' for name in drv.outputs)
    parts = [f"Derive([{outputs}]".encode("ascii"), inputs]
    if drv.kind is DerivationKind.FLOATING:  # there are no paths
        parts[0] = source.data[: source.outputs_end]
    done = source.inputs_end
    for name in drv.outputs:
        span = aterm.find_variable(source, name)
        if span:
            start, end = span
            parts.append(source.data[done:start])
            done = end
    parts.append(source.data[done:])
    return b"".join(parts)


def _check_outputs(drv: Derivation, modulo: bytes | None) -> None:
    """Source: ``processDerivationOutputPaths``, Nix ``src/libstore/derivations.cc``."""
    kind = drv.kind
    for name, output in drv.outputs.items():
        if kind is DerivationKind.FIXED:
            right = str(output.fixed_path(drv.name, name))
            _check_variable(drv, name, right)
        elif kind is DerivationKind.INPUT_ADDRESSED:
            if modulo is None:
                raise DerivationError(
                    f"the output {name!r} has the path {output.path!r},"
                    " which cannot be known before the inputs are built"
                )
            right = str(output_path(drv.name, name, modulo))
        elif kind is DerivationKind.DEFERRED and modulo is not None:
            right = str(output_path(drv.name, name, modulo))
        else:
            continue
        if output.path != right:
            raise DerivationError(
                f"the output {name!r} has the path {output.path!r}, but should have {right!r}"
            )


def _check_variable(drv: Derivation, name: str, right: str) -> None:
    value = drv.env.get(name)
    if value != right:
        found = "is not set" if value is None else f"is {value!r}"
        raise DerivationError(f"the environment variable {name!r} {found}, but should be {right!r}")
