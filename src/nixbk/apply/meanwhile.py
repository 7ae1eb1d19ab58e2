"""Work for the time in which something else is waited for. Effect: one thread for each piece."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Lock, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """Work that is done once: when its result is asked for, or when there is time before that."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._outcome: Future[T] = Future()
        self._lock = Lock()
        self._begun = False

    def begin(self) -> None:
        """Begin in a thread, unless it was begun; the process does not end before that has."""
        if self._claim():
            Thread(target=self._run, name="nixbk-meanwhile").start()

    def result(self) -> T:
        """What the work returned, or raises what it raised; waits for it."""
        if self._claim():
            self._run()
        return self._outcome.result()

    def _claim(self) -> bool:
        with self._lock:
            claimed, self._begun = not self._begun, True
        return claimed

    def _run(self) -> None:
        try:
            self._outcome.set_result(self._work())
        except BaseException as error:  # noqa: BLE001  who asks for the result gets it
            self._outcome.set_exception(error)
