"""Projects whose store paths come from binary caches. Effects: files and processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from projects import NIXBK, Done

from nixbk.nix.store_path import StorePath
from nixbk.schema.files import read_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from small_cache import SmallCache

    from nixbk.schema.lock import Lock, LockedSubstitute

_OURS: Final = (
    "BUILDKIT_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "NETRC",
    "NIXBK_BUILDER",
    "SSL_CERT_FILE",
)


@dataclass(frozen=True)
class CachedProject:
    """A folder with a manifest that names caches, and no Nix on PATH unless told otherwise.

    Attributes:
        folder: where the manifest and the lock are.
        home: of the user; without a netrc, and with a cache folder of its own.
        variables: further ones of the environment.
        launcher: a command that runs commands.
    """

    folder: Path
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    launcher: Sequence[str] = ()

    @classmethod
    def make(cls, place: Path, **variables: str) -> CachedProject:
        """Make one below *place*."""
        made = cls(place / "project", place / "home", variables)
        for path in (made.folder, made.home / "tmp", made.home / "bin"):
            path.mkdir(parents=True)
        if git := shutil.which("git"):
            (made.home / "bin" / "git").symlink_to(git)
        return made

    def with_nix(self) -> CachedProject:
        """The same, with what is on this machine's PATH."""
        return replace(self, variables={**self.variables, "PATH": os.environ["PATH"]})

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its commands."""
        return {
            **{name: value for name, value in os.environ.items() if name not in _OURS},
            "HOME": str(self.home),
            "PATH": str(self.home / "bin"),
            "TMPDIR": str(self.home / "tmp"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            **self.variables,
        }

    def write(
        self,
        caches: Mapping[str, Mapping[str, object]],
        images: Mapping[str, Sequence[str]],
        more: Mapping[str, str] | None = None,
        top: str = "",
    ) -> None:
        """Write the manifest.

        Args:
            caches: their tables, by name.
            images: their installables, by key.
            more: further lines of each image, by key.
            top: what stands before all tables.
        """
        lines = [top]
        for name, table in caches.items():
            lines.append(f"[substituters.{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        for key, installables in images.items():
            lines += [f"[images.{key}]", f"installables = {json.dumps(list(installables))}"]
            lines.append((more or {}).get(key, ""))
        self.manifest.write_text("\n".join(lines) + "\n")

    def of(self, small: SmallCache, name: str, **caches: Mapping[str, object]) -> str:
        """Write a manifest with caches and an image ``x`` of one path; the path."""
        path = small.paths[name]
        self.write(caches, {"x": [path]})
        return path

    def nixbk(self, *command: str, code: int | None = 0) -> Done:
        """Run nixbk, which has to end with *code*, if that is given."""
        done = subprocess.run(
            [*self.launcher, *NIXBK, *command],
            check=False,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert code is None or done.returncode == code, f"{command}:\n{done.stdout}{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.folder / "nixbk.toml"

    @property
    def locked(self) -> Lock:
        """The lock."""
        return read_lock(self.folder / "nixbk.lock")

    def substitute(self, path: str) -> LockedSubstitute:
        """What is locked of a store path."""
        return self.locked.substitutes[StorePath.parse(path)]

    def sources(self, path: str) -> tuple[str, ...]:
        """The names of the caches that a store path is to come from, in their order."""
        return tuple(archive.substituter for archive in self.substitute(path).archives)

    def written(self) -> list[Path]:
        """All files of the folder and the home."""
        places = [*self.folder.rglob("*"), *self.home.rglob("*")]
        return [path for path in places if path.is_file() and not path.is_symlink()]

    def telling(self, *secrets: str) -> list[Path]:
        """The files that nixbk wrote and that have one of some secrets in them."""
        words = [secret.encode() for secret in secrets]
        return [p for p in self.written() if any(word in p.read_bytes() for word in words)]


def words(text: str) -> str:
    """Text without line breaks: what a program says is wrapped anywhere."""
    return " ".join(text.split())


def cache_table(url: str, *keys: Any, **more: object) -> dict[str, object]:
    """The table of a cache in a manifest; *keys* are public, or :class:`SigningKey`."""
    texts = [getattr(key, "public", key) for key in keys]
    return {"url": url, **({"public-keys": texts} if texts else {}), **more}
