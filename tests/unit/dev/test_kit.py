"""The development engines' folders and the example's pins, without fetching anything."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
PINS = json.loads((ROOT / "examples/minipkgs/sources.json").read_text())


def load(path: str) -> ModuleType:
    """A program of the repository as a module; neither folder is a package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


places = load("dev/kit/places.py")
prepare = load("examples/minipkgs/prepare.py")


def test_a_made_folder_is_made_once(tmp_path: Path) -> None:
    """What is there is not made again."""
    final = tmp_path / "tree"

    def fill(folder: Path) -> None:
        folder.mkdir()
        (folder / "file").write_text("made")

    places.made(final, fill)
    places.made(final, Path.rmdir)
    assert (final / "file").read_text() == "made"


def test_a_folder_half_made_is_not_taken_for_whole(tmp_path: Path) -> None:
    """A fetch that dies leaves no folder of the final name, and the next one starts afresh."""
    final = tmp_path / "tree"

    def die(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        places.made(final, die)
    assert not final.exists()
    places.made(final, Path.mkdir)
    assert list(final.iterdir()) == []


def test_a_key_tells_recipes_apart() -> None:
    """Where one word ends and the next begins counts."""
    assert places.key("ab", "c") != places.key("a", "bc")


def test_what_apt_prints_becomes_a_pin() -> None:
    """The path keeps the archive's encoding; the name is one that a store path may have."""
    printed = (
        "'http://a/debian/pool/main/g/g/g_1%2bdeb~2.deb' g_1+deb~2.deb 42 SHA256:00ff\nW: no\n"
    )
    assert prepare.rows(printed) == [
        (
            "g_1+deb~2.deb",
            {
                "path": "pool/main/g/g/g_1%2bdeb~2.deb",
                "name": "g_1-deb-2.deb",
                "sha256": "00ff",
                "size": 42,
            },
        )
    ]


@pytest.mark.parametrize("section", ["debs", "srcs", "seed"])
def test_pins_are_complete(section: str) -> None:
    """Every pin has a path below the pool, a digest and a size."""
    for row in PINS[section].values():
        assert set(row) == {"path", "name", "sha256", "size"}
        assert row["path"].startswith("pool/")
        assert len(bytes.fromhex(row["sha256"])) == 32
        assert row["size"] > 0


def test_a_file_with_other_bytes_is_not_whole(tmp_path: Path) -> None:
    """A damaged download is fetched again."""
    row = next(iter(PINS["debs"].values()))
    file = tmp_path / "file"
    assert not prepare.is_whole(file, row)
    file.write_bytes(b"damaged")
    assert not prepare.is_whole(file, row)
