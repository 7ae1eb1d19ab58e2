"""Asks binary caches for store paths, and for what these refer to. Effect: as its parts have.

Every path is asked for at every cache, so that a lock knows all places where it is to be had.
What a path refers to is asked for as soon as the answer is there, not when its whole level is.

Source: ``Store::computeFSClosure``, Nix ``src/libstore/misc.cc``.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from nixbk.resolve.caches.answers import Answers
from nixbk.resolve.caches.faults import CacheError
from nixbk.resolve.caches.judge import Answer, RefusedAnswerError, Status
from nixbk.resolve.caches.jury import Jury
from nixbk.resolve.caches.small import SmallFiles
from nixbk.resolve.caches.source import Source
from nixbk.resolve.caches.wire import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nixbk.nix.signatures import PublicKey
    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.wire import Wire

    Progress = Callable[[int, int], None]
    More = Callable[[StorePath, tuple[Answer, ...]], Iterable[StorePath]]

__all__ = ["Answer", "Caches", "RefusedAnswerError", "Status", "ask", "ask_closure"]


class Caches:
    """The caches of a manifest, with their connections; a context manager.

    Args:
        caches: in the order of the manifest; those with a lower priority come first.
        keys: of the manifest, by their names.
        answers: what was said before; closed by who made it.
        refresh: whether all is asked anew.
        offline: whether nothing is: what was said before counts, however old it is.
        progress: told, as paths get their answers, how many have one, and how many there are.
        environ: of the user.
        timeouts: how long to wait.
        wire: makes what carries questions; libcurl by default.
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        caches: Iterable[Cache],
        keys: Mapping[str, PublicKey],
        *,
        answers: Answers | None = None,
        refresh: bool = False,
        offline: bool = False,
        progress: Progress | None = None,
        environ: Mapping[str, str] = os.environ,
        timeouts: Timeouts | None = None,
        wire: Callable[[], Wire] | None = None,
    ) -> None:
        self._answers = Answers(None) if answers is None else answers
        self._environ = environ
        self._timeouts = timeouts or Timeouts()
        self._offline = offline
        self._refresh = refresh
        self._keys = keys
        self._progress = progress
        self._warming: threading.Thread | None = None
        self._jury = Jury(keys)
        self._files = SmallFiles(wire or self._wire, self._jury.decide)
        self._sources = [
            Source(
                cache,
                self._files,
                self._jury,
                keys,
                self._answers,
                refresh=refresh,
                offline=offline,
            )
            for cache in sorted(caches, key=lambda cache: cache.address.priority)
        ]

    @property
    def caches(self) -> tuple[Cache, ...]:
        """In the order in which they are preferred."""
        return tuple(source.cache for source in self._sources)

    def warm(self) -> None:
        """Load what asking needs, in a thread, while something else is waited for."""
        if self._warming is None and self._sources and not self._offline:
            self._warming = threading.Thread(target=_load, daemon=True, name="nixbk-warm")
            self._warming.start()

    def ask(self, paths: Iterable[StorePath]) -> dict[StorePath, tuple[Answer, ...]]:
        """What the caches say of each of *paths*, in the order of the caches."""
        return self._closure(paths, None, follow=False)

    def ask_closure(
        self, roots: Iterable[StorePath], more: More | None = None
    ) -> dict[StorePath, tuple[Answer, ...]]:
        """What the caches say of *roots* and of all that accepted answers refer to.

        Args:
            roots: store paths.
            more: called once for each path, when all caches have answered, by the thread that
                asks; what it returns is asked for, too.
        """
        return self._closure(roots, more, follow=True)

    def outputs(self, ids: Iterable[str]) -> dict[str, StorePath | CacheError | None]:
        """What outputs came to whose paths do not follow from their recipes, by what they are.

        Returns:
            The path; or why a cache says nothing where no other has it; or None where none has.
        """
        from nixbk.resolve.caches.outputs import OutputQuestions  # noqa: PLC0415 - few locks ask

        wanted = list(dict.fromkeys(ids))
        questions = OutputQuestions(
            self.caches,
            self._files,
            self._keys,
            self._answers,
            refresh=self._refresh,
            offline=self._offline,
        )
        questions.ask(wanted)
        self._run()
        return {output_id: questions.found(output_id) for output_id in wanted}

    def small_files(
        self, wanted: Iterable[tuple[str, str]], limit_bytes: int
    ) -> dict[tuple[str, str], bytes | CacheError]:
        """Many small files at once, such as archives of symbolic links.

        Args:
            wanted: of each, the cache's name and its URL as a narinfo has it.
            limit_bytes: a longer one is an error.
        """
        by_name = {source.cache.name: source.cache for source in self._sources}
        found: dict[tuple[str, str], bytes | CacheError] = {}
        for key in dict.fromkeys(wanted):
            name, url = key
            if self._offline and by_name[name].address.kind != "file":
                found[key] = CacheError(
                    f"{url!r} is to be fetched", where=name, hint="leave out --offline"
                )
            else:
                self._files.get(by_name[name], url, limit_bytes, partial(found.__setitem__, key))
        self._run()
        return found

    def cancel(self) -> None:
        """End what is asked, from any thread: it fails, as does whatever is asked from now on."""
        self._files.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._files.close()

    def _closure(
        self, paths: Iterable[StorePath], more: More | None, *, follow: bool
    ) -> dict[StorePath, tuple[Answer, ...]]:
        closure = _Closure(self._sources, self._progress, more, follow=follow)
        closure.begin(paths)
        self._run()
        return closure.found

    def _run(self) -> None:
        if self._warming is not None:
            self._warming.join()
        try:
            self._files.run()
        finally:
            self._jury.dismiss()
            for source in self._sources:
                source.abandon()
            self._answers.flush()

    def _wire(self) -> Wire:
        from nixbk.resolve.caches.many import CurlWire  # noqa: PLC0415 - loads libcurl

        return CurlWire(self._timeouts, self._environ)


