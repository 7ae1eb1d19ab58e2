"""Narinfos made up, and a wire in memory that answers as a function says. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.nix.hashes import Hash
from nixbk.nix.narinfo import NarInfo
from nixbk.nix.signatures import SecretKey
from nixbk.nix.store_path import StorePath
from nixbk.resolve.caches.address import CacheAddress
from nixbk.resolve.caches.cache import Cache
from nixbk.resolve.caches.wire import Question, Reply, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from nixbk.resolve.caches.wire import Request

KEY: Final = SecretKey.generate("main-1")
STRANGER: Final = SecretKey.generate("stranger-1")
KEYS: Final = {KEY.name: KEY.public}
INFO: Final = b"StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n"


def store_path(name: str) -> StorePath:
    """A store path of that name."""
    return StorePath(hashlib.sha256(name.encode()).digest()[:20], name)


def nar_info(name: str, *references: str, key: SecretKey | None = KEY) -> NarInfo:
    """What a cache tells of a path of that name."""
    nar = Hash.of(f"nar of {name}".encode())
    info = NarInfo(
        store_path=store_path(name),
        url=f"nar/{name}.nar.xz",
        compression="xz",
        file_hash=Hash.of(f"file of {name}".encode()),
        file_size=100,
        nar_hash=nar,
        nar_size=200,
        references=tuple(store_path(reference) for reference in references),
    )
    return info if key is None else replace(info, signatures=(key.sign(info.fingerprint),))


def cache(name: str = "main", url: str = "https://c.example", **more: object) -> Cache:
    """A cache at an address that nobody has."""
    return Cache(name, CacheAddress.parse(url, Path("/")), **more)  # type: ignore[arg-type]


def files_of(*infos: NarInfo) -> dict[str, bytes]:
    """The files of a cache, by their paths."""
    return {
        "/nix-cache-info": INFO,
        **{f"/{info.store_path.basename[:32]}.narinfo": info.to_bytes() for info in infos},
    }


def serve(files: Mapping[str, bytes]) -> Callable[[str], Reply]:
    """Answer as a server of files does."""

    def answer(path: str) -> Reply:
        data = files.get(path)
        return Reply(404, path, b"no") if data is None else Reply(200, path, data)

    return answer


@dataclass
class MemoryWire:
    """Answers by a function of the path, without a network; see `nixbk.resolve.caches.wire.Wire`.

    Attributes:
        answer: of a path; may raise `WireError`.
        asked: the addresses so far, with the logins that go along.
        closed: how often it was.
    """

    answer: Callable[[str], Reply]
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    closed: int = 0
    _open: list[Question] = field(default_factory=list)

    def start(self, question: Question) -> None:
        """Ask."""
        login = question.cache.headers(question.url).get("authorization")
        self.asked.append((question.url, login))
        self._open.append(question)

    def wait(self, _within_s: float, /) -> Iterator[tuple[Question, Reply | WireError]]:
        """Answer all."""
        questions, self._open = self._open, []
        for question in questions:
            yield question, self._outcome(question)

    def forget(self, cache: Cache) -> None:
        """Answer nothing of that cache."""
        self._open = [one for one in self._open if one.cache.name != cache.name]

    def close(self) -> None:
        """Note it."""
        self.closed += 1

    def _outcome(self, question: Question) -> Reply | WireError:
        try:
            reply = self.answer("/" + question.url.split("/", 3)[3])
        except WireError as error:
            return error
        if len(reply.body) > question.limit_bytes:
            return WireError("too long", final=True)
        return reply._replace(url=question.url)


@dataclass
class MemoryWires:
    """One wire of several, by the names of caches."""

    wires: Mapping[str, MemoryWire]

    def start(self, question: Question) -> None:
        """Ask."""
        self.wires[question.cache.name].start(question)

    def wait(self, _within_s: float, /) -> Iterator[tuple[Question, Reply | WireError]]:
        """Answer all."""
        for wire in self.wires.values():
            yield from wire.wait(_within_s)

    def forget(self, cache: Cache) -> None:
        """Answer nothing of that cache."""
        self.wires[cache.name].forget(cache)

    def close(self) -> None:
        """Note it."""
        for wire in self.wires.values():
            wire.close()


@dataclass
class MemoryLine:
    """Answers requests by a function; see `nixbk.resolve.caches.wire.Line`.

    Attributes:
        answer: of a request: its status, and the pieces of the body, of which one may be an error;
            may raise `WireError`.
    """

    answer: Callable[[Request], tuple[int, Iterable[bytes | WireError]]]
    closed: bool = False

    def ask(self, request: Request) -> tuple[Reply, Generator[bytes, None, None]]:
        """Answer."""
        status, pieces = self.answer(request)
        return Reply(status, request.url), _body(pieces)

    def close(self) -> None:
        """Note it."""
        self.closed = True


def _body(pieces: Iterable[bytes | WireError]) -> Generator[bytes, None, None]:
    for piece in pieces:
        if isinstance(piece, WireError):
            raise piece
        yield piece
