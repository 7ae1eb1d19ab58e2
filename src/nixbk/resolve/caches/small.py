"""The small files of caches, asked for by hundreds. Effect: sockets, or files of folders; clock.

Who asks tells what to do with the answer; `SmallFiles.run` does it, in the thread that calls it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final

from nixbk.resolve.caches import folder
from nixbk.resolve.caches.address import AddressError
from nixbk.resolve.caches.attempts import Attempts
from nixbk.resolve.caches.faults import CacheError, CacheUnreachableError, told
from nixbk.resolve.caches.wire import Question, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.wire import Reply, Wire

    Done = Callable[[bytes | CacheError], None]

DOWN_AFTER: Final = 4
"""After so many failures in a row, each after all its tries, a cache is not asked any more."""

POLL_S: Final = 0.1
"""So long it may take until `SmallFiles.stop` is seen."""


class SmallFiles:
    """Asks caches; used by one thread, but for `stop`.

    Args:
        wire: makes what carries the questions, when there is one.
        decide: called when all that has come is told; whether it had something to do.
    """

    def __init__(self, wire: Callable[[], Wire], decide: Callable[[], bool] = bool) -> None:
        self._make_wire = wire
        self._decide = decide
        self._wire: Wire | None = None
        self._asked: dict[Question, tuple[Attempts, Done]] = {}
        self._later: list[tuple[float, int, Question]] = []
        self._order = itertools.count()
        self._ready: deque[tuple[Done, bytes | CacheError]] = deque()
        self._in_a_row: defaultdict[str, int] = defaultdict(int)
        self._down: dict[str, CacheError] = {}
        self._stopped = threading.Event()

    def get(
        self, cache: Cache, url: str, limit_bytes: int, done: Done, *, private: bool = False
    ) -> None:
        """Ask for a file; nothing happens before `run`.

        Args:
            cache: whose it is.
            url: as a narinfo has it.
            limit_bytes: a longer one is an error.
            done: told its bytes, or why there are none: `NotInCacheError` where the cache does
                not have it.
            private: whether 403 says that the user is not let in, and not that there is no file.
        """
        try:
            whole = cache.address.join(url)
            if cache.address.kind == "file":
                self._ready.append((done, folder.read_small(cache.name, whole, limit_bytes)))
                return
        except AddressError as error:
            self._ready.append((done, CacheError(error.message, where=cache.name)))
            return
        except CacheError as error:
            self._ready.append((done, error))
            return
        if cache.name in self._down:
            self._ready.append((done, self._down[cache.name]))
            return
        question = Question(cache, whole, limit_bytes)
        self._asked[question] = Attempts(cache.name, whole, private=private), done
        if self._wire is None:
            self._wire = self._make_wire()
        self._wire.start(question)

    def run(self) -> None:
        """Have all answers, and those to what is asked meanwhile.

        Raises:
            CacheError: `stop` was called.
        """
        try:
            while True:
                while self._ready:
                    done, outcome = self._ready.popleft()
                    done(outcome)
                if self._decide():
                    continue
                if self._wire is None or not self._asked:
                    break
                self._turn(self._wire)
        finally:
            self._abandon()

    def stop(self) -> None:
        """End what runs, and whatever is to come, from any thread."""
        self._stopped.set()

    def give_up(self, cache: Cache, error: CacheError) -> None:
        """Ask nothing more of *cache*: what is under way, and what is to come, fails."""
        if cache.name in self._down:
            return
        self._down[cache.name] = error
        if self._wire is not None:
            self._wire.forget(cache)
        for question in [one for one in self._asked if one.cache.name == cache.name]:
            self._end(question, error)

    def close(self) -> None:
        """End all connections."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _turn(self, wire: Wire) -> None:
        """Ask again what is to be asked again, and meet what has come."""
        if self._stopped.is_set():
            raise CacheError("it was not waited for")
        now_s = time.monotonic()
        while self._later and self._later[0][0] <= now_s:
            question = heapq.heappop(self._later)[2]
            if question in self._asked:
                wire.start(question)
        within_s = min(POLL_S, self._later[0][0] - now_s) if self._later else POLL_S
        for question, outcome in wire.wait(within_s):
            if question in self._asked:
                self._meet(question, outcome)

    def _meet(self, question: Question, outcome: Reply | WireError) -> None:
        name = question.cache.name
        try:
            pause_s = self._pause_s(self._asked[question][0], question, outcome)
        except CacheUnreachableError as error:
            self._in_a_row[name] += 1
            self._end(question, error)
            if self._in_a_row[name] >= DOWN_AFTER:
                self.give_up(question.cache, error)
        except CacheError as error:
            self._in_a_row[name] = 0
            self._end(question, error)
        else:
            if isinstance(outcome, WireError) or pause_s is not None:
                again_s = time.monotonic() + (pause_s or 0.0)
                heapq.heappush(self._later, (again_s, next(self._order), question))
                return
            self._in_a_row[name] = 0
            self._end(question, outcome.body)

    def _pause_s(
        self, attempts: Attempts, question: Question, outcome: Reply | WireError
    ) -> float | None:
        """How long to wait before the next try; None where this one was good."""
        if not isinstance(outcome, WireError):
            return attempts.answered(outcome)
        if outcome.final:
            raise CacheError(f"{told(question.url)}: {outcome.reason}", where=question.cache.name)
        return attempts.broke(outcome.reason, slow=outcome.slow)

    def _end(self, question: Question, outcome: bytes | CacheError) -> None:
        _, done = self._asked.pop(question)
        self._ready.append((done, outcome))

    def _abandon(self) -> None:
        """Forget what is under way, if anything is."""
        if self._wire is not None:
            for cache in {question.cache.name: question.cache for question in self._asked}.values():
                self._wire.forget(cache)
        self._asked.clear()
        self._later.clear()
        self._ready.clear()
