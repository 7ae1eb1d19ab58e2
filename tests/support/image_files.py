"""The files of an image, and of the store of real Nix. Effect: reads files."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GZIP: Final = b"\x1f\x8b"


def image_files(archive: Path) -> dict[str, str | bytes]:
    """What is below ``/nix/store`` in an image written by ``docker save`` or as ``oci``.

    Returns:
        the bytes of files and the targets of symlinks, by absolute path.
    """
    found: dict[str, str | bytes] = {}
    for layer in image_layers(archive):
        found |= _layer_files(layer)
    return found


def image_layers(archive: Path) -> list[bytes]:
    """The layers of such an image, the lowest first, uncompressed."""
    with tarfile.open(archive) as outer:
        names = set(outer.getnames())

        def read(name: str) -> bytes:
            file = outer.extractfile(name)
            assert file is not None, name
            return file.read()

        def blob(descriptor: Mapping[str, str]) -> str:
            return "blobs/" + descriptor["digest"].replace(":", "/")

        if "manifest.json" in names:
            layers = json.loads(read("manifest.json"))[0]["Layers"]
        else:
            manifest = json.loads(read(blob(json.loads(read("index.json"))["manifests"][0])))
            layers = [blob(layer) for layer in manifest["layers"]]
        found = [read(layer) for layer in layers]
    return [gzip.decompress(data) if data.startswith(GZIP) else data for data in found]


def _layer_files(data: bytes) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as layer:
        for entry in layer:
            name = "/" + entry.name.removeprefix("/")
            if not name.startswith("/nix/store/"):
                continue
            if entry.issym():
                found[name] = entry.linkname
            elif entry.isfile() or entry.islnk():
                file = layer.extractfile(entry)
                assert file is not None
                found[name] = file.read()
    return found


def store_files(paths: Iterable[str]) -> dict[str, str | bytes]:
    """What real Nix has at store paths: bytes of files and targets of symlinks."""
    found: dict[str, str | bytes] = {}
    for path in paths:
        tops = [Path(path)]
        tops += [Path(at, name) for at, folders, names in os.walk(path) for name in folders + names]
        for place in tops:
            if place.is_symlink():
                found[str(place)] = str(place.readlink())
            elif place.is_file():
                found[str(place)] = place.read_bytes()
    return found
