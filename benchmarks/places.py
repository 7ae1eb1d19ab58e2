"""Engines to measure on and folders to measure in. Effects: starts engines, makes folders."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DEMO: Final = ROOT / "examples" / "minipkgs"
NIXBK: Final = Path(sys.executable).with_name("nixbk")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the measurements run.

    Attributes:
        engine: name of the engine, as ``dev/engines`` knows it.
        builder: its address for ``--builder``.
        environ: environment with the wrappers of ``dev/engines`` on PATH.
        scratch: folder of the user's cache for what is measured.
    """

    engine: str
    builder: str
    environ: dict[str, str]
    scratch: Path

    def copy_of_demo(self, name: str) -> Path:
        """A fresh copy of the example, in a folder of its own."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(DEMO, folder, symlinks=True)
        return folder


def prepare(engine: str) -> Places:
    """Start *engine* and what else is needed, fetching what is missing."""
    names = [engine, "docker", "nix", "tools", "mirror"]
    command = [str(ROOT / "dev" / "engines"), "start", *dict.fromkeys(names), "--json"]
    facts = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    compileall.compile_dir(ROOT / "src", quiet=1)  # or it is the compiler that is measured
    environ = dict(os.environ)
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for variables in (*facts.values(), facts[engine]):
        environ.update(variables)
    # What the user has set must not send a measurement elsewhere.
    for name in ("NIXBK_BUILDER", "BUILDKIT_HOST", "DOCKER_CONTEXT"):
        environ.pop(name, None)
    environ["PATH"] = os.pathsep.join([environ["NIXBK_DEV_BIN"], environ.get("PATH", "")])
    os.environ["PATH"] = environ["PATH"]  # some evaluate with Nix in this process
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    scratch = cache / "nixbk-dev" / "bench"
    scratch.mkdir(parents=True, exist_ok=True)
    return Places(engine, _address(facts[engine]), environ, scratch)


def builder_of(engine: str) -> str:
    """Start *engine* and return its address for ``--builder``."""
    command = [str(ROOT / "dev" / "engines"), "start", engine, "--json"]
    facts = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return _address(facts[engine])


def _address(facts: dict[str, str]) -> str:
    host = facts.get("BUILDKIT_HOST")
    if host:
        return host
    docker = facts["DOCKER_HOST"]
    return f"docker+{docker}" if docker.startswith("unix://") else "docker"
