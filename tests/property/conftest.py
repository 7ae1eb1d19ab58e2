"""Hypothesis as these tests use it: a busy machine is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nixbk", deadline=None)
settings.load_profile("nixbk")
