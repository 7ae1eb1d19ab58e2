"""Small store paths, new to everybody, and caches of them that real Nix made. Effects: Nix, files.

Make one per session.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from binary_caches import (
    SigningKey,
    build_packages,
    copy_cache,
    hash_part,
    make_cache,
    narinfo,
    write_packages,
)
from engines import start
from projects import SEED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LINES: Final = 3000
"""Of each further path: some 30 kilobytes."""


@dataclass(frozen=True)
class SmallCache:
    """Store paths that real Nix built, and a cache of them.

    Attributes:
        folder: of the cache; not to be changed.
        key: with which it is signed.
        stranger: a key with which it is not.
        paths: by name, see :data:`binary_caches.PACKAGES`.
        salt: of the derivations.
        scratch: for further folders.
    """

    folder: Path
    key: SigningKey
    stranger: SigningKey
    paths: Mapping[str, str]
    salt: str
    scratch: Path

    @classmethod
    def make(cls, folder: Path, names: list[str]) -> SmallCache:
        """Build it, with some further paths of those *names*."""
        if not shutil.which("nix"):
            pytest.skip("there is no nix command")
        if not SEED.exists():
            start("mirror")
        key, stranger = SigningKey.make(folder), SigningKey.make(folder, "stranger-1")
        salt = secrets.token_hex(6)
        paths = build_packages(folder, salt, dict.fromkeys(names, LINES))
        cache = make_cache(folder / "cache", list(paths.values()), "xz", key)
        return cls(cache, key, stranger, paths, salt, folder)

    def copy(self) -> Path:
        """A copy of the cache, to be spoiled."""
        return copy_cache(self.folder, self.scratch / f"copy-{secrets.token_hex(4)}")

    def subset(self, names: Iterable[str]) -> Path:
        """A copy of the cache, to be spoiled, that has those paths alone."""
        kept = {hash_part(self.paths[name]) for name in names}
        folder = self.copy()
        for file in folder.glob("*.narinfo"):
            if file.stem not in kept:
                file.unlink()
        return folder

    def write_expression(self, folder: Path) -> None:
        """Write a ``default.nix`` of all paths but the further ones."""
        write_packages(folder, self.salt, {})

    def of(
        self, names: str | Iterable[str], compression: str, key: SigningKey | None = None
    ) -> Path:
        """A cache of one path or several, and what they need, signed by *key* if there is one."""
        folder = self.scratch / f"{compression}-{secrets.token_hex(4)}"
        wanted = [names] if isinstance(names, str) else names
        return make_cache(folder, [self.paths[name] for name in wanted], compression, key)

    def info(self, name: str) -> dict[str, str]:
        """What the cache tells of a path."""
        return narinfo(self.folder, self.paths[name])
