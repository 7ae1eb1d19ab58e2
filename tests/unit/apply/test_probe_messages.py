"""A probe that found nothing is told from a failure."""

from __future__ import annotations

import pytest

from nixbk.apply.prober import is_miss_text
from nixbk.planner.compiler import PROBE_IP, REFUSED_URL

MESSAGES = {
    "an exec of a probe": (f"failed to parse IP {PROBE_IP}", True),
    "a download of a probe": (f'Get "{REFUSED_URL}abc": dial tcp: connection refused', True),
    "a download of a user, from the same port": (
        'Get "http://127.0.0.1:1/source.tar.gz": dial tcp: connection refused',
        False,
    ),
    "a builder": ("process did not complete successfully: exit code: 1", False),
}


@pytest.mark.parametrize(("message", "miss"), MESSAGES.values(), ids=MESSAGES.keys())
def test_misses(message: str, miss: bool) -> None:
    """Nothing that a user may ask for says the same."""
    assert is_miss_text(message) is miss
