"""Locks of which a part is fetched, with signatures of a key of their own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from proven import lock

from nixbk.nix.hashes import Hash
from nixbk.nix.nar import Symlink, file_nar, nar_hash, write
from nixbk.nix.signatures import SecretKey, fingerprint
from nixbk.nix.store_path import StorePath
from nixbk.schema.lock import LockedArchive, LockedSubstitute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixbk.schema.lock import Lock

KEY = SecretKey("cache.test-1", b"k" * 32)
STRANGER = SecretKey("cache.test-1", b"s" * 32)
OTHER = SecretKey("other-1", b"o" * 32)


def store_path(name: str) -> StorePath:
    """A store path that depends on *name* alone."""
    return StorePath(Hash.of(name.encode()).digest[:20], name)


def archive(path: StorePath, cache: str = "main") -> LockedArchive:
    """Where a cache has a path."""
    return LockedArchive(
        cache, f"nar/{path.name}.nar.xz", Hash.of(f"{cache}:{path}".encode()), 90, "xz"
    )


def entry(
    path: StorePath,
    references: Iterable[StorePath] = (),
    *,
    key: SecretKey | None = KEY,
    target: str = "",
) -> LockedSubstitute:
    """The entry of a path that the cache ``main`` has; a link, if it has a target."""
    data = b"".join(write([Symlink("", target)])) if target else file_nar(path.name.encode())
    found, size = nar_hash([data])
    refers = tuple(sorted(references))
    signed = fingerprint(path, found, size, refers)
    return LockedSubstitute(
        path,
        found,
        size,
        refers,
        (archive(path),),
        (key.sign(signed),) if key else (),
        "",
        "symlink" if target else "directory",
        target,
    )


def fetched(whole: Lock, names: Iterable[str], more: Iterable[LockedSubstitute] = ()) -> Lock:
    """A lock with the outputs of some derivations fetched, and what only they need left out.

    Args:
        whole: a lock in which all is built.
        names: of derivations, whose outputs refer to what *more* has.
        more: other substitutes.
    """
    drvs = {name: next(p for p in whole.derivations if p.name == f"{name}.drv") for name in names}
    below = tuple(more)
    paths = {(drv, "out"): whole.outputs(drv)["out"] for drv in drvs.values()}
    entries = {path: entry(path, [found.path for found in below]) for path in paths.values()}
    part = dataclasses.replace(
        whole,
        substituted=paths,
        substitutes={**entries, **{found.path: found for found in below}},
    )
    if whole.fallback:
        return part
    kept: set[StorePath] = set()
    work = list(part.roots)
    while work:
        path = work.pop()
        kept.add(path)
        work += part.inputs_of(path)
    used = {source for path in kept for source in part.derivations[path].input_srcs}
    return dataclasses.replace(
        part,
        derivations={path: part.derivations[path] for path in part.derivations if path in kept},
        sources={path: found for path, found in part.sources.items() if path in used},
    )


GLIBC = entry(store_path("glibc"), target="/nix/store")
WHOLE = lock({"bash": [], "zlib": ["bash"], "hello": ["zlib"]})
PART = fetched(WHOLE, ["zlib"], [GLIBC])
"""``hello`` is built from ``zlib``, which is fetched with ``glibc``."""
