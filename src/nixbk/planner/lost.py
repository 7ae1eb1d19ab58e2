"""Substitutes that no cache has any more. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock


def makers(lock: Lock, paths: Collection[StorePath]) -> Mapping[StorePath, StorePath]:
    """The derivations of the lock that make *paths*, as far as it has them."""
    wanted = set(paths)
    return {
        path: drv_path
        for drv_path in lock.derivations
        for path in lock.outputs(drv_path).values()
        if path in wanted
    }


def without(lock: Lock, lost: Collection[StorePath]) -> Lock:
    """*lock* with the substitutes in *lost* built instead; it has their derivations."""
    if not lost:
        return lock
    return replace(
        lock,
        substitutes={path: found for path, found in lock.substitutes.items() if path not in lost},
        substituted={key: path for key, path in lock.substituted.items() if path not in lost},
    )
