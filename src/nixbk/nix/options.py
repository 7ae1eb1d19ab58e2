"""What a derivation asks of whoever builds it. Pure.

The same options are spelled in two ways: as environment variables, whose lists
are words between spaces, and as structured attributes, which are JSON.

Source: ``derivationOptionsFromStructuredAttrs``, Nix
``src/libstore/derivation-options.cc``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from nixbk.nix.aterm import to_bytes
from nixbk.nix.derivation import Derivation, DerivationError
from nixbk.nix.store_path import STORE_DIR, StorePath, StorePathError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WORD: Final = re.compile(r"[^ \t\n\r]+")
_GRAPH_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_MAX_SIZE: Final = 1 << 64


class OutputChecks(NamedTuple):
    """What may be said of one output once it is built.

    An entry is the full text of a store path or the name of an output.

    Attributes:
        allowed_references: all that may be referred to; None: anything.
        allowed_requisites: all that the closure may hold; None: anything.
        disallowed_references: what must not be referred to.
        disallowed_requisites: what the closure must not hold.
        max_size_bytes: limit of the NAR size.
        max_closure_size_bytes: limit of the closure's NAR sizes together.
        ignore_self_refs: whether an output may be in its own closure, whatever
            the two rules on requisites say.

    Source: ``DerivationOptions::OutputChecks``, Nix
        ``src/libstore/include/nix/store/derivation-options.hh``.
    """

    allowed_references: tuple[str, ...] | None = None
    allowed_requisites: tuple[str, ...] | None = None
    disallowed_references: tuple[str, ...] = ()
    disallowed_requisites: tuple[str, ...] = ()
    max_size_bytes: int | None = None
    max_closure_size_bytes: int | None = None
    ignore_self_refs: bool = False


class DerivationOptions(NamedTuple):
    """The options of one derivation.

    Attributes:
        output_checks: by output; outputs that nothing is asked of are left out.
        unsafe_discard_references: outputs whose references are not looked for.
        pass_as_file: environment variables handed over as files.
        export_references_graph: by file or attribute name, whose closures.
        impure_env_vars: variables a fixed-output build inherits.
        required_system_features: such as ``kvm``.
        no_chroot: whether the build asks to run without a sandbox.
        prefer_local_build: whether building beats fetching.
        allow_substitutes: whether the outputs may be fetched at all.

    Source: ``DerivationOptions``.
    """

    output_checks: dict[str, OutputChecks]
    unsafe_discard_references: tuple[str, ...]
    pass_as_file: frozenset[str]
    export_references_graph: dict[str, tuple[StorePath, ...]]
    impure_env_vars: tuple[str, ...]
    required_system_features: tuple[str, ...]
    no_chroot: bool
    prefer_local_build: bool
    allow_substitutes: bool


def derivation_options(drv: Derivation) -> DerivationOptions:
    """Read the options of *drv*.

    Raises:
        DerivationError: an option has a wrong shape.
    """
    attrs = drv.structured_attrs
    asked = _Asked(drv.env, attrs)
    if attrs is None:
        checks = _checks_from_env(drv)
        graphs = _graphs_from_env(drv.env.get("exportReferencesGraph", ""))
        pass_as_file = frozenset(_words(drv.env.get("passAsFile", "")))
        discarded: tuple[str, ...] = ()
    else:
        checks = _checks_from_attrs(drv, attrs)
        graphs = _graphs_from_attrs(attrs.get("exportReferencesGraph"))
        pass_as_file = frozenset()
        discards = _object(attrs.get("unsafeDiscardReferences", {}), "unsafeDiscardReferences")
        discarded = tuple(
            name
            for name in sorted(discards)
            if _bool(discards[name], f"unsafeDiscardReferences.{name}")
        )
    return DerivationOptions(
        output_checks=checks,
        unsafe_discard_references=discarded,
        pass_as_file=pass_as_file,
        export_references_graph=graphs,
        impure_env_vars=asked.strings("impureEnvVars"),
        required_system_features=asked.strings("requiredSystemFeatures"),
        no_chroot=asked.flag("__noChroot", default=False),
        prefer_local_build=asked.flag("preferLocalBuild", default=False),
        allow_substitutes=asked.flag("allowSubstitutes", default=True),
    )


class SpecialWishes(NamedTuple):
    """What a derivation asks of the machine that builds it.

    Attributes:
        required_system_features: such as ``kvm``.
        no_chroot: whether the build asks to run without a sandbox.
    """

    required_system_features: tuple[str, ...]
    no_chroot: bool


def special_wishes(drv: Derivation) -> SpecialWishes:
    """What *drv* asks of its machine; it need not be resolved.

    Raises:
        DerivationError: an option has a wrong shape.
    """
    asked = _Asked(drv.env, drv.structured_attrs)
    return SpecialWishes(
        asked.strings("requiredSystemFeatures"), asked.flag("__noChroot", default=False)
    )


def output_checks(drv: Derivation) -> dict[str, OutputChecks]:
    """What is asked of the outputs of *drv*, by name.

    Raises:
        DerivationError: a check has a wrong shape.
    """
    attrs = drv.structured_attrs
    return _checks_from_env(drv) if attrs is None else _checks_from_attrs(drv, attrs)


class _Asked(NamedTuple):
    """An option by its name, in the environment or the structured attributes."""

    env: Mapping[str, str]
    attrs: Mapping[str, Any] | None

    def strings(self, name: str) -> tuple[str, ...]:
        if self.attrs is None:
            return _sorted(_words(self.env.get(name, "")))
        return _sorted(_strings(self.attrs.get(name, []), name))

    def flag(self, name: str, *, default: bool) -> bool:
        if self.attrs is None:
            return self.env[name] == "1" if name in self.env else default
        return _bool(self.attrs.get(name, default), name)


def _checks_from_env(drv: Derivation) -> dict[str, OutputChecks]:
    def entries(name: str) -> tuple[str, ...] | None:
        text = drv.env.get(name)
        return None if text is None else _sorted(map(_entry, _words(text)))

    checks = OutputChecks(
        allowed_references=entries("allowedReferences"),
        allowed_requisites=entries("allowedRequisites"),
        disallowed_references=entries("disallowedReferences") or (),
        disallowed_requisites=entries("disallowedRequisites") or (),
        ignore_self_refs=True,
    )
    if checks == OutputChecks(ignore_self_refs=True):
        return {}
    return dict.fromkeys(drv.outputs, checks)


def _checks_from_attrs(drv: Derivation, attrs: Mapping[str, Any]) -> dict[str, OutputChecks]:
    by_output = _object(attrs.get("outputChecks", {}), "outputChecks")
    checks = {name: _checks_of(name, by_output[name]) for name in sorted(by_output)}
    return {
        name: checks[name]
        for name in drv.outputs
        if name in checks and checks[name] != OutputChecks()
    }


def _checks_of(output: str, value: object) -> OutputChecks:
    where = f"outputChecks.{output}"
    rules = _object(value, where)

    def entries(name: str) -> tuple[str, ...] | None:
        if name not in rules:
            return None
        return _sorted(map(_entry, _strings(rules[name], f"{where}.{name}")))

    def size(name: str) -> int | None:
        return _size(rules[name], f"{where}.{name}") if name in rules else None

    return OutputChecks(
        allowed_references=entries("allowedReferences"),
        allowed_requisites=entries("allowedRequisites"),
        disallowed_references=entries("disallowedReferences") or (),
        disallowed_requisites=entries("disallowedRequisites") or (),
        max_size_bytes=size("maxSize"),
        max_closure_size_bytes=size("maxClosureSize"),
    )


def _graphs_from_env(text: str) -> dict[str, tuple[StorePath, ...]]:
    words = _words(text)
    if len(words) % 2:
        raise DerivationError(f"exportReferencesGraph has an odd number of words: {text!r}")
    graphs: dict[str, tuple[StorePath, ...]] = {}
    for name, path in zip(words[::2], words[1::2], strict=True):
        if not _GRAPH_NAME.fullmatch(name):
            raise DerivationError(f"exportReferencesGraph has the bad file name {name!r}")
        graphs[name] = (_path_of(path),)
    return graphs


def _graphs_from_attrs(value: object) -> dict[str, tuple[StorePath, ...]]:
    if not isinstance(value, dict):
        return {}  # Nix only warns, too.
    return {
        name: tuple(sorted({_path_of(text) for text in _flat_strings(value[name])}))
        for name in sorted(value)
    }


def _flat_strings(value: object) -> list[str]:
    found: list[str] = []
    stack = [value]
    while stack:
        match stack.pop():
            case str() as text:
                found.append(text)
            case list() as items:
                stack += items
            case other:
                raise DerivationError(f"exportReferencesGraph holds {other!r}, no string or list")
    return found


def _path_of(text: str) -> StorePath:
    """The store path that *text* is, or is below of. Source: ``StoreDirConfig::toStorePath``."""
    prefix = STORE_DIR + "/"
    if not text.startswith(prefix):
        raise DerivationError(f"the path {text!r} is not in the Nix store")
    try:
        return StorePath.parse(prefix + text.removeprefix(prefix).partition("/")[0])
    except StorePathError as error:
        raise DerivationError(error.message) from error


def _entry(text: str) -> str:
    """A store path in its one spelling, or the name of an output as it is."""
    if not text.startswith("/"):
        return text
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    try:
        return str(StorePath.parse("/" + "/".join(parts)))
    except StorePathError:
        return text


def _words(text: str) -> list[str]:
    """Source: ``tokenizeString``, Nix ``src/libutil/strings.cc``."""
    return _WORD.findall(text)


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts), key=to_bytes))


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DerivationError(f"the structured attribute {where!r} is no object")
    return cast("dict[str, Any]", value)


def _strings(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DerivationError(f"the structured attribute {where!r} is no list of strings")
    return cast("list[str]", value)


def _bool(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise DerivationError(f"the structured attribute {where!r} is neither true nor false")
    return value


def _size(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_SIZE:
        raise DerivationError(f"the structured attribute {where!r} is no size in bytes")
    return int(value)
