"""Trees of the disk as archives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nixbk.nix.nar import Data, Directory, RegularFile, Symlink, file_nar
from nixbk.resolve.filesystem import FilesystemError, nar_of, scan


def _tree(root: Path) -> None:
    (root / "b").mkdir()
    (root / "b" / "x").write_bytes(b"1" * 300_000)
    (root / "a").write_bytes(b"")
    (root / "a").chmod(0o744)
    (root / "Z").symlink_to("nowhere")
    (root / "é").mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"2")


def test_a_tree(tmp_path: Path) -> None:
    """Names come in the order of their bytes, links are not followed, files come in chunks."""
    _tree(tmp_path)
    assert list(scan(tmp_path)) == [
        Directory(""),
        Symlink("Z", "nowhere"),
        RegularFile("a", 0, executable=True),
        Directory("b"),
        RegularFile("b/x", 300_000),
        Data(b"1" * (1 << 18)),
        Data(b"1" * (300_000 - (1 << 18))),
        Directory("é"),
        RegularFile("\udcff", 1),
        Data(b"2"),
    ]


def test_what_is_kept(tmp_path: Path) -> None:
    """What the caller does not keep is not read at all."""
    _tree(tmp_path)
    kept = {"b", "b/x", "Z"}
    assert [
        event.path for event in scan(tmp_path, kept.__contains__) if not isinstance(event, Data)
    ] == [
        "",
        "Z",
        "b",
        "b/x",
    ]


def test_single_files_and_links(tmp_path: Path) -> None:
    """A root may be anything that an archive holds; a link is archived as such."""
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "l").symlink_to("f")
    assert b"".join(nar_of(tmp_path / "f")) == file_nar(b"x")
    assert list(scan(tmp_path / "l")) == [Symlink("", "f")]


def test_what_no_archive_holds(tmp_path: Path) -> None:
    """Pipes, and what is not there, are one clear error each."""
    place = tmp_path / "s"
    os.mkfifo(place)
    with pytest.raises(FilesystemError) as caught:
        list(scan(tmp_path))
    assert str(caught.value) == f"{place}: neither a file, a folder nor a symbolic link"
    with pytest.raises(FilesystemError) as caught:
        list(scan(tmp_path / "none"))
    assert str(caught.value) == (
        f"{tmp_path / 'none'}: cannot read the file: no such file or directory"
    )


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    """A tree that changes under the reader is no archive."""
    place = tmp_path / "f"
    place.write_bytes(b"x" * 10)
    events = scan(place)
    assert next(events) == RegularFile("", 10)
    place.write_bytes(b"x" * 20)
    with pytest.raises(FilesystemError) as caught:
        list(events)
    assert str(caught.value) == f"{place}: the file changed while it was read"


def test_folders_within_folders(tmp_path: Path) -> None:
    """Depth ends in an error and not in a crash."""
    place = tmp_path
    for _ in range(70):
        place = place / "d"
    place.mkdir(parents=True)
    with pytest.raises(FilesystemError) as caught:
        list(scan(tmp_path))
    assert caught.value.message == "the folders are nested too deeply"
