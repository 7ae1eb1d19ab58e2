"""One bench for each engine of this run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from helper_bench import Bench, address_of, engines

from nixbk.buildkit.address import parse_address
from nixbk.buildkit.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", params=engines())
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """One engine after the other."""
    with connect(parse_address(address_of(request.param), os.environ)) as client:
        yield Bench(client)
