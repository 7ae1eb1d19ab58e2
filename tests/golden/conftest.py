"""An option that rewrites golden files instead of comparing with them."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def update_golden() -> bool:
    """Whether golden files are written: ``NIXBK_UPDATE_GOLDEN=1 pytest tests/golden``."""
    return os.environ.get("NIXBK_UPDATE_GOLDEN") == "1"
