"""When a cache is asked again, and what is said when it is not."""

from __future__ import annotations

import pytest

from nixbk.resolve.caches.attempts import Attempts
from nixbk.resolve.caches.faults import (
    CacheError,
    CacheRefusedError,
    CacheUnreachableError,
    NotInCacheError,
)
from nixbk.resolve.caches.verdicts import Kind, verdict
from nixbk.resolve.caches.wire import Reply

URL = "https://c.example/a.narinfo?secret=1"
TOLD = "'https://c.example/a.narinfo'"

VERDICTS: dict[Kind, set[int]] = {
    "take": {200, 201, 204, 206},
    "absent": {404, 410},
    "forbidden": {403},
    "login": {401, 407},
    "again": {408, 425, 429, 500, 502, 503, 504, 599},
    "fail": {0, 100, 302, 304, 400, 418, 501, 505, 511, 600},
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_a_verdict(kind: Kind) -> None:
    """What is done about an answer follows from its status."""
    assert {verdict(status) for status in VERDICTS[kind]} == {kind}


FINAL: dict[str, tuple[int, bool, type[CacheError]]] = {
    "not there": (404, False, NotInCacheError),
    "not there, for all we know": (403, False, NotInCacheError),
    "not let in": (403, True, CacheRefusedError),
    "a login is wanted": (401, False, CacheRefusedError),
    "for good": (400, False, CacheError),
}


@pytest.mark.parametrize("name", FINAL)
def test_what_is_not_asked_again(name: str) -> None:
    """Some answers are the last word; the error has its kind, and no query."""
    status, private, expected = FINAL[name]
    with pytest.raises(CacheError) as caught:
        Attempts("main", URL, private=private).answered(Reply(status, URL))
    assert type(caught.value) is expected
    assert caught.value.message == f"HTTP {status} from {TOLD}"
    assert caught.value.where == "main"


def test_four_tries() -> None:
    """A server that fails is asked four times, with growing pauses that differ by client."""
    attempts = Attempts("main", URL)
    pauses = [attempts.answered(Reply(503, URL)) for _ in range(3)]
    for pause, least in zip(pauses, (0.125, 0.25, 0.5), strict=True):
        assert pause is not None
        assert least <= pause <= 3 * least
    with pytest.raises(CacheUnreachableError) as caught:
        attempts.answered(Reply(503, URL))
    assert str(caught.value) == (
        f"main: HTTP 503 from {TOLD} (4 tries)\n  hint: is the cache up, and its address right?"
    )


def test_two_tries_where_time_is_over() -> None:
    """A server that hangs is asked twice."""
    attempts = Attempts("main", URL)
    assert attempts.broke("no answer in time", slow=True) > 0
    with pytest.raises(CacheUnreachableError, match=r"no answer in time \(2 tries\)"):
        attempts.broke("no answer in time", slow=True)


def test_a_server_that_asks_to_wait() -> None:
    """So long is waited as it asks, within reason."""
    assert Attempts("main", URL).answered(Reply(429, URL, b"", 9)) == 9.0
    with pytest.raises(CacheUnreachableError, match="asks to wait for more than 60 seconds"):
        Attempts("main", URL).answered(Reply(429, URL, b"", 61))


def test_progress_is_worth_more_tries() -> None:
    """What brings new bytes each time may be tried without end."""
    attempts = Attempts("main", URL)
    for _ in range(20):
        attempts.broke("the connection ended")
        attempts.progressed()
    assert attempts.broke("the connection ended") > 0
