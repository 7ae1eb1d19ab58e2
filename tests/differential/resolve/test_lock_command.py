"""``nixbk lock`` with real Nix and real git."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixbk.nix.nar import nar_hash
from nixbk.nix.store_path import StorePath
from nixbk.resolve.bundle import is_whole
from nixbk.resolve.filesystem import nar_of
from nixbk.resolve.nix_command import NixCommand
from nixbk.resolve.sources import changed_sources, open_source
from nixbk.schema.files import read_lock
from nixbk.schema.lock import BundleOrigin, FileOrigin

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
MANIFEST = """
sandbox.shell = "ignored/busybox"
[images.x]
installables = ["default.nix#plain", ".#web"]
"""


@pytest.fixture
def manifest(project: Path) -> Path:
    """A manifest in the project, with a shell that git ignores."""
    (project / "ignored").mkdir()
    (project / "ignored" / "busybox").write_text("shell")
    (project / "nixbk.toml").write_text(MANIFEST)
    return project / "nixbk.toml"


def _nixbk(*arguments: str, folder: Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "nixbk", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if not code else done.stderr


def test_locking_again_changes_nothing(manifest: Path, run: Callable[..., str]) -> None:
    """A lock is up to date once it is made, and when it is committed to the flake it locks."""
    folder = manifest.parent
    run("git", "add", ".", folder=folder)
    assert "nixbk.lock written: 2 derivations (2 added)" in _nixbk("lock", folder=folder)
    assert _nixbk("lock", folder=folder) == "nixbk.lock is up to date\n"
    run("git", "add", ".", folder=folder)
    run("git", "commit", "--quiet", "-m", "locked", folder=folder)
    assert "nixbk.lock" in run("git", "ls-files", folder=folder).split()
    assert _nixbk("lock", "--check", folder=folder) == "nixbk.lock is up to date\n"


def test_a_flake_that_uses_all_of_itself(manifest: Path, run: Callable[..., str]) -> None:
    """A lock is no part of the flake it lies in, so committing it does not make it stale."""
    folder = manifest.parent
    manifest.write_text("[images.x]\ninstallables = ['.#whole']\n")
    run("git", "add", ".", folder=folder)
    before = run("nix", "path-info", "--derivation", ".#whole", folder=folder).strip()
    _nixbk("lock", folder=folder)
    assert [str(path) for path in read_lock(folder / "nixbk.lock").roots] == [before]
    run("git", "commit", "--quiet", "-m", "not yet locked", folder=folder)
    assert _nixbk("lock", "--check", folder=folder) == "nixbk.lock is up to date\n"
    run("git", "add", ".", folder=folder)
    run("git", "commit", "--quiet", "-m", "locked", folder=folder)
    assert _nixbk("lock", "--check", folder=folder) == "nixbk.lock is up to date\n"
    origins = {s.path.name: s.origin for s in read_lock(folder / "nixbk.lock").sources.values()}
    assert origins["source"] == FileOrigin(".")
    assert changed_sources(folder / "nixbk.lock", read_lock(folder / "nixbk.lock")) == ()


def test_where_sources_come_from(manifest: Path) -> None:
    """What git tracks is found in the repository; what it ignores, or Nix made, is bundled."""
    folder = manifest.parent
    _nixbk("lock", folder=folder)
    lock_path = folder / "nixbk.lock"
    lock = read_lock(lock_path)
    found = {source.path.name: source for source in lock.sources.values()}
    assert found["setup.sh"].origin == FileOrigin("setup.sh")
    assert found["src"].origin == FileOrigin("src")
    assert found["r"].origin == FileOrigin("src")
    assert isinstance(found["note"].origin, BundleOrigin)
    assert isinstance(found["sh"].origin, BundleOrigin)
    archives = {s.nar_hash.digest.hex() for s in (found["note"], found["sh"])}
    assert {place.name for place in (folder / "nixbk.sources").iterdir()} == {
        f"{digest}.nar.xz" for digest in archives
    }
    assert is_whole(lock_path, archives)


def test_sources_without_nix(manifest: Path, tmp_path: Path) -> None:
    """A copy of what is committed gives every source, with the bytes that Nix has."""
    _nixbk("lock", folder=manifest.parent)
    copy = tmp_path / "copy"
    shutil.copytree(manifest.parent, copy, ignore=shutil.ignore_patterns(".git", "ignored"))
    (copy / "src" / "__pycache__").mkdir()  # in no repository everything counts
    lock = read_lock(copy / "nixbk.lock")
    assert [error.message for error in changed_sources(copy / "nixbk.lock", lock)] == [
        "'src' is not what was locked as 'r'",
        "'src' is not what was locked as 'src'",
    ]
    (copy / "src" / "__pycache__").rmdir()
    store = NixCommand(copy)
    for path, source in lock.sources.items():
        with open_source(copy / "nixbk.lock", source) as file:
            data = file.read()
        assert nar_hash([data]) == (source.nar_hash, source.nar_size)
        if path != lock.shell:
            assert data == b"".join(store.nar(path))


def test_untracked_files_beside_tracked_ones(manifest: Path) -> None:
    """In a repository, what git does not track does not belong to a folder."""
    folder = manifest.parent
    _nixbk("lock", folder=folder)
    (folder / "src" / "scratch").write_text("mine")
    assert changed_sources(folder / "nixbk.lock", read_lock(folder / "nixbk.lock")) == ()
    (folder / "src" / "a").write_text("changed")
    assert len(changed_sources(folder / "nixbk.lock", read_lock(folder / "nixbk.lock"))) == 2


def test_the_shell_is_what_nix_would_add(manifest: Path, run: Callable[..., str]) -> None:
    """The shell's path is that of a source named sh."""
    _nixbk("lock", folder=manifest.parent)
    lock = read_lock(manifest.parent / "nixbk.lock")
    expression = '{ p }: builtins.path { path = /. + p; name = "sh"; }'
    place = str(manifest.parent / "ignored" / "busybox")
    wanted = run(
        "nix-instantiate", "--eval", "--json", "--argstr", "p", place, "--expr", expression
    )
    assert str(lock.shell) == json.loads(wanted)


