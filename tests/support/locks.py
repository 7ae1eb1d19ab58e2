"""Small locks for tests of the planner: graphs of derivations given by their names."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from nixbk.graph.closure import closure
from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.environment import placeholder
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.resolution import downstream_placeholder
from nixbk.nix.store_path import StorePath
from nixbk.schema.lock import (
    BundleOrigin,
    Lock,
    LockedArchive,
    LockedImage,
    LockedInstallable,
    LockedSource,
    LockedSubstitute,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixbk.schema.lock import Compression

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


def archive(name: str, substituter: str = "main", compression: Compression = "xz") -> LockedArchive:
    """A file of a cache, the same for a name and compression in every cache."""
    file_hash = Hash.of(f"{compression}:{name}".encode())
    url = f"nar/{name}.nar.{compression}"
    return LockedArchive(substituter, url, file_hash, 10, compression)


def substitute(
    name: str, references: Sequence[str] = (), archives: Sequence[LockedArchive] = ()
) -> LockedSubstitute:
    """What a cache has of the output of the derivation *name*."""
    return LockedSubstitute(
        path=store_path(name),
        nar_hash=Hash.of(name.encode()),
        nar_size=100,
        references=tuple(sorted(store_path(reference) for reference in references)),
        archives=tuple(archives) or (archive(name),),
    )


def substituted_lock(
    lock: Lock, found: Sequence[LockedSubstitute], *, fallback: bool = False
) -> Lock:
    """*lock* with derivations of one output replaced by what caches have.

    Without *fallback* it has no derivations but those that are built.
    """
    made = {store_path(drv.name): path for path, drv in lock.derivations.items()}
    substituted = {(made[item.path], "out"): item.path for item in found}
    changed = replace(
        lock,
        substitutes={item.path: item for item in found},
        substituted=substituted,
        fallback=fallback,
    )
    if fallback:
        return changed
    kept = set(closure(changed.roots, changed.inputs_of))
    derivations = {path: drv for path, drv in lock.derivations.items() if path in kept}
    return replace(changed, derivations=derivations)


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
        key: image._replace(
            installables=tuple(
                found._replace(paths={})
                if found.drv_path and found.drv_path.name[:-4] in kinds
                else found
                for found in image.installables
            ),
        )
        for key, image in lock.images.items()
    }
    return replace(lock, derivations=derivations, images=images)
