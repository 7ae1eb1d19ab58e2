"""Trees of pinned inputs, fetched without Nix.

A part of an input that is too large for the bundle is had again from where the input comes
from: as an archive over HTTP, or by git. What is fetched is held against the NAR hash of
the lock before anything of it is used, and kept in the user's cache folder by that hash.

Effect: fetches over the network; runs ``git``; writes to the cache folder.

Source: what Nix fetches for the same references, ``src/libfetchers`` of Nix.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from nixbk.errors import NixbkError
from nixbk.nix.nar import nar_hash
from nixbk.resolve.filesystem import nar_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.schema.lock import LockedInput

TIMEOUT_S = 60
_OURS = {
    "tarball": {"dir", "lastModified", "narHash", "rev", "revCount"},
    "git": {"allRefs", "dir", "exportIgnore", "lfs", "ref", "rev", "shallow", "submodules"},
}
_ASKS_MORE = {"exportIgnore", "lfs", "submodules"}
_REVISION = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")  # git takes other words for options
_FORGES = {
    "github": ("github.com", "https://{host}/{owner}/{repo}/archive/{rev}.tar.gz"),
    "gitlab": (
        "gitlab.com",
        "https://{host}/api/v4/projects/{owner}%2F{repo}/repository/archive.tar.gz?sha={rev}",
    ),
    "sourcehut": ("git.sr.ht", "https://{host}/{owner}/{repo}/archive/{rev}.tar.gz"),
}


class InputTreeError(NixbkError):
    """The tree of an input cannot be had without Nix."""


class Download(NamedTuple):
    """Where a tree comes from.

    Attributes:
        url: of an archive or of a git repository.
        rev: the git revision; None for an archive.
        ref: the branch or tag that has the revision, where it is known.
    """

    url: str
    rev: str | None = None
    ref: str | None = None


def download(reference: str) -> Download:
    """Where the tree of a locked flake reference comes from.

    Raises:
        InputTreeError: it takes Nix to fetch this kind of reference.
    """
    scheme, _, rest = reference.partition(":")
    kind, plus, transport = scheme.partition("+")
    if kind in _FORGES:
        host, form = _FORGES[kind]
        place, _, query = rest.partition("?")
        parts = place.split("/")
        if len(parts) == 3:  # noqa: PLR2004 - owner, repository and revision
            owner, repo, rev = (quote(unquote(part), safe="~") for part in parts)
            host = dict(parse_qsl(query)).get("host", host)
            return Download(form.format(host=host, owner=owner, repo=repo, rev=rev))
    elif plus and kind in _OURS and transport in ("http", "https", "ssh", "file"):
        url = urlsplit(f"{transport}:{rest}")
        parameters = parse_qsl(url.query, keep_blank_values=True)
        known = {key: value for key, value in parameters if key in _OURS[kind]}
        left = [(key, value) for key, value in parameters if key not in _OURS[kind]]
        address = urlunsplit(url._replace(query=urlencode(left)))
        if kind == "tarball":
            return Download(address)
        if _REVISION.fullmatch(known.get("rev", "")) and not _ASKS_MORE & known.keys():
            return Download(address, known["rev"], known.get("ref"))
    raise InputTreeError(f"it takes Nix to fetch {reference!r}")


class InputTrees:
    """Trees of inputs in a folder of the user's cache.

    Args:
        folder: made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> InputTrees:
        """Those of the user's own cache folder."""
        base = environ.get("XDG_CACHE_HOME", "")
        cache = Path(base) if base.startswith("/") else Path.home() / ".cache"
        return cls(cache / "nixbk" / "inputs")

    def tree(self, locked: LockedInput) -> Path:
        """The tree of *locked*, fetched unless it is there.

        Raises:
            InputTreeError: it cannot be fetched, or is not what was locked.
        """
        place = self._folder / locked.nar_hash.digest.hex()
        if place.exists():
            return place
        source = download(locked.locked)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self._folder) as name:
                fetch = _unpack_archive if source.rev is None else _check_out
                tree = fetch(source, Path(name))
                found, _ = nar_hash(nar_of(tree))
                if found != locked.nar_hash:
                    raise InputTreeError(
                        f"{source.url!r} has the NAR hash {found.sri()!r}, "
                        f"not {locked.nar_hash.sri()!r}",
                        where=f"inputs.{locked.name}",
                    )
                try:
                    tree.rename(place)
                except OSError:
                    if not place.exists():  # somebody else was quicker
                        raise
        except (OSError, tarfile.TarError, subprocess.SubprocessError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is an open answer, too
            raise InputTreeError(
                f"cannot fetch {source.url!r}: {error}", where=f"inputs.{locked.name}"
            ) from error
        return place


def _unpack_archive(source: Download, folder: Path) -> Path:
    """Fetch an archive; its one folder is the tree, as Nix has it."""
    import urllib.request  # noqa: PLC0415 - slow to import, and few inputs are fetched so

    archive, tree = folder / "archive", folder / "tree"
    request = urllib.request.Request(source.url, headers={"User-Agent": "nixbk"})  # noqa: S310
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer,  # noqa: S310 - see download
        archive.open("wb") as file,
    ):
        shutil.copyfileobj(answer, file)
    tree.mkdir()
    with tarfile.open(archive) as packed:
        unpack(packed, tree)
    below = list(tree.iterdir())
    return below[0] if len(below) == 1 and below[0].is_dir() else tree


def unpack(packed: tarfile.TarFile, tree: Path) -> None:
    """Write files, folders and links below *tree*; times and owners are left out.

    Links are made last, so nothing is written through one. ``extractall`` has no filter
    before Python 3.11.4, and its filter refuses links that a tree may have.

    Raises:
        tarfile.TarError: a part lies outside of *tree*, or is nothing a tree has.
    """
    links: dict[Path, str] = {}
    for part in packed:
        place = tree / _inside(part.name)
        if part.issym():
            links[place] = part.linkname
        elif part.isdir():
            place.mkdir(parents=True, exist_ok=True)
        elif part.islnk():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / _inside(part.linkname), place)
        elif part.isfile() and (data := packed.extractfile(part)):
            place.parent.mkdir(parents=True, exist_ok=True)
            with data, place.open("wb") as file:
                shutil.copyfileobj(data, file)
            place.chmod(0o755 if part.mode & 0o100 else 0o644)
        else:
            raise tarfile.TarError(f"{part.name!r} is neither file, folder nor link")
    for place, target in links.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"{name!r} lies outside of the archive")
    return path


def _check_out(source: Download, folder: Path) -> Path:
    """Fetch one revision; a server that gives none gives what its branch has."""
    tree = folder / "tree"
    tree.mkdir()
    _git(tree, "init", "--quiet")
    try:
        _git(tree, "fetch", "--quiet", "--depth=1", "--", source.url, str(source.rev))
    except subprocess.CalledProcessError:
        _git(tree, "fetch", "--quiet", "--", source.url, source.ref or "HEAD")
    _git(tree, "-c", "core.autocrlf=false", "checkout", "--quiet", "--detach", str(source.rev))
    shutil.rmtree(tree / ".git")
    return tree


def _git(folder: Path, *arguments: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
