"""Real engines for tests, one after the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from engines import ENGINES, ROOT, address, start

from nixbk.buildkit.address import parse_address
from nixbk.buildkit.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.buildkit.client import Client


@pytest.fixture(scope="session", params=ENGINES)
def builder(request: pytest.FixtureRequest) -> str:
    """The address of each engine in turn."""
    return address(request.param)


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
