"""Starts real engines: NIXBK_TEST_ENGINES names them, ``dev/engines`` knows how."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINES: Final = [
    name
    for name in re.split(r"[,\s]+", os.environ.get("NIXBK_TEST_ENGINES", "docker,buildkit"))
    if name
]

# for what takes minutes: the first Docker, and the first that is none
ONE_OF_EACH: Final = list({name.startswith("docker"): name for name in ENGINES[::-1]}.values())


def start(*names: str) -> dict[str, str]:
    """Start engines or programs of ``dev/engines`` and return the variables that tell of them."""
    command = [str(ROOT / "dev" / "engines"), "start", *names, "--json"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {key: value for variables in found.values() for key, value in variables.items()}


def address(name: str) -> str:
    """Start an engine and return its address as a builder."""
    variables = start(name)
    if "BUILDKIT_HOST" in variables:
        return variables["BUILDKIT_HOST"]
    return f"docker+{variables['DOCKER_HOST']}"
