"""Reading and writing the user's files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from proven import lock

from nixbk.schema.files import FileError, read_lock, read_manifest, write_atomically
from nixbk.schema.lock_document import to_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lock_is_written_and_read(tmp_path: Path) -> None:
    """What is written is read, and nothing else is left in the folder."""
    path = tmp_path / "nixbk.lock"
    held = lock({"a": []})
    write_atomically(path, b"old")
    write_atomically(path, to_bytes(held))
    assert read_lock(path) == held
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_of_a_file_stays(tmp_path: Path) -> None:
    """A new file obeys the umask; an old one keeps its mode."""
    path = tmp_path / "nixbk.lock"
    old = os.umask(0o027)
    try:
        write_atomically(path, b"a")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    write_atomically(path, b"b")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens before the end, the old file is whole and alone."""
    path = tmp_path / "nixbk.lock"
    write_atomically(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileError) as caught:
        write_atomically(path, b"new")
    assert str(caught.value) == f"{path}: cannot write the file: no space left on device"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_files_say_what_makes_them(tmp_path: Path) -> None:
    """A first step is told, not a traceback."""
    manifest, held = tmp_path / "nixbk.toml", tmp_path / "nixbk.lock"
    with pytest.raises(FileError) as caught:
        read_manifest(manifest)
    assert str(caught.value) == f"{manifest}: no such file\n  hint: run 'nixbk init' to write one"
    with pytest.raises(FileError) as caught:
        read_lock(held)
    assert str(caught.value) == f"{held}: no such file\n  hint: run 'nixbk lock' to make it"