def test_json(manifest: Path) -> None:
    """A program reads what changed."""
    folder = manifest.parent
    document = json.loads(_nixbk("lock", "--json", folder=folder))
    assert [change["name"] for change in document["changes"]] == [
        ".",
        "/bin/sh",
        "default.nix#plain",
        ".#web",
    ]
    assert document["derivations"] == {"total": 2, "added": 2, "removed": 0}
    assert document["bundle"] == {"written": 2, "removed": 0}
    again = json.loads(_nixbk("lock", "--json", folder=folder))
    assert (again["changed"], again["changes"]) == (False, [])


def test_check_writes_nothing(manifest: Path) -> None:
    """--check exits with 1, and leaves the folder as it is."""
    folder = manifest.parent
    _nixbk("lock", "--check", folder=folder, code=1)
    assert not (folder / "nixbk.lock").exists()
    assert not (folder / "nixbk.sources").exists()


def test_a_broken_lock_is_made_anew(manifest: Path) -> None:
    """A merge conflict is mended by locking again."""
    folder = manifest.parent
    _nixbk("lock", folder=folder)
    before = (folder / "nixbk.lock").read_bytes()
    (folder / "nixbk.lock").write_bytes(b"<<<<<<< ours\n" + before)
    _nixbk("lock", folder=folder)
    assert (folder / "nixbk.lock").read_bytes() == before


def test_no_nix(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Nix, the error says how to have it."""
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert _nixbk("lock", folder=manifest.parent, code=1) == (
        "nixbk: there is no 'nix' command to evaluate with\n"
        "  hint: install Nix 2.18 or later (https://nixos.org/download), or 'nix-bin' of\n"
        "    Debian\n"
    )


OLD_NIX = """#!/bin/sh
case $1 in
  --version) echo 'nix (Nix) 2.8.0' ;;
  *) echo "error: input 'path:.' is unsupported" >&2; exit 1 ;;
