"""Where the trees of inputs come from."""

from __future__ import annotations

import pytest

from nixbk.resolve.input_trees import Download, InputTreeError, download

HASH = "narHash=sha256-LPJNul%2Bwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ%3D"
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
    "git+https://example.org/r.git?ref=refs/heads/main&rev=abc": Download(
        "https://example.org/r.git", "abc", "refs/heads/main"
    ),
    "git+ssh://git@example.org/r?rev=abc&dir=sub": Download("ssh://git@example.org/r", "abc"),
}


@pytest.mark.parametrize(("reference", "found"), DOWNLOADS.items(), ids=DOWNLOADS)
def test_downloads(reference: str, found: Download) -> None:
    """A locked reference says where its tree is, as Nix reads it."""
    assert download(reference) == found


REFUSED = [
    "path:./x",
    "hg+https://example.org/r?rev=1",
    "git+https://example.org/r?submodules=1&rev=1",
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
