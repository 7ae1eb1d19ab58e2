"""An interrupt cancels what is under way and waits for its end."""

from __future__ import annotations

import signal
import threading

import pytest

from nixbk.apply.interruptible import Interruption, interruptible


def test_results_and_errors_come_through() -> None:
    """Without an interrupt it is as if the work was called."""
    assert interruptible(Interruption(), lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        interruptible(Interruption(), lambda: 1 // 0)


def test_an_interrupt_is_met_by_nobody_but_the_main_thread() -> None:
    """The work is cancelled, ends in its own way, and then the interrupt is raised."""
    interruption = Interruption()
    cancelled = threading.Event()
    ended = []

    def work() -> None:
        interruption.calls(cancelled.set)
        signal.raise_signal(signal.SIGINT)
        ended.append(cancelled.wait(10))

    with pytest.raises(KeyboardInterrupt):
        interruptible(interruption, work)
    assert ended == [True]


def test_what_comes_too_late_is_cancelled_at_once() -> None:
    """Nothing begins after an interrupt."""
    interruption = Interruption()
    interruption.request()
    called: list[bool] = []
    interruption.calls(lambda: called.append(True))
    assert called == [True]
