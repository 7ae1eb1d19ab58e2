"""Real engines for tests: NIXBK_TEST_ENGINES names them, ``dev/engines`` starts them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from nixbk.buildkit.address import parse_address
from nixbk.buildkit.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.buildkit.client import Client

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINES: Final = [
    name
    for name in re.split(r"[,\s]+", os.environ.get("NIXBK_TEST_ENGINES", "docker,buildkitd"))
    if name
]


def start(*names: str) -> dict[str, str]:
    """Start engines or programs of ``dev/engines`` and return the variables that tell of them."""
    command = [str(ROOT / "dev" / "engines"), "start", *names, "--json"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {key: value for variables in found.values() for key, value in variables.items()}


@pytest.fixture(scope="session", params=ENGINES)
def builder(request: pytest.FixtureRequest) -> str:
    """The address of each engine in turn."""
    variables = start(request.param)
    if "BUILDKIT_HOST" in variables:
        return variables["BUILDKIT_HOST"]
    return f"docker+{variables['DOCKER_HOST']}"


@pytest.fixture(scope="session")
def client(builder: str) -> Iterator[Client]:
    """A client of each engine in turn."""
    with connect(parse_address(builder, os.environ)) as connected:
        yield connected


@pytest.fixture(scope="session")
def busybox() -> bytes:
    """A static busybox."""
    path = ROOT / "examples" / "minipkgs" / "seed" / "bin" / "busybox"
    if not path.exists():
        start("mirror")
    return path.read_bytes()
