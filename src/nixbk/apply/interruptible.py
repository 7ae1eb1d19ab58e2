"""Work that an interrupt ends in good order. Effect: one thread.

Python raises an interrupt wherever the main thread happens to be, and so, in the middle of gRPC,
leaves locks behind that nobody will release. So the main thread only waits: it is told of the
interrupt, asks for what is under way to be cancelled, and waits until that has ended.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

GRACE_S: Final = 15.0
POLL_S: Final = 0.5


class Interruption:
    """What is to be cancelled when the user interrupts; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested = False
        self._cancels: list[Callable[[], None]] = []

    def calls(self, cancel: Callable[[], None]) -> None:
        """Have *cancel* called on an interrupt, at once when there was one already."""
        with self._lock:
            self._cancels.append(cancel)
            requested = self._requested
        if requested:
            cancel()

    def request(self) -> None:
        """Cancel everything."""
        with self._lock:
            self._requested = True
            cancels = list(self._cancels)
        for cancel in cancels:
            cancel()


def interruptible(interruption: Interruption, work: Callable[[], T]) -> T:
    """What *work* returns, or raises; on an interrupt, nothing of it runs any more.

    Raises:
        KeyboardInterrupt: the user interrupted, and the work has ended.
    """
    made: list[T] = []  # and not a future, whose module takes 10 ms to import
    faults: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:  # noqa: BLE001  whatever it is, the caller gets it
            faults.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, name="nixbk-work", daemon=True)
    try:
        thread.start()
        while not ended.wait(POLL_S):
            pass  # a signal may have met another thread
    except KeyboardInterrupt:
        interruption.request()
        ended.wait(GRACE_S)
        raise
    if faults:
        raise faults[0]
    return made[0]
