"""Closing a channel ends, whatever grpc waits for."""

from __future__ import annotations

import threading

from nixbk.buildkit import channel
from nixbk.buildkit.channel import BuilderChannel


class StuckChannel:
    """A gRPC channel that an interrupt left with a call nobody serves."""

    def __init__(self) -> None:
        self.closing = threading.Event()

    def close(self) -> None:
        """Wait for ever."""
        self.closing.set()
        threading.Event().wait()


def test_close_does_not_wait_for_ever() -> None:
    """The process of an interrupted command ends."""
    stuck = StuckChannel()
    opened = BuilderChannel.__new__(BuilderChannel)
    opened.__dict__.update(grpc=stuck, _bridge=None)
    done = threading.Thread(target=opened.close, daemon=True)
    done.start()
    done.join(10 * channel._CLOSE_S)
    assert (stuck.closing.is_set(), done.is_alive()) == (True, False)
