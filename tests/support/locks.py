"""Small locks for tests of the planner: graphs of derivations given by their names."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.environment import placeholder
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.resolution import downstream_placeholder
from nixbk.nix.store_path import StorePath
from nixbk.schema.lock import (
    BundleOrigin,
    Lock,
    LockedImage,
    LockedInstallable,
    LockedSource,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE = "seed"


def store_path(name: str, *, kind: str = "out") -> StorePath:
    """A store path that depends on *name* and *kind* alone."""
    return StorePath(hashlib.sha256(f"{kind}:{name}".encode()).digest()[:20], name)


def drv_path(name: str) -> StorePath:
    """The derivation path of the derivation *name*."""
    return store_path(f"{name}.drv", kind="drv")


def make_lock(
    graph: Mapping[str, Sequence[str]], images: Mapping[str, Sequence[str]] | None = None
) -> Lock:
    """A lock of derivations by name with the names of their inputs.

    Args:
        graph: inputs of each derivation; a name that starts with ``fetch`` is a download.
        images: derivations of each image; by default one image of the last derivation.
    """
    seed = store_path(SOURCE, kind="source")
    nar_hash = Hash(HashAlgorithm.SHA256, hashlib.sha256(b"seed").digest())
    source = LockedSource(seed, nar_hash, 4, (), BundleOrigin(nar_hash.digest.hex()))
    derivations = {
        drv_path(name): _derivation(name, inputs, seed) for name, inputs in graph.items()
    }
    wanted = images if images is not None else {"image": [list(graph)[-1]]}
    return Lock(
        images={
            key: LockedImage(
                ("linux/amd64",),
                tuple(
                    LockedInstallable(
                        f"./default.nix#{name}", drv_path(name), ("out",), {"out": store_path(name)}
                    )
                    for name in names
                ),
            )
            for key, names in wanted.items()
        },
        derivations=derivations,
        sources={seed: source},
    )


def _derivation(name: str, inputs: Sequence[str], seed: StorePath) -> Derivation:
    fetch = name.startswith("fetch")
    output = DerivationOutput(
        str(store_path(name)),
        "sha256" if fetch else "",
        hashlib.sha256(name.encode()).hexdigest() if fetch else "",
    )
    return Derivation(
        name=name,
        outputs={"out": output},
        input_drvs={drv_path(other): ("out",) for other in sorted(inputs)},
        input_srcs=() if fetch else (seed,),
        system="builtin" if fetch else "x86_64-linux",
        builder="builtin:fetchurl" if fetch else f"{seed}/bin/sh",
        args=(),
        env={"out": str(store_path(name)), "url": f"http://example.org/{name}"} if fetch else {},
    )


KINDS = {
    "floating": DerivationOutput("", "r:sha256", ""),
    "impure": DerivationOutput("", "r:sha256", "impure"),
    "deferred": DerivationOutput(),
}


def floating_lock(graph: Mapping[str, Sequence[str]], kinds: Mapping[str, str]) -> Lock:
    """A lock of derivations by name with their inputs, of the given kinds."""
    lock = make_lock(graph)
    derivations = dict(lock.derivations)
    for name, kind in kinds.items():
        old = derivations[drv_path(name)]
        env = {
            input_drv.name.removesuffix(".drv"): downstream_placeholder(input_drv, "out")
            for input_drv in old.input_drvs
        }
        env["out"] = "" if kind == "deferred" else placeholder("out")
        derivations[drv_path(name)] = replace(old, outputs={"out": KINDS[kind]}, env=env)
    images = {
        key: replace(
            image,
            installables=tuple(
                replace(found, paths={}) if found.drv_path.name[:-4] in kinds else found
                for found in image.installables
            ),
        )
        for key, image in lock.images.items()
    }
    return replace(lock, derivations=derivations, images=images)
