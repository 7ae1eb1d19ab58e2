"""Installables mean to nixbk what they mean to Nix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nixbk.resolve.locker import LockingError, make_lock
from nixbk.resolve.nix_command import NixCommand
from nixbk.schema.lock_document import to_bytes
from nixbk.schema.lock_file import parse_lock
from nixbk.schema.manifest_file import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nixbk.schema.lock import Lock


def _lock(folder: Path, texts: Sequence[str], inputs: str = "") -> Lock:
    text = f"{inputs}\n[images.x]\ninstallables = {json.dumps(list(texts))}\n"
    file = parse_manifest(text.encode())
    made = make_lock(file, folder, folder / "nixbk.lock", NixCommand(folder))
    assert parse_lock(to_bytes(made.lock)) == made.lock
    return made.lock


FLAKES = [
    ".#web",
    ".",
    "#web",
    ".#picked",
    ".#picked^dev",
    ".#picked^*",
    ".#dev",
    '.#deep."dotted.name"',
    ".#top.level",
    ".#.packages.x86_64-linux.web",
    "path:./tree/../#web",
]
OLDER_WORDS = {"#web": ".#web", ".#.packages.x86_64-linux.web": ".#packages.x86_64-linux.web"}
"""How to say the same to Nix 2.18."""


@pytest.mark.parametrize("text", FLAKES)
def test_flakes(project: Path, run: Callable[..., str], text: str) -> None:
    """Derivation and outputs are those that ``nix build`` would build."""
    command = (
        "nix",
        "build",
        "--dry-run",
        "--json",
        "--no-link",
        "--no-write-lock-file",
        "--",
        OLDER_WORDS.get(text, text),
    )
    (wanted,) = json.loads(run(*command, folder=project))
    (found,) = _lock(project, [text]).images["x"].installables
    drv_path = wanted["drvPath"]
    assert str(found.drv_path) == (drv_path if drv_path[0] == "/" else f"/nix/store/{drv_path}")
    assert {name: str(path) for name, path in found.paths.items()} == wanted["outputs"]


FILES = {
    "./default.nix#plain": ("plain", "lib"),
    "default.nix#plain.out": ("plain.out", "out"),
    "default.nix#called.inner": ("called.inner", "out"),
    "default.nix#list.0": ("list.0", "out"),
    "default.nix#lines": ("lines", "out"),
}


INSTANTIATE = ("nix-instantiate", "default.nix", "--argstr", "system", "x86_64-linux", "-A")


@pytest.mark.parametrize(("text", "expected"), FILES.items(), ids=FILES)
def test_plain_files(
    project: Path, run: Callable[..., str], text: str, expected: tuple[str, str]
) -> None:
    """An attribute of a file is what ``nix-instantiate -A`` makes of it."""
    attribute, output = expected
    wanted = run(*INSTANTIATE, attribute, folder=project).strip()
    (found,) = _lock(project, [text]).images["x"].installables
    assert (str(found.drv_path), found.outputs) == (wanted.partition("!")[0], (output,))


def test_store_paths(project: Path, run: Callable[..., str]) -> None:
    """A derivation stands for all its outputs unless some are named."""
    drv = run("nix-instantiate", "default.nix", "-A", "plain", folder=project)
    drv = drv.strip().partition("!")[0]
    lock = _lock(project, [drv, f"{drv}^out"])
    assert [i.outputs for i in lock.images["x"].installables] == [("lib", "out"), ("out",)]


def test_inputs(project: Path) -> None:
    """Inputs are named in installables, and are arguments of functions in files."""
    inputs = 'inputs.app = "path:."\ninputs.tree = { url = "path:./tree", flake = false }'
    lock = _lock(project, ["app#web", ".#web", "default.nix#takes"], inputs)
    app, direct, takes = lock.images["x"].installables
    assert app.drv_path == direct.drv_path
    assert takes.drv_path
    source = lock.derivations[takes.drv_path].env["from"]
    assert source.startswith("/nix/store/")
    assert source.endswith("-source/a")


def test_import_from_derivation(project: Path) -> None:
    """Nix builds what an evaluation imports, and that is no part of the lock."""
    lock = _lock(project, ["default.nix#imports"])
    (derivation,) = lock.derivations.values()
    assert derivation.env["v"] == "hi\n"


def test_all_at_once(project: Path) -> None:
    """Many installables are one lock, and the same one again."""
    texts = [*FLAKES, *FILES]
    assert to_bytes(_lock(project, texts)) == to_bytes(_lock(project, texts))


FAULTS = {
    ".#wbe": "there is no attribute 'packages.x86_64-linux.wbe'\n  hint: did you mean 'web'?",
    ".#broken": "this one is broken",
    ".#number": "the attribute 'number' is a int, not a derivation",
    ".#web^bin": "'web' has no output 'bin'\n  hint: it has out",
    "default.nix#leaves": "access to absolute path '/etc",
    "default.nix#fetches": "access to URI 'http://127.0.0.1:1/x.tar.gz' is forbidden",
    "default.nix#searches": "file 'nixpkgs' was not found in the Nix search path",
    "default.nix#plan": "there is no attribute 'plan'\n  hint: did you mean 'plain'?",
    "none.nix": "none",
    "path:./none#x": "none",
}


@pytest.mark.parametrize(("text", "message"), FAULTS.items(), ids=FAULTS)
def test_faults(project: Path, text: str, message: str) -> None:
    """What Nix refuses is shown with the manifest's key, whatever else is asked for."""
    with pytest.raises(LockingError) as caught:
        _lock(project, [".#web", "default.nix#plain", text])
    assert str(caught.value).startswith("nixbk.toml:3:")
    assert "images.x.installables[2]: " in str(caught.value)
    assert message in str(caught.value)


def test_nothing_comes_from_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search path and variables of the user change nothing."""
    before = to_bytes(_lock(project, ["default.nix#plain"]))
    monkeypatch.setenv("NIX_PATH", f"nixpkgs={project}")
    with pytest.raises(LockingError, match="not found in the Nix search path"):
        _lock(project, ["default.nix#searches"])
    assert to_bytes(_lock(project, ["default.nix#plain"])) == before
