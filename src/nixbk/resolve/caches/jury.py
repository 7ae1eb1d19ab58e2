"""Decides on many claims at once. Effect: threads, which end before a call returns.

To verify signatures is most of the work with an answer, and the library that does it lets go of
the interpreter meanwhile: so every processor takes a part. (To go on asking at the same time is
slower: threads that need the interpreter again and again wait for each other.)
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nixbk.nix.signatures import PublicKey
    from nixbk.resolve.caches.judge import Answer, Claim

    Told = Callable[[Answer], None]

MOST_THREADS: Final = 8
WORTH_A_THREAD: Final = 4
"""So many claims take longer than a thread takes to start."""


class Jury:
    """Collects claims, and decides on them; used by one thread.

    Args:
        keys: that count, by their names.
    """

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        self._keys = keys
        self._processors = len(os.sched_getaffinity(0))
        self._heard: list[tuple[Claim, Told]] = []

    def hear(self, claim: Claim, told: Told) -> None:
        """Take note of a claim that needs a signature; *told* is told by `decide`."""
        self._heard.append((claim, told))

    def decide(self) -> bool:
        """Decide on all that was heard.

        Returns:
            Whether there was anything.
        """
        heard, self._heard = self._heard, []
        signed = self._signed([claim for claim, _ in heard])
        for (claim, told), believed in zip(heard, signed, strict=True):
            told(claim.answer(self._keys, believed=believed))
        return bool(heard)

    def dismiss(self) -> None:
        """Forget what was heard: nobody waits for it any more."""
        self._heard.clear()

    def _signed(self, claims: list[Claim]) -> list[bool]:
        """Of each claim, whether it is signed."""
        found: dict[int, bool] = {}
        left = deque(enumerate(claims))
        faults: list[BaseException] = []

        def verify() -> None:
            while not faults:
                try:
                    number, claim = left.popleft()
                except IndexError:
                    return  # all is done, or taken by another thread
                try:
                    found[number] = claim.is_signed(self._keys)
                except BaseException as fault:  # noqa: BLE001 - raised below
                    faults.append(fault)

        count = min(self._processors, MOST_THREADS, len(claims) // WORTH_A_THREAD) - 1
        threads = [threading.Thread(target=verify, name="nixbk-jury") for _ in range(count)]
        for thread in threads:
            thread.start()
        verify()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        return [found[number] for number in range(len(claims))]
