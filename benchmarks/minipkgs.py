"""Building minipkgs from nothing, beside real Nix with its sandbox and as many jobs.

Each run has a seed of its own, on which every package depends; so all of them are built
anew by both sides, and no cache has to be emptied. What is fetched by checksum stays
fetched on both sides.

Effects: builds on the engine and in the Nix store, runs programs.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Run, peak, ratio, run
from benchmarks.places import NIXBK

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Row
    from benchmarks.places import Places

LIMIT: Final = 1.25
CLIENT_LIMIT_MB: Final = 300

_ATTRIBUTE: Final = "test"


def measure(places: Places, rounds: int) -> list[Row]:
    """The whole example, built by nixbk and by Nix in turns."""
    jobs = str(os.cpu_count() or 1)
    runs: dict[str, list[Run]] = {"nixbk": [], "nix": []}
    for number in range(rounds):
        for side in list(runs)[:: -1 if number % 2 else 1]:
            folder = _salted(places, f"minipkgs-{side}")
            root = _instantiate(folder, places)
            command = _nixbk(root, jobs, places) if side == "nixbk" else _nix(root, jobs)
            runs[side].append(run(command, cwd=folder, environ=places.environ))
    return [
        ratio(f"minipkgs from nothing, {places.engine} / nix", runs, "nixbk", "nix", LIMIT),
        peak("client memory, minipkgs", runs["nixbk"], CLIENT_LIMIT_MB),
    ]


def _salted(places: Places, name: str) -> Path:
    folder = places.copy_of_demo(name)
    (folder / "nixbk.lock").unlink(missing_ok=True)
    (folder / "seed" / "salt").write_text(f"{uuid.uuid4()}\n")
    return folder


def _instantiate(folder: Path, places: Places) -> str:
    command = ["nix-instantiate", str(folder / "default.nix"), "-A", _ATTRIBUTE]
    found = subprocess.run(
        command, check=True, env=places.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return found.stdout.decode().strip()


def _nix(root: str, jobs: str) -> list[str | Path]:
    return [
        *("nix-store", "--realise", root, "--option", "sandbox", "true"),
        *("--option", "substitute", "false", "--max-jobs", jobs, "--cores", jobs),
    ]


def _nixbk(root: str, jobs: str, places: Places) -> list[str | Path]:
    return [
        *(NIXBK, "build", root, "--builder", places.builder),
        *("--max-jobs", jobs, "--cores", jobs),
    ]
