"""Kind build, as a builder and as the store see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conftest import SEED_PATH

if TYPE_CHECKING:
    from conftest import Bench, Done
