"""Files beside a manifest, found by their archives; folders that are no git repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.nix.nar import nar_hash
from nixbk.resolve.filesystem import nar_of
from nixbk.resolve.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files, links and folders, some of them equal."""
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "setup.sh").write_text("hello")
    (tmp_path / "copy.sh").write_text("hello")
    (tmp_path / "sub" / "setup.sh").write_text("hello")
    (tmp_path / "sub" / "deep" / "tool").write_text("#!")
    (tmp_path / "sub" / "deep" / "tool").chmod(0o755)
    (tmp_path / "sub" / "link").symlink_to("deep/tool")
    (tmp_path / "nixbk.lock").write_text("")
    return tmp_path


FOUND = {
    "a file": ("setup.sh", "setup.sh", "setup.sh"),
    "its own name first": ("sub/setup.sh", "setup.sh", "setup.sh"),
    "a file by another name": ("setup.sh", "other.sh", None),
    "an executable": ("sub/deep/tool", "tool", "sub/deep/tool"),
    "a link": ("sub/link", "link", "sub/link"),
    "a folder": ("sub/deep", "deep", "sub/deep"),
    "a folder by another name": ("sub", "seed", "sub"),
}


@pytest.mark.parametrize(("place", "name", "found"), FOUND.values(), ids=FOUND)
def test_find(folder: Path, place: str, name: str, found: str | None) -> None:
    """What has the archive is found: files by their name, folders by any."""
    assert Repository(folder, ["nixbk.lock"]).find(name, *nar_hash(nar_of(folder / place))) == found


def test_the_folder_itself_without_its_lock(folder: Path) -> None:
    """A lock is no part of the tree that it locks."""
    whole = nar_hash(nar_of(folder, lambda path: path != "nixbk.lock"))
    assert Repository(folder, ["nixbk.lock"]).find("source", *whole) == "."
    assert Repository(folder).find("source", *whole) is None


def test_what_is_nowhere(folder: Path) -> None:
    """Equal sizes are not enough."""
    before = nar_hash(nar_of(folder / "copy.sh"))
    (folder / "copy.sh").write_text("olleh")
    (folder / "setup.sh").write_text("ehllo")
    (folder / "sub" / "setup.sh").unlink()
    assert Repository(folder).find("setup.sh", *before) is None
