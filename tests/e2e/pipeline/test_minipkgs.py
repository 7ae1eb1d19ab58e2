"""Every output of a package set with its own toolchain, held against real Nix."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
from engines import ROOT, start
from projects import Project

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Engines

FOLDER: Final = ROOT / "examples" / "minipkgs"
FIELDS: Final = ("narHash", "narSize", "references")


@pytest.fixture(scope="session")
def real(tools: str) -> dict[str, dict[str, Any]]:
    """What real Nix says of all outputs of all packages, which it builds first."""
    start("mirror")

    def run(*command: str) -> str:
        program, *rest = command
        done = subprocess.run(
            [f"{tools}/{program}", *rest], check=True, cwd=FOLDER, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    paths = run("nix-build", "--no-out-link", "default.nix").split()
    derivations = run("nix-instantiate", "default.nix").split()
    paths += run(
        "nix-store", "--query", "--outputs", *{d.partition("!")[0] for d in derivations}
    ).split()
    run("nix-store", "--realise", *{d.partition("!")[0] for d in derivations})
    found = json.loads(run("nix", "path-info", "--json", "--json-format", "1", *paths))
    return {path: {name: info[name] for name in FIELDS} for path, info in found.items()}


@pytest.mark.timeout(1800)
def test_all_outputs_are_what_nix_makes(
    engines: Engines, real: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Path, NAR hash, NAR size and references are the same."""
    project = Project(FOLDER, tmp_path, engines, "")
    names = json.loads(
        subprocess.run(
            [
                f"{engines.tools}/nix-instantiate", "--eval", "--strict", "--json",
                "-E", "builtins.attrNames (import ./default.nix { })",
            ],
            check=True, cwd=FOLDER, stdout=subprocess.PIPE,
        ).stdout
    )  # fmt: skip
    built = project.run("build", "--json", *[f"./default.nix#{name}^*" for name in names]).document
    found = {
        output["path"]: {
            **{name: output[name] for name in FIELDS},
            "references": sorted(output["references"]),
        }
        for output in built
    }
    expected = {
        path: {**info, "references": sorted(info["references"])} for path, info in real.items()
    }
    assert found == expected
