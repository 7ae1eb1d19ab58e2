"""What the tests of the client share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from buildkit_steps import Steps

from nixbk.buildkit.session import Attachables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.buildkit.client import Client
    from nixbk.buildkit.session import Session


@pytest.fixture(scope="session")
def steps(busybox: bytes) -> Steps:
    """Graphs to build."""
    return Steps(busybox)


@pytest.fixture
def session(client: Client, steps: Steps) -> Iterator[Session]:
    """A session that offers the uploads of the steps."""
    with client.session(Attachables(uploads=steps.uploads)) as opened:
        yield opened
