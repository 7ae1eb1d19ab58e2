"""A probe that found nothing is told from a failure."""

from __future__ import annotations

import pytest

from nixbk.apply.prober import is_absent, is_miss_text
from nixbk.buildkit.errors import BuildFailed, Failure
from nixbk.planner.operations import REFUSED_URL
from nixbk.planner.workshop import PROBE_IP

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


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (BuildFailed("exit code: 100", failure=Failure(name="x", exit_code=100)), True),
        (BuildFailed("digest mismatch sha256:a: sha256:b", failure=Failure(name="x")), True),
        (BuildFailed("no space left on device", failure=Failure(name="x")), False),
    ],
    ids=["a failed builder", "another file", "the engine"],
)
def test_the_fate_of_others(error: BuildFailed, absent: bool) -> None:
    """Where a probe shared the fate of a real step, there is nothing in the cache."""
    assert is_absent(error) is absent
