"""``nixbk init``."""

from __future__ import annotations

from pathlib import Path

import pytest

from nixbk.cli.init import init
from nixbk.schema.files import FileError, read_manifest


def test_the_starter_is_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What init writes can be locked, and is named after its folder."""
    folder = tmp_path / "My App!"
    folder.mkdir()
    init(folder / "nixbk.toml")
    manifest = read_manifest(folder / "nixbk.toml").manifest
    assert list(manifest.images) == ["my-app"]
    assert capsys.readouterr().out == f"{folder / 'nixbk.toml'} written; next: nixbk lock\n"


def test_every_commented_line_is_valid(tmp_path: Path) -> None:
    """A user may take any of the comments away."""
    folder = tmp_path / "app"
    folder.mkdir()
    place = folder / "nixbk.toml"
    init(place)
    lines = place.read_text().splitlines()
    starts: tuple[str, ...] = (
        "# [",
        "# name",
        "# platforms",
        "# cmd",
        "# env",
        "# workdir",
        "# user",
        "# labels",
    )
    starts += ("# ports", "# type", "# path", "# shell")
    bare = [line.removeprefix("# ") if line.startswith(starts) else line for line in lines]
    place.write_text("\n".join(bare))
    image = read_manifest(place).manifest.images["app"]
    assert (image.ports, len(image.outputs)) == (("8080/tcp",), 1)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A manifest that is there stays."""
    place = tmp_path / "nixbk.toml"
    place.write_text("mine")
    with pytest.raises(FileError) as caught:
        init(place)
    assert str(caught.value) == f"{place}: the file exists already"
    assert place.read_text() == "mine"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The system's reason is shown."""
    place = Path(tmp_path / "none" / "nixbk.toml")
    with pytest.raises(FileError) as caught:
        init(place)
    assert str(caught.value) == f"{place}: cannot write the file: no such file or directory"
