"""Archives are those that real Nix writes and reads."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, settings
from nix_values import trees

from nixbk.nix.hashes import Hash
from nixbk.nix.nar import Data, Directory, Event, RegularFile, Symlink, nar_hash, read, write

if TYPE_CHECKING:
    from real_nix import Nix


def _materialise(tree: list[Event], root: str) -> None:
    """Put *tree* at *root* on disk."""
    place = root
    for event in tree:
        if isinstance(event, Data):
            with Path(place).open("ab") as file:
                file.write(event.chunk)
            continue
        place = f"{root}/{event.path}" if event.path else root
        match event:
            case Directory():
                Path(place).mkdir()
            case Symlink(_, target):
                os.symlink(target, place)  # noqa: PTH211 (targets that no Path would keep)
            case RegularFile(_, _, executable):
                Path(place).touch(mode=0o755 if executable else 0o644)


@given(trees())
@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each step starts three processes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_generated_trees(nix: Nix, tree: list[Event]) -> None:
    """A tree on disk is dumped to our bytes, and our bytes are restored to that tree."""
    with tempfile.TemporaryDirectory() as folder:
        ours = b"".join(write(tree))
        _materialise(tree, f"{folder}/tree")
        assert nix.run("nix-store", "--dump", f"{folder}/tree") == ours
        nix.run("nix-store", "--restore", f"{folder}/restored", stdin=ours)
        assert nix.run("nix-store", "--dump", f"{folder}/restored") == ours


def test_the_sources_of_minipkgs(nix: Nix) -> None:
    """A real tree, with links and programs in it, has Nix's hash and size."""
    (path,) = nix.words(
        "nix", "store", "add", "--name", "minipkgs-seed", str(nix.minipkgs / "seed")
    )
    command = ("nix", "path-info", "--json", "--json-format", "1", path)
    (facts,) = json.loads(nix.run(*command)).values()
    archive = nix.run("nix-store", "--dump", path)
    assert nar_hash(write(read([archive]))) == (Hash.parse(facts["narHash"]), facts["narSize"])
