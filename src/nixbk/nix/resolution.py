"""Derivations whose inputs were built: every path that was open is written in. Pure.

A derivation that depends on floating outputs has placeholders for their paths. Once those are
built, it is *resolved*: the placeholders become paths, the input derivations become sources, and
outputs that waited for it get the paths that follow from the new recipe. What is built is the
resolved derivation, so two recipes that come to the same one are built once.

::

    downstream placeholder = "/" base32(SHA-256("nix-upstream-output:" digest ":" output-path-name))
    dynamic placeholder    = "/" base32(SHA-256("nix-computed-output:" folded ":" output-name))
                             ; folded: base 32 of the hash of the derivation's own placeholder,
                             ; folded to 20 bytes
    fallback path          = store path of type "rewrite:" basename ":name:" output
                             and of a SHA-256 that is all zeros

A floating output has the fallback path while it is built, and is renamed when its content is
known.

Source: ``Derivation::tryResolve`` and ``Derivation::shouldResolve``, Nix
``src/libstore/derivations.cc``; ``DownstreamPlaceholder::unknownCaOutput``, Nix
``src/libstore/downstream-placeholder.cc``; ``DerivationBuilderImpl::makeFallbackPath``, Nix
``src/libstore/unix/build/derivation-builder.cc``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from nixbk.nix import base32, structured_attrs
from nixbk.nix.derivation import (
    DRV_SUFFIX,
    Derivation,
    DerivationError,
    DerivationKind,
    DerivationOutput,
)
from nixbk.nix.derivation_hash import DerivationHasher
from nixbk.nix.store_path import compress_hash, fallback_path, output_path_name

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from nixbk.nix.store_path import StorePath

_OPEN = frozenset({DerivationKind.FLOATING, DerivationKind.DEFERRED, DerivationKind.IMPURE})


def should_resolve(drv: Derivation) -> bool:
    """Whether what is built is another derivation than *drv*: its resolved one.

    A fixed output is resolved as well; it makes a difference only where an input floats.
    """
    return bool(drv.input_drvs) and (drv.kind in _OPEN or drv.is_fixed)


def has_placeholder(drv: Derivation, outputs: Container[tuple[StorePath, str]]) -> bool:
    """Whether a recipe that names one of *outputs* did not know its path."""
    texts = (drv.builder, *drv.args, *drv.env, *drv.env.values())
    return any(
        (input_drv, name) in outputs
        and any(downstream_placeholder(input_drv, name) in text for text in texts)
        for input_drv, names in drv.input_drvs.items()
        for name in names
    )


def resolve(
    drv: Derivation,
    output: Callable[[StorePath, str], StorePath],
    made: Callable[[StorePath, str], StorePath] | None = None,
) -> Derivation:
    """The derivation that is built in place of *drv*.

    Args:
        drv: any derivation.
        output: the path of a derivation's output.
        made: the derivation that an output of another one is; needed for dynamic inputs.
    """
    paths = {
        downstream_placeholder(input_drv, name): output(input_drv, name)
        for input_drv, names in drv.input_drvs.items()
        for name in names
    }
    for found in drv.dynamic:
        if made is None:
            raise DerivationError(f"the dynamic inputs of {drv.name!r} are not known")
        path, stands_for = found.path, ""
        for name in found.chain:
            stands_for = _placeholder_of(path, name, stands_for)
            path = made(path, name)
        paths[_placeholder_of(path, found.output, stands_for)] = output(path, found.output)
    rewrites = {text: str(path) for text, path in paths.items()}
    rewrites = {before: rewrites[before] for before in sorted(rewrites)}
    env: dict[str, str] = {}
    for name, value in drv.env.items():
        if name == structured_attrs.ENV_VAR:
            env[name] = _rewrite_json(value, rewrites)
        else:
            env.setdefault(rewrite(name, rewrites), rewrite(value, rewrites))
    resolved = replace(
        drv,
        input_drvs={},
        input_srcs=(*drv.input_srcs, *paths.values()),
        builder=rewrite(drv.builder, rewrites),
        args=tuple(rewrite(arg, rewrites) for arg in drv.args),
        env=env,
    )
    return _with_paths(resolved) if resolved.kind is DerivationKind.DEFERRED else resolved


def _with_paths(drv: Derivation) -> Derivation:
    """A deferred derivation without inputs, with the output paths that follow from it."""

    def none(path: StorePath) -> Derivation:
        raise KeyError(path)

    paths = DerivationHasher(none).output_paths(drv)
    return replace(
        drv,
        outputs={name: DerivationOutput(str(path)) for name, path in paths.items()},
        env={**drv.env, **{name: str(path) for name, path in paths.items()}},
    )


def scratch_paths(drv: Derivation, drv_path: StorePath) -> dict[str, StorePath]:
    """Where the outputs of a resolved derivation are while it is built.

    Args:
        drv: the resolved derivation.
        drv_path: its own path.
    """
    return {
        name: fallback_path(drv_path, output_path_name(drv.name, name), name)
        for name in drv.outputs
    }


@lru_cache(maxsize=1 << 12)
def downstream_placeholder(drv_path: StorePath, output_name: str) -> str:
    """What stands for the path of another derivation's output while that is not built.

    Source: ``DownstreamPlaceholder::unknownCaOutput``.
    """
    name = output_path_name(drv_path.name.removesuffix(DRV_SUFFIX), output_name)
    text = f"nix-upstream-output:{base32.encode(drv_path.digest)}:{name}"
    return "/" + base32.encode(hashlib.sha256(text.encode("ascii")).digest())


def _placeholder_of(path: StorePath, name: str, above: str) -> str:
    return dynamic_placeholder(above, name) if above else downstream_placeholder(path, name)


@lru_cache(maxsize=1 << 12)
def dynamic_placeholder(drv_placeholder: str, output_name: str) -> str:
    """What stands for an output of a derivation that *drv_placeholder* stands for.

    Source: ``DownstreamPlaceholder::unknownDerivation``.
    """
    folded = compress_hash(base32.decode(drv_placeholder.removeprefix("/")))
    text = f"nix-computed-output:{base32.encode(folded)}:{output_name}"
    return "/" + base32.encode(hashlib.sha256(text.encode("ascii")).digest())


def rewrite(text: str, rewrites: Mapping[str, str]) -> str:
    """Source: ``rewriteStrings``, Nix ``src/libutil/util.cc``."""
    for before, after in rewrites.items():
        if before in text:
            text = text.replace(before, after)
    return text


def _rewrite_json(text: str, rewrites: Mapping[str, str]) -> str:
    """Structured attributes, which Nix prints and reads once more around it."""
    if not rewrites:
        return text
    printed = structured_attrs.dump(structured_attrs.parse(text))
    return structured_attrs.dump(structured_attrs.parse(rewrite(printed, rewrites)))
