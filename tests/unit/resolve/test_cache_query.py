"""Questions to several caches at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from memory_caches import (
    INFO,
    KEYS,
    MemoryWire,
    MemoryWires,
    cache,
    files_of,
    nar_info,
    serve,
    store_path,
)

from nixbk.resolve.caches import attempts
from nixbk.resolve.caches.answers import Answers
from nixbk.resolve.caches.faults import CacheError, CacheRefusedError, CacheUnreachableError
from nixbk.resolve.caches.query import Answer, Caches, RefusedAnswerError, ask, ask_closure
from nixbk.resolve.caches.wire import Reply, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.wire import Question

HUSH = "hush"
A, B, C = nar_info("a", "a", "b", "c"), nar_info("b", "c"), nar_info("c")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between tries."""
    monkeypatch.setattr(attempts, "wait_s", lambda *_: 0.0)


def _caches(
    *made: tuple[Cache, MemoryWire],
    answers: Answers | None = None,
    refresh: bool = False,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Caches:
    wires = {one.name: wire for one, wire in made}
    return Caches(
        [one for one, _ in made],
        KEYS,
        answers=answers,
        refresh=refresh,
        offline=offline,
        progress=progress,
        wire=lambda: MemoryWires(wires),
    )


def _shown(found: dict[StorePath, tuple[Answer, ...]]) -> dict[str, list[str]]:
    return {
        path.name: [f"{answer.substituter} {answer.status}" for answer in answers]
        for path, answers in found.items()
    }


def test_every_cache_is_asked_for_every_path() -> None:
    """Answers come in the order of the caches, a lower priority first."""
    one = (cache("one"), MemoryWire(serve(files_of(A, B))))
    two = (cache("two", "http://d.example?priority=10"), MemoryWire(serve(files_of(B, C))))
    with _caches(one, two) as caches:
        assert [found.name for found in caches.caches] == ["two", "one"]
        found = ask(caches, [A.store_path, B.store_path, store_path("nobody")])
    assert _shown(found) == {
        "a": ["two absent", "one accepted"],
        "b": ["two accepted", "one accepted"],
        "nobody": ["two absent", "one absent"],
    }
    assert (one[1].closed, two[1].closed) == (1, 1)


def test_a_closure_over_two_caches() -> None:
    """What one cache refers to is asked for at all, once."""
    wires = [MemoryWire(serve(files_of(A))), MemoryWire(serve(files_of(B, C)))]
    steps: list[tuple[int, int]] = []
    with _caches(
        (cache("one"), wires[0]),
        (cache("two", "https://d.example"), wires[1]),
        progress=lambda done, total: steps.append((done, total)),
    ) as caches:
        found = ask_closure(caches, [A.store_path])
    assert _shown(found) == {
        "a": ["one accepted", "two absent"],
        "b": ["one absent", "two accepted"],
        "c": ["one absent", "two accepted"],
    }
    assert steps[-1] == (3, 3)
    assert [len(wire.asked) for wire in wires] == [4, 4]  # nix-cache-info, too


def test_what_else_to_ask() -> None:
    """A caller may ask for more once it has the answers for a path."""
    told: list[str] = []

    def more(path: StorePath, answers: Sequence[Answer]) -> Iterable[StorePath]:
        told.append(path.name)
        absent = all(answer.status == "absent" for answer in answers)
        return [B.store_path] if absent else []

    with _caches((cache(), MemoryWire(serve(files_of(B, C))))) as caches:
        found = ask_closure(caches, [A.store_path], more)
    assert sorted(found, key=str) == sorted([A.store_path, B.store_path, C.store_path], key=str)
    assert sorted(told) == ["a", "b", "c"]


def test_no_caches() -> None:
    """Nobody answers."""
    with _caches() as caches:
        assert ask(caches, [A.store_path]) == {A.store_path: ()}


def test_a_refused_answer_is_not_followed() -> None:
    """A lie leads nowhere, and does not stand for another cache's answer."""
    lying = {**files_of(A), **dict.fromkeys(files_of(A), B.to_bytes()), "/nix-cache-info": INFO}
    with _caches(
        (cache("one"), MemoryWire(serve(lying))),
        (cache("two", "https://d.example"), MemoryWire(serve(files_of(A)))),
    ) as caches:
        found = ask_closure(caches, [A.store_path])
    assert _shown(found)["a"] == ["one refused", "two accepted"]
    refused = found[A.store_path][0].error
    assert isinstance(refused, RefusedAnswerError)
    assert refused.field == "StorePath"


def _broken(_path: str) -> Reply:
    raise WireError("no connection: connection refused")


def _hanging(_path: str) -> Reply:
    raise WireError("no answer in time", slow=True)


def _not_let_in(path: str) -> Reply:
    return Reply(403, path) if path == "/nix-cache-info" else serve(files_of(A))(path)


def _no_cache(path: str) -> Reply:
    return Reply(404, path)


def _other_store(path: str) -> Reply:
    return Reply(200, path, b"StoreDir: /gnu/store\n")


DOWN: dict[str, tuple[Callable[[str], Reply], type[CacheError], str]] = {
    "nothing listens": (
        _broken,
        CacheUnreachableError,
        "no connection: connection refused (4 tries)",
    ),
    "it hangs": (_hanging, CacheUnreachableError, "no answer in time (2 tries)"),
    "broken": (lambda path: Reply(500, path), CacheUnreachableError, "HTTP 500"),
    "not let in": (_not_let_in, CacheRefusedError, "HTTP 403"),
    "a login is wanted": (lambda path: Reply(401, path), CacheRefusedError, "HTTP 401"),
    "no cache": (_no_cache, CacheError, "'https://c.example' is no binary cache: HTTP 404"),
    "another store": (
        _other_store,
        CacheError,
        "'https://c.example' has paths of the store '/gnu/store', not of /nix/store",
    ),
}


@pytest.mark.parametrize("name", DOWN)
def test_a_cache_that_is_down(name: str) -> None:
    """All its answers say so; it is not asked on and on; another cache's answers count."""
    answer, kind, message = DOWN[name]
    wire = MemoryWire(answer)
    paths = [store_path(f"p{number}") for number in range(40)]
    with _caches(
        (cache("bad"), wire),
        (cache("good", "https://d.example"), MemoryWire(serve(files_of(A)))),
    ) as caches:
        found = ask(caches, [A.store_path, *paths])
        again = ask(caches, [B.store_path])
    assert {answers[0].status for answers in found.values()} == {"failed"}
    assert found[A.store_path][1].status == "accepted"
    assert isinstance(found[A.store_path][0].error, kind)
    errors = [str(answers[0].error) for answers in found.values()]
    assert any(message in error for error in errors), errors
    assert again[B.store_path][0].status == "failed"
    assert "secret" not in "".join(errors)


def test_one_bad_narinfo_does_not_bring_a_cache_down() -> None:
    """A path that fails each time fails alone."""
    files = files_of(B, C)

    def answer(path: str) -> Reply:
        if A.store_path.basename[:32] in path:
            raise WireError("the connection ended")
        return serve(files)(path)

    with _caches((cache(), MemoryWire(answer))) as caches:
        found = _shown(ask(caches, [A.store_path, B.store_path]))
        assert found == {"a": ["main failed"], "b": ["main accepted"]}
        assert _shown(ask(caches, [C.store_path])) == {"c": ["main accepted"]}


def test_forbidden_is_absent() -> None:
    """A bucket that nobody may list says 403 of what it does not have."""
    files = files_of()

    def answer(path: str) -> Reply:
        return Reply(200, path, files[path]) if path in files else Reply(403, path)

    with _caches((cache(), MemoryWire(answer))) as caches:
        assert _shown(ask(caches, [A.store_path])) == {"a": ["main absent"]}


def test_a_final_failure() -> None:
    """What is of no use to ask again is asked once, and fails alone."""
    files = files_of(B)

    def answer(path: str) -> Reply:
        if A.store_path.basename[:32] in path:
            raise WireError("it is redirected more than 5 times", final=True)
        return serve(files)(path)

    wire = MemoryWire(answer)
    with _caches((cache(), wire)) as caches:
        found = ask(caches, [A.store_path, B.store_path])
    assert _shown(found) == {"a": ["main failed"], "b": ["main accepted"]}
    url = f"https://c.example/{A.store_path.basename[:32]}.narinfo"
    error = found[A.store_path][0].error
    assert str(error) == f"main: {url!r}: it is redirected more than 5 times"
    assert [asked for asked, _ in wire.asked].count(url) == 1


def test_a_token() -> None:
    """It goes to the cache's own place, and nobody sees it."""
    wire = MemoryWire(serve(files_of(A)))
    with _caches((cache(token=HUSH), wire)) as caches:
        assert _shown(ask(caches, [A.store_path])) == {"a": ["main accepted"]}
        caches.small_files([("main", "https://o.example/nar/x")], 10)
    assert {login for url, login in wire.asked if url.startswith("https://c.example/")} == {
        f"Bearer {HUSH}"
    }
    assert wire.asked[-1] == ("https://o.example/nar/x", None)
    assert HUSH not in repr(cache(token=HUSH))


def test_a_file_of_logins(tmp_path: Path) -> None:
    """A netrc file has logins by host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine c.example login me password hush\n")
    wire = MemoryWire(serve(files_of(A)))
    with _caches((cache(netrc=netrc), wire)) as caches:
        ask(caches, [A.store_path])
    assert {login for _, login in wire.asked} == {"Basic bWU6aHVzaA=="}


def test_a_narinfo_is_short() -> None:
    """A longer one is a failure."""
    files = {**files_of(A), f"/{B.store_path.basename[:32]}.narinfo": bytes((1 << 20) + 1)}
    with _caches((cache(), MemoryWire(serve(files)))) as caches:
        found = _shown(ask(caches, [A.store_path, B.store_path]))
    assert found == {"a": ["main accepted"], "b": ["main failed"]}


def test_answers_are_kept(tmp_path: Path) -> None:
    """What was asked is not asked again, unless all is; without a network, it still counts."""
    file = tmp_path / "narinfos.sqlite"
    expected = {"a": ["main accepted"], "nobody": ["main absent"]}
    paths = [A.store_path, store_path("nobody")]
    counts = []
    for refresh in (False, False, True):
        wire = MemoryWire(serve(files_of(A)))
        with (
            Answers(file) as kept,
            _caches((cache(), wire), answers=kept, refresh=refresh) as caches,
        ):
            assert _shown(ask(caches, paths)) == expected
        counts.append(len(wire.asked))
    assert counts == [3, 0, 3]
    wire = MemoryWire(_broken)
    with Answers(file) as kept, _caches((cache(), wire), answers=kept, offline=True) as caches:
        assert _shown(ask(caches, paths)) == expected
        answer = ask(caches, [B.store_path])[B.store_path][0]
    assert (answer.status, wire.asked) == ("failed", [])
    assert str(answer.error) == (
        f"main: it has not been asked for '{B.store_path}' before\n  hint: leave out --offline"
    )


def test_a_refused_answer_is_not_kept(tmp_path: Path) -> None:
    """A cache that was put right is believed at once."""
    file = tmp_path / "narinfos.sqlite"
    for info, expected in ((nar_info("a", key=None), "refused"), (A, "accepted")):
        wire = MemoryWire(serve(files_of(info)))
        with Answers(file) as kept, _caches((cache(), wire), answers=kept) as caches:
            assert _shown(ask(caches, [A.store_path])) == {"a": [f"main {expected}"]}


def test_small_files() -> None:
    """Many archives at once, each with its own outcome."""
    files = {"/nar/a": b"1", "/nar/long": bytes(100)}
    with _caches((cache(), MemoryWire(serve(files)))) as caches:
        found = caches.small_files([("main", f"nar/{name}") for name in ("a", "long", "no")], 10)
    assert found["main", "nar/a"] == b"1"
    assert isinstance(found["main", "nar/long"], CacheError)
    assert str(found["main", "nar/no"]) == "main: HTTP 404 from 'https://c.example/nar/no'"


def test_a_folder(tmp_path: Path) -> None:
    """A cache in a folder is asked anew each time, without a network."""
    for path, data in files_of(A).items():
        (tmp_path / path[1:]).write_bytes(data)
    with Caches([cache("disk", f"file://{tmp_path}")], KEYS, offline=True) as caches:
        found = ask(caches, [A.store_path, B.store_path])
    assert _shown(found) == {"a": ["disk accepted"], "b": ["disk absent"]}


class Silent(MemoryWire):
    """Never answers for one path."""

    def wait(self, within_s: float, /) -> Iterator[tuple[Question, Reply | WireError]]:
        """Answer the others."""
        part = B.store_path.basename[:32]
        silent = [one for one in self._open if part in one.url]
        self._open = [one for one in self._open if part not in one.url]
        yield from super().wait(within_s)
        self._open = silent


def test_an_interrupt_ends_what_is_under_way() -> None:
    """What was answered until then is kept, and one may go on asking."""
    answers = Answers(None)

    def progress(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    wire = Silent(serve(files_of(A)))
    with _caches((cache(), wire), answers=answers, progress=progress) as caches:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                ask(caches, [A.store_path, B.store_path])
            assert not wire._open
    assert answers.get("https://c.example", A.store_path.basename[:32]) is not None


def test_cancelling_from_another_thread() -> None:
    """What is asked ends, and so does whatever is asked from then on."""
    steps = threading.Event()
    wire = Silent(serve(files_of(A)))
    with _caches((cache(), wire), progress=lambda *_: steps.set()) as caches:

        def cancel() -> None:
            steps.wait(10)
            caches.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(CacheError, match="it was not waited for"):
            ask(caches, [A.store_path, B.store_path])
        thread.join()
        with pytest.raises(CacheError, match="it was not waited for"):
            ask(caches, [C.store_path])
