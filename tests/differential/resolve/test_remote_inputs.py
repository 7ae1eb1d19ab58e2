"""Inputs over HTTP: pinned by Nix, and had again without it."""

from __future__ import annotations

import http.server
import shutil
import tarfile
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from nixbk.nix.nar import nar_hash
from nixbk.resolve.evaluator import InputRequest
from nixbk.resolve.input_trees import InputTrees
from nixbk.resolve.locker import make_lock
from nixbk.resolve.nix_command import NixCommand
from nixbk.resolve.sources import SourceError, open_source
from nixbk.schema.files import read_manifest, write_atomically
from nixbk.schema.lock import BundleOrigin, InputOrigin
from nixbk.schema.lock_document import to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nixbk.resolve.locker import Locked

USE = """
{ archive, repository }: let make = name: src: derivation {
  inherit name src; system = "x86_64-linux"; builder = "/bin/sh"; };
in {
  small = make "small" (builtins.path { path = archive + "/small"; });
  big = make "big" (builtins.path { path = archive + "/dir/big"; });
  whole = make "whole" "${archive}";
  checkout = make "checkout" "${repository}";
}
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path, run: Callable[..., str]) -> Iterator[str]:
    """An HTTP server with an archive and a git repository of the same tree."""
    tree = tmp_path / "tree"
    (tree / "dir").mkdir(parents=True)
    (tree / "small").write_text("small")
    (tree / "dir" / "big").write_bytes(bytes(range(256)) * 8000)
    (tree / "run").write_text("#!")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("dir/big")
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "x.tar.gz", "w:gz") as file:
        file.add(tree, "x-1.0")
    run("git", "init", "--quiet", folder=tree)
    run("git", "add", ".", folder=tree)
    run("git", "commit", "--quiet", "-m", "start", folder=tree)
    run("git", "clone", "--quiet", "--bare", str(tree), str(served / "r.git"))
    run("git", "update-server-info", folder=served / "r.git")
    handler = partial(_Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path, site: str) -> Path:
    """A manifest with inputs of the site."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "use.nix").write_text(USE)
    (place / "nixbk.toml").write_text(
        f"inputs.archive = {{ url = 'tarball+{site}/x.tar.gz', flake = false }}\n"
        f"inputs.repository = {{ url = 'git+{site}/r.git', flake = false }}\n"
        "[images.x]\n"
        "installables = ['use.nix#small', 'use.nix#big', 'use.nix#whole', 'use.nix#checkout']\n"
    )
    return place


def _lock(folder: Path, cache: Path) -> Locked:
    lock_path = folder / "nixbk.lock"
    file = read_manifest(folder / "nixbk.toml")
    made = make_lock(file, folder, lock_path, NixCommand(folder), trees=lambda: InputTrees(cache))
    write_atomically(lock_path, to_bytes(made.lock))
    return made


def test_large_parts_are_had_again_from_where_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of an input is fetched without Nix, and has the bytes that Nix has."""
    made = _lock(folder, tmp_path / "cache")
    archive, repository = (made.lock.inputs[name] for name in ("archive", "repository"))
    assert repository.rev is not None
    assert archive.nar_hash == repository.nar_hash
    origins = {s.path.name: s.origin for s in made.lock.sources.values()}
    assert isinstance(origins.pop("small"), BundleOrigin)
    assert origins.pop("big") == InputOrigin("archive", "dir/big")
    assert list(origins.values()) == [InputOrigin("archive", "")]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))
    for path, source in made.lock.sources.items():
        if isinstance(source.origin, InputOrigin):
            with open_source(folder / "nixbk.lock", source) as file:
                assert file.read() == b"".join(NixCommand(folder).nar(path))


def test_what_older_nix_does_not_say(folder: Path) -> None:
    """A plain tree is pinned alike by Nix before 2.19, which does not print how it is locked."""
    nix = NixCommand(folder)
    for name, entry in read_manifest(folder / "nixbk.toml").manifest.inputs.items():
        known = nix.lock_input(InputRequest(name, entry.url, flake=False)).locked
        told = nix._pin(entry.url)
        assert (told.get("rev"), told["narHash"]) == (known.rev, known.nar_hash.sri())
        assert told.get("lastModified") == known.last_modified


def test_a_repository_is_checked_out(folder: Path, tmp_path: Path) -> None:
    """Git gives the tree that Nix has of the same revision."""
    made = _lock(folder, tmp_path / "cache")
    tree = InputTrees(tmp_path / "other").tree(made.lock.inputs["repository"])
    assert sorted(place.name for place in tree.iterdir()) == ["dir", "link", "run", "small"]


def test_what_changed_since_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that gives other files now is found out."""
    made = _lock(folder, tmp_path / "cache")
    served = tmp_path / "served" / "x.tar.gz"
    with tarfile.open(served, "w:gz") as file:
        file.add(folder / "use.nix", "x/use.nix")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))
    source = next(s for s in made.lock.sources.values() if isinstance(s.origin, InputOrigin))
    with pytest.raises(SourceError) as caught:
        open_source(folder / "nixbk.lock", source, made.lock.inputs)
    assert "has the NAR hash" in caught.value.message
    served.unlink()
    with pytest.raises(SourceError) as caught:
        open_source(folder / "nixbk.lock", source, made.lock.inputs)
    assert "HTTP Error 404" in caught.value.message
    assert not any((tmp_path / "fresh" / "nixbk" / "inputs").iterdir())


def test_what_cannot_be_fetched_again_goes_to_the_bundle(folder: Path, tmp_path: Path) -> None:
    """A lock is complete even where only Nix can fetch."""
    first = _lock(folder, tmp_path / "cache")
    shutil.rmtree(tmp_path / "served")
    file = read_manifest(folder / "nixbk.toml")
    made = make_lock(
        file,
        folder,
        folder / "nixbk.lock",
        NixCommand(folder),
        old=first.lock,
        trees=lambda: InputTrees(tmp_path / "fresh"),
    )
    assert made.lock.inputs == first.lock.inputs
    assert all(isinstance(source.origin, BundleOrigin) for source in made.lock.sources.values())
    big = next(s for s in made.lock.sources.values() if s.path.name == "big")
    digest = big.nar_hash.digest.hex()
    assert nar_hash(made.bundle[digest]()) == (big.nar_hash, big.nar_size)