def ask(caches: Caches, paths: Iterable[StorePath]) -> dict[StorePath, tuple[Answer, ...]]:
    """See `Caches.ask`."""
    return caches.ask(paths)


def ask_closure(
    caches: Caches, roots: Iterable[StorePath], more: More | None = None
) -> dict[StorePath, tuple[Answer, ...]]:
    """See `Caches.ask_closure`."""
    return caches.ask_closure(roots, more)


@dataclass(slots=True)
class _Asked:
    """A path, and what caches have answered so far."""

    path: StorePath
    answers: list[Answer | None]
    missing: int


class _Closure:
    """One question, and what follows from the answers.

    Attributes:
        found: the answers, of all caches for a path each.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        progress: Progress | None,
        more: More | None,
        *,
        follow: bool,
    ) -> None:
        self._sources = sources
        self._progress = progress
        self._more = more
        self._follow = follow
        self._asked: set[StorePath] = set()
        self._new: deque[_Asked] = deque()
        self.found: dict[StorePath, tuple[Answer, ...]] = {}

    def begin(self, roots: Iterable[StorePath]) -> None:
        """Ask for *roots*; what follows is asked for as their answers are met."""
        self._want(roots)
        self._start()

    def _want(self, paths: Iterable[StorePath]) -> None:
        for path in paths:
            if path not in self._asked:
                self._asked.add(path)
                number = len(self._sources)
                self._new.append(_Asked(path, [None] * number, number))

    def _start(self) -> None:
        while self._new:
            asked = self._new.popleft()
            if not self._sources:
                self._finish(asked)
            for number, source in enumerate(self._sources):
                answer = source.known(asked.path)
                if answer is not None:
                    self._meet(asked, number, answer)
                else:
                    source.ask(asked.path, partial(self._arrived, asked, number))

    def _arrived(self, asked: _Asked, number: int, answer: Answer) -> None:
        self._meet(asked, number, answer)
        self._start()

    def _meet(self, asked: _Asked, number: int, answer: Answer) -> None:
        asked.answers[number] = answer
        asked.missing -= 1
        if self._follow and answer.info is not None:
            self._want(answer.info.references)
        if not asked.missing:
            self._finish(asked)

    def _finish(self, asked: _Asked) -> None:
        found = tuple(answer for answer in asked.answers if answer is not None)
        self.found[asked.path] = found
        if self._more is not None:
            self._want(self._more(asked.path, found))
        if self._progress is not None:
            self._progress(len(self.found), len(self._asked))


def _load() -> None:
    """Import what is imported late. What is not there is missed by who needs it."""
    import importlib  # noqa: PLC0415 - this is all about imports

    for name in (
        "sqlite3",
        "nixbk.resolve.caches.many",
        "nacl.signing",
    ):
        importlib.import_module(name)
