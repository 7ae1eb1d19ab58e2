"""Modules that gRPC would load and nixbk never uses."""

from __future__ import annotations

import importlib
import sys

from nixbk.buildkit.rpc import _LateModule


def test_late_module_is_the_real_one_once_it_is_touched() -> None:
    """Whoever imported the stand-in has what it stands for, and so has whoever imports it then."""
    kept = sys.modules.pop("colorsys", None)
    try:
        late = sys.modules["colorsys"] = _LateModule("colorsys")
        assert importlib.import_module("colorsys") is late
        found = late.rgb_to_hls
        real = importlib.import_module("colorsys")
        assert real is not late
        assert found is real.rgb_to_hls is late.rgb_to_hls
    finally:
        sys.modules.pop("colorsys", None)
        if kept is not None:
            sys.modules["colorsys"] = kept


def test_asyncio_is_the_real_one_for_everybody_else() -> None:
    """The stand-in is gRPC's alone: who imports asyncio, or a part of it, is not given it."""
    assert not isinstance(importlib.import_module("asyncio"), _LateModule)
    assert importlib.import_module("asyncio.queues").Queue
