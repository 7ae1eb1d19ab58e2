"""What is asked for on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.apply.realise import evaluate
from nixbk.schema.installable import InstallableError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_no_installable(tmp_path: Path) -> None:
    """It is refused before anything is evaluated, and named."""
    with pytest.raises(InstallableError) as caught:
        evaluate(tmp_path / "nixbk.toml", ["./default.nix#hello", "./default.nix#hello^"])
    assert str(caught.value) == (
        "./default.nix#hello^: expected output names after '^', found ''\n"
        "  hint: write '^out,dev' or '^*'"
    )
