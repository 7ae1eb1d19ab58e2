"""Where the package finds its helper programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.errors import NixbkError
from nixbk.helper import HelperBinary, helper_binary

if TYPE_CHECKING:
    from pathlib import Path

    from nixbk.helper import HelperKind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package's folder with the programs for amd64 alone."""
    (tmp_path / "linux-amd64").mkdir()
    (tmp_path / "linux-amd64" / "build").write_bytes(b"build")
    (tmp_path / "linux-amd64" / "unpack").write_bytes(b"unpack!")
    (tmp_path / "SHA256SUMS").write_text(
        f"{'1' * 64}  linux-amd64/build\n{'2' * 64}  linux-amd64/unpack\n"
    )
    return tmp_path


@pytest.mark.parametrize(("kind", "digit", "size_bytes"), [("build", "1", 5), ("unpack", "2", 7)])
def test_found(folder: Path, kind: HelperKind, digit: str, size_bytes: int) -> None:
    """Path, recorded hash and size of a program."""
    expected = HelperBinary(folder / "linux-amd64" / kind, digit * 64, size_bytes)
    assert helper_binary(kind, "amd64", folder=folder) == expected


def test_other_architecture(folder: Path) -> None:
    """An architecture without programs is named, with those that have some."""
    with pytest.raises(NixbkError) as caught:
        helper_binary("build", "riscv64", folder=folder)
    assert str(caught.value) == (
        "there is no helper program for linux/riscv64\n"
        "  hint: nixbk builds on linux/amd64 and linux/arm64"
    )


def test_none(tmp_path: Path) -> None:
    """A package that was installed without programs says how to get them."""
    with pytest.raises(NixbkError) as caught:
        helper_binary("build", "amd64", folder=tmp_path)
    assert str(caught.value) == (
        "this installation of nixbk has no helper programs\n"
        "  hint: install it with Go on PATH, or run 'python hatch_build.py --ensure'"
    )
