"""Where the trees of inputs come from."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from nixbk.resolve.input_trees import Download, InputTreeError, download, unpack

if TYPE_CHECKING:
    from pathlib import Path

HASH = "narHash=sha256-LPJNul%2Bwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ%3D"
REV = "0123456789" * 4
DOWNLOADS = {
    f"github:NixOS/nixpkgs/abc?{HASH}": Download(
        "https://github.com/NixOS/nixpkgs/archive/abc.tar.gz"
    ),
    f"github:a/b/abc?host=git.example.org&{HASH}": Download(
        "https://git.example.org/a/b/archive/abc.tar.gz"
    ),
    "gitlab:group%2Fsub/repo/abc": Download(
        "https://gitlab.com/api/v4/projects/group%2Fsub%2Frepo/repository/archive.tar.gz?sha=abc"
    ),
    "sourcehut:~me/repo/abc": Download("https://git.sr.ht/~me/repo/archive/abc.tar.gz"),
    f"tarball+https://example.org/x.tar.gz?a=b&{HASH}&rev=1&lastModified=2": Download(
        "https://example.org/x.tar.gz?a=b"
    ),
    f"git+https://example.org/r.git?ref=refs/heads/main&rev={REV}": Download(
        "https://example.org/r.git", REV, "refs/heads/main"
    ),
    f"git+ssh://git@example.org/r?rev={REV}&dir=sub": Download("ssh://git@example.org/r", REV),
}


@pytest.mark.parametrize(("reference", "found"), DOWNLOADS.items(), ids=DOWNLOADS)
def test_downloads(reference: str, found: Download) -> None:
    """A locked reference says where its tree is, as Nix reads it."""
    assert download(reference) == found


REFUSED = [
    "path:./x",
    "hg+https://example.org/r?rev=1",
    f"git+https://example.org/r?submodules=1&rev={REV}",
    "git+https://example.org/r?rev=--quiet",
    "git+https://example.org/r",
    "github:a/b",
    "indirect",
    "",
]


@pytest.mark.parametrize("reference", REFUSED)
def test_what_only_nix_fetches(reference: str) -> None:
    """The rest goes to the bundle."""
    with pytest.raises(InputTreeError) as caught:
        download(reference)
    assert str(caught.value) == f"it takes Nix to fetch {reference!r}"


# name -> (type, mode, what is in it or where it leads)
TREE = {
    "x": (tarfile.DIRTYPE, 0o700, ""),
    "x/away": (tarfile.SYMTYPE, 0o777, "/etc"),
    "x/run": (tarfile.REGTYPE, 0o4710, "#!"),
    "x/dir/deep": (tarfile.REGTYPE, 0o600, "deep"),
    "x/same": (tarfile.LNKTYPE, 0o644, "x/dir/deep"),
    "x/up": (tarfile.SYMTYPE, 0o777, "../run"),
}


def _packed(parts: dict[str, tuple[bytes, int, str]]) -> tarfile.TarFile:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, (kind, mode, text) in parts.items():
            part = tarfile.TarInfo(name)
            part.type, part.mode = kind, mode
            if kind == tarfile.REGTYPE:
                part.size = len(text)
            else:
                part.linkname = text
            archive.addfile(part, io.BytesIO(text.encode()))
    data.seek(0)
    return tarfile.open(fileobj=data)


def test_an_archive_is_unpacked(tmp_path: Path) -> None:
    """Files have the bytes and the one mode bit that count, links lead where they led."""
    with _packed(TREE) as packed:
        unpack(packed, tmp_path)
    found = {
        str(place.relative_to(tmp_path)): str(place.readlink())
        if place.is_symlink()
        else (place.read_text(), oct(place.stat().st_mode))
        for place in tmp_path.rglob("*")
        if place.is_symlink() or place.is_file()
    }
    assert found == {
        "x/away": "/etc",
        "x/run": ("#!", "0o100755"),
        "x/dir/deep": ("deep", "0o100644"),
        "x/same": ("deep", "0o100644"),
        "x/up": "../run",
    }


OUTSIDE = {
    "up": ({"../x": (tarfile.REGTYPE, 0o644, "")}, "'../x' lies outside of the archive"),
    "root": ({"/x": (tarfile.REGTYPE, 0o644, "")}, "'/x' lies outside of the archive"),
    "hard link": (
        {"x": (tarfile.LNKTYPE, 0o644, "../y")},
        "'../y' lies outside of the archive",
    ),
    "device": (
        {"x": (tarfile.CHRTYPE, 0o644, "")},
        "'x' is neither file, folder nor link",
    ),
}


@pytest.mark.parametrize(("parts", "said"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_lies_outside_is_refused(
    parts: dict[str, tuple[bytes, int, str]], said: str, tmp_path: Path
) -> None:
    """An archive cannot write anywhere but below its folder."""
    with _packed(parts) as packed, pytest.raises(tarfile.TarError) as caught:
        unpack(packed, tmp_path)
    assert str(caught.value) == said
    assert not any(tmp_path.iterdir())


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A link that a later part lies below is in nobody's way."""
    away, tree = tmp_path / "away", tmp_path / "tree"
    away.mkdir()
    parts = {
        "x": (tarfile.SYMTYPE, 0o777, str(away)),
        "x/y": (tarfile.REGTYPE, 0o644, "y"),
    }
    with _packed(parts) as packed, pytest.raises(FileExistsError):
        unpack(packed, tree)
    assert not any(away.iterdir())
