"""A folder that both real Nix and nixbk build from. Effects: processes and files."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from projects import NIXBK, ROOT, SEED, execute

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from projects import Done
    from verdicts import Oracle, Subject

EXPRESSION: Final = ROOT / "tests" / "differential" / "builds" / "project" / "default.nix"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Project:
    """A folder that both Nix and nixbk build from.

    Attributes:
        folder: where it lies.
        oracle: Nix.
        subject: nixbk, on one engine.
        salt: makes its derivations new.
    """

    folder: Path
    oracle: Oracle
    subject: Subject
    salt: str

    @classmethod
    def make(cls, folder: Path, oracle: Oracle, subject: Subject) -> Project:
        """Fill a *folder* with all expressions, new to all caches."""
        made = cls(folder, oracle, subject, f"{oracle.salt}-{secrets.token_hex(4)}")
        shutil.copy(EXPRESSION, folder)
        shutil.copytree(SEED, folder / "seed", symlinks=True)
        (folder / "nixbk.toml").write_text(
            '[sandbox]\nshell = "seed/bin/busybox"\n'
            '[images.x]\ninstallables = ["./default.nix#good"]\n'
        )
        made.set(salt=made.salt, recipe=1, url=oracle.url)
        return made

    def set(self, **values: object) -> None:
        """Change values of the expression."""
        file = self.folder / "values.json"
        old = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**old, **values}))

    def nix(self, *command: str, environ: Mapping[str, str] = _NOTHING) -> Done:
        """Run a command of real Nix."""
        return self._run(command, {**self.oracle.environ, **environ})

    def nixbk(
        self, *command: str, code: int | None = 0, environ: Mapping[str, str] = _NOTHING
    ) -> Done:
        """Run nixbk, which has to end with *code*."""
        done = self._run((*NIXBK, *command), {**self.subject.environ, **environ})
        assert code is None or done.code == code, done.err
        return done

    def drv(self, attribute: str) -> str:
        """The path of a derivation."""
        done = self.nix("nix-instantiate", "default.nix", "-A", attribute)
        assert done.code == 0, done.err
        return done.out.strip().partition("!")[0]

    def info(self, path: str) -> Any:
        """What Nix knows of a store path."""
        done = self.nix("nix", "path-info", "--json", "--json-format", "1", path)
        return json.loads(done.out)[path]

    def _run(self, command: tuple[str, ...], environ: Mapping[str, str]) -> Done:
        return execute(
            command,
            cwd=self.folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            errors="surrogateescape",
        )
