"""What carries questions to caches and answers back: its interface. Pure.

`nixbk.resolve.caches.curl` is what does it; tests have twins in memory. Redirects are followed
below this, and a login is sent to nobody but whom it is meant for.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from nixbk import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from nixbk.resolve.caches.cache import Cache

USER_AGENT: Final = f"nixbk/{__version__}"
MAX_REDIRECTS: Final = 5


class WireError(Exception):
    """There is no answer, or only a part of one.

    Attributes:
        reason: for a message.
        slow: whether the time was over.
        final: whether asking again is of no use.
    """

    def __init__(self, reason: str, *, slow: bool = False, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.slow = slow
        self.final = final


class NoRangeError(WireError):
    """Not the part of a file that was asked for came."""


class Timeouts(NamedTuple):
    """How long to wait.

    Attributes:
        connect_s: for a connection.
        answer_s: for the whole of a small file.
        idle_s: for the next bytes of a large one; in whole seconds.
    """

    connect_s: float = 10.0
    answer_s: float = 15.0
    idle_s: int = 60


class Reply(NamedTuple):
    """An answer.

    Attributes:
        status: of HTTP.
        url: what gave it; another than was asked for, behind a redirect.
        body: of a small file.
        retry_after_s: when to come back.
    """

    status: int
    url: str
    body: bytes = b""
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A small file that somebody waits for; each is like itself alone.

    Attributes:
        cache: whose it is.
        url: its whole address.
        limit_bytes: a longer one is an error.
    """

    cache: Cache
    url: str
    limit_bytes: int


class Wire(Protocol):
    """Carries many questions at once; used by one thread."""

    def start(self, question: Question) -> None:
        """Ask, as soon as there is room."""

    def wait(self, within_s: float, /) -> Iterable[tuple[Question, Reply | WireError]]:
        """What has come of questions; waits up to *within_s* for the first."""
        ...

    def forget(self, cache: Cache) -> None:
        """Nobody waits for the answers of *cache* any more."""

    def close(self) -> None:
        """End all connections."""


class Request(NamedTuple):
    """Something that is asked on its own.

    Attributes:
        method: ``GET``, ``HEAD`` or ``PUT``.
        url: a whole address.
        start: how many bytes of a file to leave out.
        content: of a PUT: all of it, or a file that holds it.
        headers: what else to tell.
    """

    method: str
    url: str
    start: int = 0
    content: bytes | Path = b""
    headers: Mapping[str, str] = MappingProxyType({})


class Line(Protocol):
    """Carries one request at a time, and keeps its connections; used by one thread at a time."""

    def ask(self, request: Request) -> tuple[Reply, Generator[bytes, None, None]]:
        """Ask.

        Returns:
            The answer without its body, and the body, which ends early when it is closed.

        Raises:
            NoRangeError: the answer is not the part that was asked for.
            WireError: there is no answer; also while the body is read.
        """
        ...

    def close(self) -> None:
        """End all connections."""
