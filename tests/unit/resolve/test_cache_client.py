"""Files of one cache, read as they come, and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from memory_caches import MemoryLine, cache

from nixbk.resolve.caches.attempts import DOWN_HINT, LOGIN_HINT
from nixbk.resolve.caches.faults import (
    CacheError,
    CacheRefusedError,
    CacheUnreachableError,
    NotInCacheError,
)
from nixbk.resolve.caches.transport import CacheClient
from nixbk.resolve.caches.wire import NoRangeError, WireError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.wire import Request

DATA = bytes(range(256)) * 8000


class _Host:
    """Answers as a function says; notes what is asked.

    Attributes:
        asked: method, address and start of each.
    """

    def __init__(
        self, answer: Callable[[Request], tuple[int, Iterable[bytes | WireError]]]
    ) -> None:
        self._answer = answer
        self.asked: list[tuple[str, str, int]] = []
        self.lines: list[MemoryLine] = []

    def client(self, one: Cache | None = None) -> CacheClient:
        def wait(event: threading.Event, _seconds: float) -> bool:
            return event.is_set()

        return CacheClient(one or cache(), environ={}, line=self._line, wait=wait)

    def _line(self) -> MemoryLine:
        self.lines.append(MemoryLine(self._note))
        return self.lines[-1]

    def _note(self, request: Request) -> tuple[int, Iterable[bytes | WireError]]:
        self.asked.append((request.method, request.url, request.start))
        return self._answer(request)


def _pieces(data: bytes, cut: int | None = None) -> Iterator[bytes | WireError]:
    """A body that breaks off after so many bytes."""
    end = len(data) if cut is None else cut
    for start in range(0, end, 65536):
        yield data[start : min(start + 65536, end)]
    if cut is not None:
        yield WireError("the connection ended")


def _file(request: Request, cut: int | None = None) -> tuple[int, Iterable[bytes | WireError]]:
    return (206 if request.start else 200), _pieces(DATA[request.start :], cut)


def test_a_file() -> None:
    """It comes as the server has it, in pieces, over one line."""
    host = _Host(_file)
    with host.client() as client:
        assert b"".join(client.open("nar/x")) == DATA
        assert b"".join(client.open("nar/x", 1000)) == DATA[1000:]
        assert client.read("nar/x", len(DATA)) == DATA
        with pytest.raises(CacheError, match=f"longer than {len(DATA) - 1} bytes"):
            client.read("nar/x", len(DATA) - 1)
    assert host.asked[:2] == [("GET", "https://c.example/nar/x", start) for start in (0, 1000)]
    assert [line.closed for line in host.lines] == [True]


def test_two_files_at_once() -> None:
    """Each has a line of its own."""
    host = _Host(_file)
    with host.client() as client:
        for one, other in zip(client.open("nar/x"), client.open("nar/y"), strict=True):
            assert one == other
    assert [line.closed for line in host.lines] == [True, True]


def test_a_file_that_is_cut() -> None:
    """It goes on where it ended."""
    cuts = [700_000, 500_000, None]
    host = _Host(lambda request: _file(request, cuts.pop(0)))
    with host.client() as client:
        assert b"".join(client.open("nar/x")) == DATA
    assert [start for _, _, start in host.asked] == [0, 700_000, 1_200_000]


def test_a_file_that_is_cut_where_there_are_no_ranges() -> None:
    """It is read again from its beginning, of which nothing is told twice."""
    cuts = [700_000, 1_500_000, None]

    def answer(request: Request) -> tuple[int, Iterable[bytes | WireError]]:
        if request.start:
            raise NoRangeError("no")
        return _file(request, cuts.pop(0))

    host = _Host(answer)
    with host.client() as client:
        assert b"".join(client.open("nar/x")) == DATA
    assert [start for _, _, start in host.asked] == [0, 700_000, 0, 0]


def test_a_file_that_became_shorter() -> None:
    """It is another file."""
    bodies = [_pieces(DATA, 5000)] + [_pieces(b"short")] * 9

    def answer(request: Request) -> tuple[int, Iterable[bytes | WireError]]:
        if request.start:
            raise NoRangeError("no")
        return 200, bodies.pop(0)

    with (
        _Host(answer).client() as client,
        pytest.raises(CacheUnreachableError, match="the file is shorter than it was"),
    ):
        list(client.open("nar/x"))


def test_a_file_that_is_cut_each_time_at_the_same_place() -> None:
    """It is given up after four tries."""

    def answer(request: Request) -> tuple[int, Iterable[bytes | WireError]]:
        if request.start:
            raise NoRangeError("no")
        return _file(request, 5000)

    host = _Host(answer)
    with host.client() as client:
        chunks = client.open("nar/x")
        assert next(chunks) == DATA[:5000]
        with pytest.raises(CacheUnreachableError, match=r"the connection ended \(4 tries\)"):
            next(chunks)
    assert len([start for _, _, start in host.asked if not start]) == 4


FAULTS: dict[str, tuple[int, type[CacheError], str]] = {
    "absent": (404, NotInCacheError, "main: HTTP 404 from 'https://c.example/nar/x'"),
    "forbidden": (403, NotInCacheError, "main: HTTP 403 from 'https://c.example/nar/x'"),
    "a login is wanted": (
        401,
        CacheRefusedError,
        f"main: HTTP 401 from 'https://c.example/nar/x'\n  hint: {LOGIN_HINT}",
    ),
    "broken": (
        503,
        CacheUnreachableError,
        f"main: HTTP 503 from 'https://c.example/nar/x' (4 tries)\n  hint: {DOWN_HINT}",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(name: str) -> None:
    """What is wrong is told by the kind of the error, and without what may be secret."""
    status, kind, message = FAULTS[name]
    with (
        _Host(lambda _: (status, [])).client() as client,
        pytest.raises(CacheError) as caught,
    ):
        next(client.open("nar/x?secret=1"))
    assert type(caught.value) is kind
    assert str(caught.value) == message


BREAKS = {
    "refused": (
        WireError("no connection: connection refused"),
        "no connection: connection refused (4 tries)",
    ),
    "silence": (WireError("no answer in time", slow=True), "no answer in time (2 tries)"),
    "for good": (WireError("it is redirected more than 5 times", final=True), "5 times"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_no_answer(name: str) -> None:
    """A connection that fails is told as what it is."""
    error, message = BREAKS[name]

    def answer(_request: Request) -> tuple[int, Iterable[bytes | WireError]]:
        raise error

    with _Host(answer).client() as client, pytest.raises(CacheError) as caught:
        next(client.open("nar/x"))
    assert caught.value.message.startswith("'https://c.example/nar/x': ")
    assert caught.value.message.endswith(message)


def test_writing(tmp_path: Path) -> None:
    """Bytes and files are put, and again where the server stumbles."""
    got: list[tuple[str, bytes | Path, str]] = []

    def answer(request: Request) -> tuple[int, Iterable[bytes | WireError]]:
        got.append((request.url, request.content, request.headers["content-type"]))
        return (503 if len(got) == 1 else 201), []

    host = _Host(answer)
    with host.client() as client:
        client.put("nar/x", tmp_path / "file")
        client.put("x.narinfo", b"text", "text/x-nix-narinfo")
    nar = ("https://c.example/nar/x", tmp_path / "file", "application/octet-stream")
    assert got == [nar, nar, ("https://c.example/x.narinfo", b"text", "text/x-nix-narinfo")]
    assert {method for method, _, _ in host.asked} == {"PUT"}


def test_writing_where_one_may_not() -> None:
    """403 of a PUT is no absence."""
    with _Host(lambda _: (403, [])).client() as client, pytest.raises(CacheRefusedError):
        client.put("x", b"")


def test_asking_for_presence() -> None:
    """404 and 403 are a no, and a failure is an error."""
    statuses = {"yes": 200, "no": 404, "hidden": 403, "broken": 500}
    host = _Host(lambda request: (statuses[request.url.rpartition("/")[2]], []))
    with host.client() as client:
        assert [client.exists(name) for name in ("yes", "no", "hidden")] == [True, False, False]
        with pytest.raises(CacheUnreachableError):
            client.exists("broken")


def test_closing() -> None:
    """What is closed asks nothing more."""
    host = _Host(lambda request: _file(request, 5000))
    client = host.client()
    chunks = client.open("nar/x")
    next(chunks)
    client.close()
    with pytest.raises(CacheError, match="it was not waited for"):
        next(chunks)
    with pytest.raises(CacheError, match="it was not waited for"):
        client.exists("nar/x")
    assert [line.closed for line in host.lines] == [True]


def test_a_folder(tmp_path: Path) -> None:
    """A cache in a folder does the same without a network."""
    one = cache("disk", f"file://{tmp_path / 'cache'}")
    with CacheClient(one) as client:
        assert not client.exists("nar/x")
        client.put("nar/x", DATA)
        (tmp_path / "file").write_bytes(b"file")
        client.put("nar/y", tmp_path / "file")
        assert client.exists("nar/x")
        assert b"".join(client.open("nar/x")) == DATA
        assert b"".join(client.open("nar/x", 5)) == DATA[5:]
        assert client.read("nar/y", 4) == b"file"
        with pytest.raises(CacheError, match="longer than 3 bytes"):
            client.read("nar/y", 3)
        with pytest.raises(NotInCacheError, match="there is no file"):
            next(client.open("nar/z"))
        with pytest.raises(CacheError, match="no regular file"):
            next(client.open("nar"))
        with pytest.raises(CacheError, match="is no file of the folder"):
            next(client.open("../file"))
        with pytest.raises(CacheError, match="cannot write"):
            client.put("nar/x/y", b"")
