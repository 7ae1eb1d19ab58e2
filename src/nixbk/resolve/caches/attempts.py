"""One question to a cache, from the first time it is asked to its end. Effect: chance.

Whoever asks tells what happened, and is told how long to wait before the next try; there is no
I/O here, so that what blocks and what does not can share it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from nixbk.resolve.caches.buckets import said
from nixbk.resolve.caches.faults import (
    CacheError,
    CacheRefusedError,
    CacheUnreachableError,
    NotInCacheError,
    told,
)
from nixbk.resolve.caches.verdicts import ATTEMPTS, MAX_WAIT_S, verdict, wait_s

if TYPE_CHECKING:
    from nixbk.resolve.caches.verdicts import Kind
    from nixbk.resolve.caches.wire import Reply

SLOW_ATTEMPTS: Final = 2
"""How often a server may let us wait in vain: who hangs once hangs again."""

DOWN_HINT: Final = "is the cache up, and its address right?"
LOGIN_HINT: Final = (
    "give a login for its host in ~/.netrc, or the variable of its token in 'token-env'"
)


class Attempts:
    """The state of one question.

    Args:
        cache: its name, for errors.
        url: what is asked for.
        private: whether 403 says that the user is not let in, and not that there is no such file.
    """

    def __init__(self, cache: str, url: str, *, private: bool = False) -> None:
        self._cache = cache
        self._url = url
        self._private = private
        self._failed = 0
        self._slow = 0

    def answered(self, reply: Reply) -> float | None:
        """Tell of an answer.

        Returns:
            None: its body is what was asked for. Else the seconds to wait before the next try.

        Raises:
            CacheError: there will be no better one.
        """
        kind = verdict(reply.status)
        if kind == "take":
            return None
        reason, hint = f"HTTP {reply.status} from {told(reply.url)}", ""
        more = said(reply.body, kind)
        if more is not None:
            code, kind, hint = more
            reason = f"HTTP {reply.status} ({code}) from {told(reply.url)}"
        if kind == "again":
            return self._again(reason, reply.retry_after_s)
        raise self._final(kind, reason, hint)

    def broke(self, reason: str, *, slow: bool = False) -> float:
        """Tell that there was no answer, or only a part of one.

        Args:
            reason: what happened.
            slow: whether the time was over.

        Returns:
            The seconds to wait before the next try.

        Raises:
            CacheUnreachableError: it was tried often enough.
        """
        self._slow += slow
        return self._again(f"{told(self._url)}: {reason}", 0.0)

    def progressed(self) -> None:
        """Tell that a good part of the body came: it is worth as many tries again."""
        self._failed = self._slow = 0

    def _again(self, reason: str, asked_s: float) -> float:
        self._failed += 1
        hint = DOWN_HINT
        if asked_s > MAX_WAIT_S:
            reason += f", which asks to wait for more than {MAX_WAIT_S:.0f} seconds"
            hint = "try again later"
        elif self._failed < ATTEMPTS and self._slow < SLOW_ATTEMPTS:
            return wait_s(self._failed, asked_s, random.random())  # noqa: S311 - no secret
        if self._failed > 1:
            reason += f" ({self._failed} tries)"
        raise CacheUnreachableError(reason, where=self._cache, hint=hint)

    def _final(self, kind: Kind, reason: str, hint: str) -> CacheError:
        if kind == "login" or (kind == "forbidden" and self._private):
            return CacheRefusedError(reason, where=self._cache, hint=hint or LOGIN_HINT)
        if kind == "fail":
            return CacheError(reason, where=self._cache, hint=hint or None)
        return NotInCacheError(reason, where=self._cache)