esac
"""


def test_an_old_nix(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a Nix before 2.18 says when it fails, its age is what is wrong."""
    (tmp_path / "bin").mkdir()
    for name in ("nix", "nix-instantiate"):
        (tmp_path / "bin" / name).write_text(OLD_NIX)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert _nixbk("lock", folder=manifest.parent, code=1) == (
        "nixbk: Nix 2.8.0 is too old\n"
        "  hint: install Nix 2.18 or later (https://nixos.org/download), or 'nix-bin' of\n"
        "    Debian\n"
    )


def test_a_killed_lock_leaves_the_old_one(manifest: Path) -> None:
    """Killed at any moment, the lock that is there is whole and has its bundle."""
    folder = manifest.parent
    _nixbk("lock", folder=folder)
    lock_path = folder / "nixbk.lock"
    texts = [MANIFEST, MANIFEST.replace("plain", "lines").replace("busybox", "other")]
    (folder / "ignored" / "other").write_text("other shell")
    for number in range(8):
        manifest.write_text(texts[number % 2])
        process = subprocess.Popen(
            [sys.executable, "-m", "nixbk", "lock"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(0.08 * number)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        lock = read_lock(lock_path)
        bundled = [
            s.nar_hash.digest.hex()
            for s in lock.sources.values()
            if isinstance(s.origin, BundleOrigin)
        ]
        assert is_whole(lock_path, bundled)
    _nixbk("lock", folder=folder)
    assert sorted(place.name for place in folder.iterdir() if place.name.startswith(".nixbk")) == []


def test_two_locks_at_once(manifest: Path) -> None:
    """Both complete, and what is there is one of theirs."""
    folder = manifest.parent
    command = [sys.executable, "-m", "nixbk", "lock"]
    processes = [
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [(process.communicate()[1], process.returncode)[1] for process in processes] == [0, 0, 0]
    assert _nixbk("lock", folder=folder) == "nixbk.lock is up to date\n"


def test_minipkgs(tmp_path: Path, run: Callable[..., str]) -> None:
    """The lock of a real package set has exactly the derivations that Nix instantiates."""
    example = ROOT / "examples" / "minipkgs"
    if not (example / "seed").is_dir():
        pytest.skip("examples/minipkgs has no seed")
    folder = tmp_path / "minipkgs"
    unwanted = shutil.ignore_patterns("nixbk.*")
    shutil.copytree(example, folder, symlinks=True, ignore=unwanted)
    (folder / "nixbk.toml").write_text(
        "sandbox.shell = 'seed/bin/busybox'\n"
        "[images.demo]\ninstallables = ['./default.nix#test', './default.nix#closure']\n"
    )
    _nixbk("lock", folder=folder)
    lock = read_lock(folder / "nixbk.lock")
    roots = run("nix-instantiate", "default.nix", "-A", "test", "-A", "closure", folder=folder)
    assert [str(path) for path in lock.roots] == [r.split("!")[0] for r in roots.split()]
    wanted = set(run("nix-store", "--query", "--requisites", *roots.split()).split())
    assert {*map(str, lock.derivations), *map(str, lock.sources)} - {str(lock.shell)} == wanted
    for path, derivation in lock.derivations.items():
        assert derivation.to_bytes() == Path(str(path)).read_bytes()
    assert {s.path.name: s.origin for s in lock.sources.values()} == {
        "minipkgs-seed": FileOrigin("seed"),
        "setup.sh": FileOrigin("setup.sh"),
        "undeb.sh": FileOrigin("undeb.sh"),
        "sh": FileOrigin("seed/bin/busybox"),
    }
    assert nar_hash(nar_of(folder / "seed"))[0] == next(
        s.nar_hash for s in lock.sources.values() if s.path.name == "minipkgs-seed"
    )
    assert StorePath.parse(str(lock.shell)).name == "sh"
