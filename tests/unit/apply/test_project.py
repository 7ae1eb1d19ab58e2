"""A manifest and its lock are read together, and what is wrong is said of the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from proven import lock as make_lock

from nixbk.apply.project import open_project
from nixbk.errors import NixbkError
from nixbk.schema.lock_document import to_bytes

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = '[images.demo]\ninstallables = ["./default.nix#app"]\n'


def write(folder: Path, manifest: str | None = MANIFEST) -> Path:
    """A folder with a lock of ``app``, and a manifest; returns the manifest's file."""
    (folder / "nixbk.lock").write_bytes(to_bytes(make_lock({"lib": [], "app": ["lib"]})))
    file = folder / "nixbk.toml"
    if manifest is not None:
        file.write_text(manifest)
    return file


def test_both_are_there(tmp_path: Path) -> None:
    """All images of the lock are meant when none is named."""
    project = open_project(write(tmp_path), None, None)
    assert project.images == ("demo",)
    assert project.manifest.images["demo"].installables == ("./default.nix#app",)


def test_the_manifest_is_read_when_there_is_time(tmp_path: Path) -> None:
    """Its faults come with its first use, whenever it was read."""
    project = open_project(write(tmp_path, "x = 1\n"), None, None)
    project.meanwhile()
    for _ in range(2):
        with pytest.raises(NixbkError, match=r"nixbk\.toml"):
            _ = project.manifest


STALE = (
    "nixbk.toml changed since nixbk.lock was made: images.demo.installables\n"
    "  hint: run 'nixbk lock'"
)
FAULTS = {
    "no manifest": (None, [], "nixbk.toml: no such file\n  hint: run 'nixbk init' to write one"),
    "another installable": (MANIFEST.replace("app", "lib"), [], STALE),
    "an image nobody knows": (
        MANIFEST,
        ["web"],
        "nixbk.toml: there is no image 'web'\n  hint: the images are demo",
    ),
}


@pytest.mark.parametrize(("manifest", "images", "text"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(tmp_path: Path, manifest: str | None, images: list[str], text: str) -> None:
    """Nothing is done with a manifest that is wrong or not what was locked."""
    file = write(tmp_path, manifest)
    with pytest.raises(NixbkError) as caught:
        _ = open_project(file, None, images).manifest
    assert str(caught.value).replace(f"{tmp_path}/", "") == text


def test_the_manifests_fault_comes_first(tmp_path: Path) -> None:
    """Who has neither file is told to begin with the manifest."""
    with pytest.raises(NixbkError, match=r"nixbk\.toml: no such file"):
        open_project(tmp_path / "nixbk.toml", None, None)


def test_a_manifest_without_lock(tmp_path: Path) -> None:
    """Who has no lock is told how to make it."""
    file = write(tmp_path)
    (tmp_path / "nixbk.lock").unlink()
    with pytest.raises(NixbkError, match=r"nixbk\.lock: no such file\n  hint: run 'nixbk lock'"):
        open_project(file, None, None)


NAMES = {
    "nothing is said": ("[images.demo]\n", ("demo:latest",)),
    "a name": ('[images.demo]\nname = "r/x:1"\n', ("r/x:1",)),
    "elsewhere": ('[images.demo]\n[[images.demo.outputs]]\ntype = "oci"\npath = "x"\n', ()),
    "there, too": (
        '[images.demo]\noutputs = [{type = "registry"}, {type = "docker"}]\n',
        ("demo:latest",),
    ),
    "another image": ("[images.web]\n", ()),
    "no manifest": ("images = 1\n", ()),
    "no TOML": ("[images", ()),
}


@pytest.mark.parametrize(("manifest", "names"), NAMES.values(), ids=NAMES.keys())
def test_names_are_known_early(tmp_path: Path, manifest: str, names: tuple[str, ...]) -> None:
    """What images are called in Docker is told without saying what is wrong with a manifest."""
    assert open_project(write(tmp_path, manifest), None, None).names_in_docker == names
