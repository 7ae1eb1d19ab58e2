"""What the helper is told: one JSON document for each step. Pure.

The document travels in the variable ``NIXBK_STEP``. A variable may hold 128 KiB at most
(``MAX_ARG_STRLEN`` of Linux), so a longer document goes on in ``NIXBK_STEP_1`` and so on, and one
too long for any environment becomes a file, ``/.nixbk/step.json``.

Everything in the document is part of the step's cache key. What must not be (core counts,
timeouts) is said in :func:`run_settings`, whose text rides in a proxy variable, which BuildKit
leaves out of its keys.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.errors import NixbkError
from nixbk.nix.derivation import DerivationKind
from nixbk.planner.realisation import byte_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixbk.nix.derivation import Derivation
    from nixbk.nix.environment import BuildEnvironment, OutputChecks
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.leaves import Unpacking
    from nixbk.planner.realisation import RealisedOutput
    from nixbk.schema.lock import LockedSource

STEP_VERSION: Final = 1
CHUNK_CHARACTERS: Final = 100_000
ENVIRONMENT_CHARACTERS: Final = 1_000_000
SYSTEM_FEATURES: Final = frozenset({"benchmark", "big-parallel", "ca-derivations", "nixos-test"})
"""What Nix grants on every Linux. Source: ``Settings::getDefaultSystemFeatures``."""


class UnsupportedDerivationError(NixbkError):
    """A derivation asks for something nixbk cannot give."""


class StepDocument(NamedTuple):
    """A step as it is handed to the helper.

    Attributes:
        environment: ``NAME=value`` strings, empty when the document is a file.
        file: the document's bytes when it is too long for an environment, else empty.
    """

    environment: tuple[str, ...]
    file: bytes = b""

    @classmethod
    def of(cls, kind: str, fields: Mapping[str, object]) -> StepDocument:
        """The document of a step of *kind*; absent and empty fields are left out."""
        present = {name: value for name, value in fields.items() if value not in (None, {}, [], "")}
        text = json.dumps(
            {"version": STEP_VERSION, "kind": kind, **present},
            sort_keys=True,
            separators=(",", ":"),
        )
        if len(text) > ENVIRONMENT_CHARACTERS:
            return cls((), text.encode())
        chunks = [text[i : i + CHUNK_CHARACTERS] for i in range(0, len(text), CHUNK_CHARACTERS)]
        names = ["NIXBK_STEP", *(f"NIXBK_STEP_{i}" for i in range(1, len(chunks)))]
        return cls(tuple(f"{name}={chunk}" for name, chunk in zip(names, chunks, strict=True)))


def build_document(  # noqa: PLR0913  two of them by name
    derivation: Derivation,
    outputs: Mapping[str, StorePath],
    environment: BuildEnvironment,
    inputs: Sequence[RealisedOutput],
    *,
    hidden: Sequence[RealisedOutput] = (),
    keep_failed: bool = False,
) -> StepDocument:
    """The step that runs a derivation's own builder, or one of Nix's.

    Args:
        derivation: the recipe, resolved.
        outputs: where its outputs are while it is built, by name.
        environment: what Nix would hand the builder.
        inputs: every store object the build may refer to.
        hidden: further ones that it sees, and that are not looked for in its outputs.
        keep_failed: whether the step brings the build folder out when the builder fails.
    """
    links = {
        str(found.path): byte_text(found.target)
        for found in (*inputs, *hidden)
        if found.file_type == "symlink"
    }
    from nixbk.nix.options import derivation_options  # noqa: PLC0415  not for what is fetched

    options = derivation_options(derivation)
    checks = options.output_checks
    needs_closure = any(_asks_for_closure(check) for check in checks.values())
    fixed = _fixed(derivation)
    return StepDocument.of(
        "build",
        {
            "outputs": {name: str(path) for name, path in outputs.items()},
            "system": derivation.system,
            "builder": byte_text(environment.builder),
            "args": [byte_text(argument) for argument in environment.args],
            "env": {byte_text(k): byte_text(v) for k, v in environment.env.items()},
            "files": {byte_text(k): byte_text(v) for k, v in environment.files.items()},
            "links": links,
            "hidden": [str(found.path) for found in hidden],
            "fixed": fixed,
            "floating": _floating(derivation),
            "impure": True if derivation.kind is DerivationKind.IMPURE else None,
            "keepFailed": True if keep_failed else None,
            "network": True if derivation.has_network else None,
            "impureEnv": list(environment.impure_env),
            "checks": {name: _check_fields(check, outputs) for name, check in checks.items()},
            "closure": _closure_fields(inputs) if needs_closure else None,
            "unsafeDiscardReferences": list(options.unsafe_discard_references),
        },
    )


def fetch_document(derivation: Derivation, out: StorePath) -> StepDocument:
    """The step that puts one downloaded file where ``builtin:fetchurl`` would."""
    executable = derivation.env.get("executable", "") == "1"
    return StepDocument.of(
        "fetch",
        {
            "outputs": {"out": str(out)},
            "fixed": _fixed(derivation),
            "executable": executable or None,
        },
    )


def unpack_document(sources: Sequence[LockedSource]) -> StepDocument:
    """The step that unpacks NARs, verified, into the store."""
    nars = [
        {
            "path": str(source.path),
            "narHash": source.nar_hash.sri(),
            "narSize": source.nar_size,
            "compression": "none",
            "references": [str(path) for path in source.references],
        }
        for source in sources
    ]
    return StepDocument.of("unpack", {"nars": nars})


def substitutes_document(unpackings: Sequence[Unpacking]) -> StepDocument:
    """The step that unpacks NARs of binary caches; nothing says where they come from."""
    nars = [
        {
            "path": str(found.substitute.path),
            "narHash": found.substitute.nar_hash.sri(),
            "narSize": found.substitute.nar_size,
            "compression": found.archive.compression,
            "references": [str(path) for path in found.substitute.references],
            **_address(found.substitute.content_address),
            **({"root": found.root} if found.root else {}),
        }
        for found in unpackings
    ]
    return StepDocument.of("unpack", {"nars": nars})


def _address(content_address: str) -> dict[str, str]:
    return {"contentAddress": content_address} if content_address else {}


def run_settings(
    *,
    cores: int | None = None,
    timeout_s: int | None = None,
    max_silent_s: int | None = None,
    tell: bool = False,
) -> str:
    """The text of settings that must not change a cache key, empty when there are none.

    Args:
        cores: what ``NIX_BUILD_CORES`` is to be; None for all there are.
        timeout_s: how long a build may take; None for ever.
        max_silent_s: how long a build may print nothing; None for ever.
        tell: whether the result is printed as well, on standard output.
    """
    settings = {
        "cores": cores,
        "timeout": timeout_s,
        "max-silent": max_silent_s,
        "tell": 1 if tell else None,
    }
    given = [f"{name}={value}" for name, value in settings.items() if value is not None]
    return f";nixbk:{';'.join(given)}" if given else ""


def _fixed(derivation: Derivation) -> dict[str, str] | None:
    """Method and hash of a fixed output, None for every other derivation."""
    output = derivation.outputs.get("out")
    if output is None or output.method is None or output.content_hash is None:
        return None
    return {"method": output.method, "hash": output.content_hash.sri()}


def _floating(derivation: Derivation) -> dict[str, dict[str, str]]:
    """Method and algorithm of each output whose path follows from what comes out."""
    return {
        name: {"method": output.method, "algorithm": output.algorithm.value}
        for name, output in derivation.outputs.items()
        if output.method is not None and output.algorithm is not None and not output.is_fixed
    }


def refuse_special_wishes(derivation: Derivation, granted: frozenset[str]) -> None:
    """Refuse a derivation, resolved or not, that asks for more than every builder has.

    Args:
        derivation: the recipe.
        granted: the system features that the user says the builder has.

    Raises:
        UnsupportedDerivationError: it does.
    """
    from nixbk.nix.options import special_wishes  # noqa: PLC0415  not for what is fetched

    wishes = special_wishes(derivation)
    missing = sorted(set(wishes.required_system_features) - SYSTEM_FEATURES - granted)
    if missing:
        raise UnsupportedDerivationError(
            f"it needs the system feature {missing[0]!r}, which is not granted",
            where=derivation.name,
            hint="where the builder has it, name it in 'sandbox.system-features'",
        )
    if wishes.no_chroot:
        raise UnsupportedDerivationError(
            "it has '__noChroot' set, but every build runs in a sandbox",
            where=derivation.name,
            hint="remove '__noChroot', or give it what it reads outside with 'sandbox.paths'",
        )


def _asks_for_closure(check: OutputChecks) -> bool:
    return (
        check.allowed_requisites is not None
        or bool(check.disallowed_requisites)
        or check.max_closure_size_bytes is not None
    )


def _check_fields(check: OutputChecks, outputs: Mapping[str, StorePath]) -> dict[str, object]:
    """The checks of one output, with the names of outputs replaced by their paths."""

    def paths(entries: Sequence[str] | None) -> list[str] | None:
        if entries is None:
            return None
        return [str(outputs.get(entry, entry)) for entry in entries]

    fields = {
        "allowedReferences": paths(check.allowed_references),
        "allowedRequisites": paths(check.allowed_requisites),
        "disallowedReferences": paths(check.disallowed_references) or None,
        "disallowedRequisites": paths(check.disallowed_requisites) or None,
        "maxSize": check.max_size_bytes,
        "maxClosureSize": check.max_closure_size_bytes,
        "ignoreSelfRefs": check.ignore_self_refs or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _closure_fields(inputs: Sequence[RealisedOutput]) -> dict[str, object]:
    return {
        str(found.path): {
            "narSize": found.nar_size_bytes,
            "references": [str(path) for path in found.references],
        }
        for found in inputs
    }
