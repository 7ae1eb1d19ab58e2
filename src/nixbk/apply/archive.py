"""Reads the configuration of an image in an OCI archive. Effect: reads one file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import tarfile
    from pathlib import Path

_MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024


def archive_config(file: Path) -> Any:
    """The configuration of the one image in the archive *file*.

    Returns:
        The parsed document; None when there is no file, or none that holds one image.

    Source: OCI image layout, ``image-layout.md``.
    """
    import tarfile  # noqa: PLC0415  few plans have an archive

    try:
        with tarfile.open(file, "r:") as archive:
            manifests = _document(archive, "index.json")["manifests"]
            if len(manifests) != 1:
                return None
            manifest = _document(archive, _blob(manifests[0]["digest"]))
            return _document(archive, _blob(manifest["config"]["digest"]))
    except FileNotFoundError:
        return None
    except (tarfile.TarError, KeyError, TypeError, ValueError):
        return None


def _document(archive: tarfile.TarFile, name: str) -> Any:
    member = archive.getmember(name)
    stream = archive.extractfile(member)
    if stream is None or member.size > _MAX_DOCUMENT_BYTES:
        raise KeyError(name)
    return json.load(stream)


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)
