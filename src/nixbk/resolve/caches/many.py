"""Many questions at once, by libcurl. Effect: sockets.

All callbacks are functions of C: one of Python could be where an interrupt is raised, and lose it.
"""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pycurl

from nixbk.resolve.caches.curl import (
    MAX_CONNECTIONS,
    aim,
    fault,
    multi_handle,
    prepare,
    reply,
    select,
    trust,
)
from nixbk.resolve.caches.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.wire import Question, Reply, Timeouts

MAX_STREAMS: Final = 100
"""So many questions at once over TLS, where they may share a connection."""


@dataclass(slots=True)
class _Lane:
    """The questions to one cache: who waits has no handle yet, and the time does not count."""

    most: int
    trust: Callable[[pycurl.Curl], None]
    made: int = 0
    idle: list[pycurl.Curl] = field(default_factory=list)
    waiting: deque[Question] = field(default_factory=deque)


class CurlWire:
    """Carries many questions at once; see `nixbk.resolve.caches.wire.Wire`.

    Args:
        timeouts: how long to wait.
        environ: of the user.
    """

    def __init__(self, timeouts: Timeouts, environ: Mapping[str, str]) -> None:
        self._timeouts = timeouts
        self._environ = dict(environ)  # os.environ decodes whatever it is asked for, each time
        self._multi = multi_handle()
        self._lanes: dict[str, _Lane] = {}
        self._busy: dict[pycurl.Curl, tuple[_Lane, Question, io.BytesIO]] = {}

    def start(self, question: Question) -> None:
        """Ask, as soon as there is room."""
        lane = self._lanes.get(question.cache.name)
        if lane is None:
            most = MAX_STREAMS if question.cache.address.kind == "https" else MAX_CONNECTIONS
            lane = self._lanes[question.cache.name] = _Lane(
                most, trust(question.cache, self._environ)
            )
        lane.waiting.append(question)
        self._fill(lane)

    def wait(self, within_s: float, /) -> Iterator[tuple[Question, Reply | WireError]]:
        """What has come of questions; waits up to *within_s* for the first."""
        self._multi.perform()
        _, good, bad = self._multi.info_read()
        if not good and not bad:
            select(self._multi, within_s)
            self._multi.perform()
            _, good, bad = self._multi.info_read()
        came = [*((easy, 0, "") for easy in good), *bad]
        found = [self._finished(*one) for one in came]
        self._multi.perform()  # the next are on their way while these are looked at
        yield from found

    def forget(self, cache: Cache) -> None:
        """Nobody waits for the answers of *cache* any more."""
        lane = self._lanes.get(cache.name)
        if lane is None:
            return
        lane.waiting.clear()
        for easy in [easy for easy, (one, _, _) in self._busy.items() if one is lane]:
            del self._busy[easy]
            self._multi.remove_handle(easy)
            lane.idle.append(easy)

    def close(self) -> None:
        """End all connections."""
        for easy in self._busy:
            self._multi.remove_handle(easy)
        self._busy.clear()
        self._lanes.clear()
        self._multi.close()

    def _finished(
        self, easy: pycurl.Curl, code: int, message: str
    ) -> tuple[Question, Reply | WireError]:
        lane, question, body = self._busy.pop(easy)
        self._multi.remove_handle(easy)
        outcome: Reply | WireError
        if code == pycurl.E_FILESIZE_EXCEEDED or body.tell() > question.limit_bytes:
            reason = f"the file is longer than {question.limit_bytes} bytes"
            outcome = WireError(reason, final=True)
        else:
            outcome = fault(easy, code, message) if code else reply(easy, body.getvalue())
        lane.idle.append(easy)
        self._fill(lane)
        return question, outcome

    def _fill(self, lane: _Lane) -> None:
        while lane.waiting and (lane.idle or lane.made < lane.most):
            question = lane.waiting.popleft()
            easy = lane.idle.pop() if lane.idle else self._make(lane)
            body = io.BytesIO()
            headers = aim(easy, question.cache, question.url, self._environ)
            easy.setopt(pycurl.HTTPHEADER, headers)
            easy.setopt(pycurl.MAXFILESIZE_LARGE, question.limit_bytes)
            easy.setopt(pycurl.WRITEFUNCTION, body.write)
            self._busy[easy] = lane, question, body
            self._multi.add_handle(easy)

    def _make(self, lane: _Lane) -> pycurl.Curl:
        easy = pycurl.Curl()
        prepare(easy, self._timeouts, self._environ)
        lane.trust(easy)
        easy.setopt(pycurl.TIMEOUT_MS, int(self._timeouts.answer_s * 1000))
        lane.made += 1
        return easy
