"""Real Nix, the oracle of these tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from real_nix import Nix


@pytest.fixture(scope="session")
def nix() -> Nix:
    """Real Nix; its absence is a failure, unless the user says NIXBK_NO_NIX."""
    if not shutil.which("nix"):
        if os.environ.get("NIXBK_NO_NIX"):
            pytest.skip("NIXBK_NO_NIX is set")
        pytest.fail(
            "no nix on PATH: run `make test`, or set NIXBK_NO_NIX=1 to leave these tests out"
        )
    root = Path(__file__).parents[2]
    return Nix(minipkgs=root / "examples" / "minipkgs")
