"""Small locks that prove themselves: their recipes hash to their paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.derivation_hash import DerivationHasher
from nixbk.nix.nar import file_nar, nar_hash
from nixbk.nix.store_path import StorePath, source_path
from nixbk.schema.lock import (
    FileOrigin,
    Lock,
    LockedImage,
    LockedInput,
    LockedInstallable,
    LockedShell,
    LockedSource,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SYSTEM = "x86_64-linux"
BUILDER = "/bin/sh"


def source(name: str, contents: bytes = b"hello\n") -> LockedSource:
    """A file of the repository."""
    found, size = nar_hash([file_nar(contents)])
    path = source_path(name, found.digest)
    return LockedSource(path, found, size, (), FileOrigin(name), "regular")


SETUP = source("setup.sh")
SHELL = source("sh", b"a shell")


def graph(
    inputs: Mapping[str, Sequence[str]], env: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, tuple[StorePath, Derivation]]:
    """Derivations by name, with the names of their inputs; inputs come first.

    Args:
        inputs: of each derivation, by name.
        env: more of the environment of some.
    """
    found: dict[StorePath, Derivation] = {}
    named: dict[str, tuple[StorePath, Derivation]] = {}
    hasher = DerivationHasher(found.__getitem__)
    for name, names in inputs.items():
        derivation = _derivation(name, [named[n] for n in names], (env or {}).get(name, {}), None)
        out = hasher.output_paths(derivation)["out"]
        derivation = _derivation(name, [named[n] for n in names], (env or {}).get(name, {}), out)
        path = derivation.path()
        hasher.add(path, derivation)
        found[path] = derivation
        named[name] = path, derivation
    return named


def _derivation(
    name: str,
    inputs: Sequence[tuple[StorePath, Derivation]],
    env: Mapping[str, str],
    out: StorePath | None,
) -> Derivation:
    text = str(out or "")
    return Derivation(
        name,
        {"out": DerivationOutput(text)},
        {path: ("out",) for path, _ in inputs},
        (SETUP.path,),
        SYSTEM,
        BUILDER,
        ("-e", str(SETUP.path)),
        {
            "buildInputs": " ".join(drv.outputs["out"].path for _, drv in inputs),
            "name": name,
            "system": SYSTEM,
            "builder": BUILDER,
            "out": text,
            **env,
        },
    )


def lock(
    inputs: Mapping[str, Sequence[str]],
    *,
    env: Mapping[str, Mapping[str, str]] | None = None,
    with_shell: bool = False,
    flakes: Mapping[str, LockedInput] | None = None,
) -> Lock:
    """A lock with one image ``demo`` of the last derivation of a graph."""
    named = graph(inputs, env)
    drv_path, derivation = named[list(named)[-1]]
    paths = {"out": StorePath.parse(derivation.outputs["out"].path)}
    row = LockedInstallable(f"./default.nix#{derivation.name}", drv_path, ("out",), paths)
    sources = {SETUP.path: SETUP} | ({SHELL.path: SHELL} if with_shell else {})
    return Lock(
        {"demo": LockedImage(("linux/amd64",), (row,))},
        dict(named.values()),
        sources,
        dict(flakes or {}),
        LockedShell("bin/sh", SHELL.path) if with_shell else None,
    )
