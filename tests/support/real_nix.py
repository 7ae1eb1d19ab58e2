"""Real Nix as an oracle. Runs its commands."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

FEATURES: Final = "nix-command flakes ca-derivations impure-derivations git-hashing"


@dataclass(frozen=True)
class Nix:
    """Real Nix, run as a command."""

    minipkgs: Path

    def run(self, *command: str | Path, stdin: bytes | None = None) -> bytes:
        """What *command* prints; fails the test with its errors if it fails."""
        environment = {**os.environ, "NIX_CONFIG": f"extra-experimental-features = {FEATURES}"}
        done = subprocess.run(
            list(map(str, command)), input=stdin, capture_output=True, check=False, env=environment
        )
        if done.returncode:
            pytest.fail(f"{command} failed:\n{done.stderr.decode(errors='replace')}")
        return done.stdout

    def words(self, *command: str | Path) -> list[str]:
        """The words that *command* prints."""
        return self.run(*command).decode().split()

    def closure(self, paths: list[str]) -> list[Path]:
        """All ``.drv`` files that *paths* need, themselves included."""
        found = self.words("nix-store", "--query", "--requisites", *paths)
        return [Path(path) for path in found if path.endswith(".drv")]
