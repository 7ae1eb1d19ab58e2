"""What a builder finds when Nix starts it. Pure.

Given a derivation and the closures it asks for, this says the program, its
arguments, its environment and the files in ``/build``, as Nix 2.34 makes them in
its sandbox on Linux. Left to who runs it: ``NIX_BUILD_CORES``, unless the
derivation sets it, and the inherited variables of a fixed-output build.

Source: ``DerivationBuilderImpl::initEnv``, Nix
``src/libstore/unix/build/derivation-builder.cc``; ``DesugaredEnv::create``, Nix
``src/libstore/build/derivation-env-desugar.cc``.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.nix import base32, structured_attrs
from nixbk.nix.aterm import to_bytes
from nixbk.nix.attrs_sh import attrs_sh
from nixbk.nix.derivation import Derivation, DerivationError
from nixbk.nix.options import DerivationOptions, OutputChecks, derivation_options, output_checks
from nixbk.nix.reference_graph import (
    Lookup,
    ReferenceInfo,
    exported,
    graph_json,
    validity_registration,
)
from nixbk.nix.store_path import STORE_DIR, StorePath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "BuildEnvironment",
    "OutputChecks",
    "ReferenceInfo",
    "build_environment",
    "output_checks",
    "placeholder",
]

BUILD_DIR: Final = "/build"

_BEFORE: Final = {
    "PATH": "/path-not-set",
    "HOME": "/homeless-shelter",
    "NIX_STORE": STORE_DIR,
}
_AFTER: Final = {
    "NIX_BUILD_TOP": BUILD_DIR,
    "TMPDIR": BUILD_DIR,
    "TEMPDIR": BUILD_DIR,
    "TMP": BUILD_DIR,
    "TEMP": BUILD_DIR,
    "PWD": BUILD_DIR,
    "NIX_LOG_FD": "2",
    "TERM": "xterm-256color",
}


class BuildEnvironment(NamedTuple):
    """A builder as Nix starts it.

    Attributes:
        builder: the program, or ``builtin:<name>``.
        args: its arguments, without the program's own name.
        env: its environment, sorted by name.
        files: by name, the content of each file in ``/build``.
        impure_env: variables to be taken from whoever runs a build with network;
            an absent one is set to nothing.
    """

    builder: str
    args: tuple[str, ...]
    env: dict[str, str]
    files: dict[str, str]
    impure_env: tuple[str, ...]


def build_environment(
    drv: Derivation,
    *,
    graph: Callable[[StorePath], ReferenceInfo],
    outputs: Mapping[str, StorePath] | None = None,
) -> BuildEnvironment:
    """What Nix hands the builder of *drv*.

    Args:
        drv: a derivation, resolved.
        graph: what is known of a store path, asked for ``exportReferencesGraph``
            only; raises for a path outside the closure of the build's inputs.
        outputs: where the outputs are while they are built, for a derivation whose output
            paths are known only afterwards.

    Raises:
        DerivationError: the output paths are not known, or an option is malformed.
    """
    options = derivation_options(drv)
    rewrites = _rewrites(drv, outputs)
    variables, files = _desugar(drv, options, graph)
    env = {**_BEFORE, **variables, **_AFTER}
    if drv.is_fixed:
        env["NIX_OUTPUT_CHECKED"] = "1"
    env = {_rewrite(name, rewrites): _rewrite(value, rewrites) for name, value in env.items()}
    return BuildEnvironment(
        builder=drv.builder,
        args=tuple(_rewrite(arg, rewrites) for arg in drv.args),
        env={name: env[name] for name in sorted(env, key=to_bytes)},
        files={name: _rewrite(files[name], rewrites) for name in sorted(files, key=to_bytes)},
        impure_env=options.impure_env_vars if drv.has_network else (),
    )


@lru_cache(maxsize=256)
def placeholder(output_name: str) -> str:
    """What stands for an output path while it is not known.

    Source: ``hashPlaceholder``, Nix ``src/libstore/derivations.cc``.
    """
    return "/" + base32.encode(hashlib.sha256(to_bytes(f"nix-output:{output_name}")).digest())


def _desugar(
    drv: Derivation, options: DerivationOptions, graph: Lookup
) -> tuple[dict[str, str], dict[str, str]]:
    """Variables and files. Source: ``DesugaredEnv::create``."""
    exports = {
        name: exported(roots, graph) for name, roots in options.export_references_graph.items()
    }
    attrs = drv.structured_attrs
    if attrs is not None:
        attrs["outputs"] = {name: placeholder(name) for name in drv.outputs}
        attrs.update({name: graph_json(infos) for name, infos in exports.items()})
        files = {".attrs.sh": attrs_sh(attrs), ".attrs.json": structured_attrs.dump(attrs)}
        return {
            "NIX_ATTRS_SH_FILE": f"{BUILD_DIR}/.attrs.sh",
            "NIX_ATTRS_JSON_FILE": f"{BUILD_DIR}/.attrs.json",
        }, files
    variables: dict[str, str] = {}
    files = {}
    for name, value in drv.env.items():
        if name in options.pass_as_file:
            file_name = ".attr-" + base32.encode(hashlib.sha256(to_bytes(name)).digest())
            files[file_name] = value
            variables[name + "Path"] = f"{BUILD_DIR}/{file_name}"
        else:
            variables[name] = value
    files |= {name: validity_registration(infos) for name, infos in exports.items()}
    return variables, files


def _rewrites(drv: Derivation, outputs: Mapping[str, StorePath] | None) -> dict[str, str]:
    """The placeholders and what they stand for."""
    if outputs is not None:
        return {placeholder(name): str(outputs[name]) for name in drv.outputs}
    if not drv.kind.has_known_paths:
        raise DerivationError(
            f"the output paths of the {drv.kind} derivation {drv.name!r} are not known yet"
        )
    return {placeholder(name): output.path for name, output in drv.outputs.items()}


def _rewrite(text: str, rewrites: Mapping[str, str]) -> str:
    """Source: ``rewriteStrings``, Nix ``src/libutil/util.cc``."""
    for before, after in rewrites.items():
        if before in text:
            text = text.replace(before, after)
    return text
