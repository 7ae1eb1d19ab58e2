"""What the answers of several caches come to. Pure.

A path is to be had where one cache has it, and all that it refers to is to be had, too, from any
cache; or is a source, which needs no cache. Of caches that tell of different contents, the first
counts whose references are all to be had; those that tell the same are further places of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from nixbk.errors import NixbkError
from nixbk.nix.content_address import follows_from_content
from nixbk.schema.cache_url import check_archive_url
from nixbk.schema.lock import Compression, LockedArchive, LockedSubstitute

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from nixbk.nix.narinfo import NarInfo
    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.caches.judge import Answer

RETRY: Final = "try again later, or take the substituter out of the manifest"


class Fault(NamedTuple):
    """What is wrong with what a cache says, or that it says nothing.

    Attributes:
        substituter: the cache's name.
        path: what it was asked for.
        message: with both of them.
        hint: what to do about it.
    """

    substituter: str
    path: StorePath
    message: str
    hint: str | None


class _Offer(NamedTuple):
    """An answer that is believed, with what it is about."""

    answer: Answer
    info: NarInfo


class Standing:
    """What caches said of paths, and what follows from it."""

    def __init__(self) -> None:
        self._offers: dict[StorePath, tuple[_Offer, ...]] = {}
        self._faults: dict[StorePath, tuple[Fault, ...]] = {}
        self._sources: Container[StorePath] = frozenset()
        self._lost: set[StorePath] = set()
        self._chosen: dict[StorePath, tuple[Answer, ...]] = {}

    def __contains__(self, path: object) -> bool:
        return path in self._offers

    def add(self, answers: Mapping[StorePath, tuple[Answer, ...]]) -> None:
        """Take note of answers."""
        for path in answers:
            judged = [fitting(path, answer) for answer in answers[path]]
            self._offers[path] = tuple(found for found in judged if isinstance(found, _Offer))
            faults = tuple(found for found in judged if isinstance(found, Fault))
            if faults:
                self._faults[path] = faults

    def fatal(self) -> Fault | None:
        """A fault that no other cache makes up for."""
        rows = ((path, self._faults[path]) for path in sorted(self._faults))
        return next((faults[0] for path, faults in rows if not self._offers[path]), None)

    def faults(self) -> Iterator[Fault]:
        """Of each cache, one of its faults."""
        seen: set[str] = set()
        for path in sorted(self._faults):
            for fault in self._faults[path]:
                if fault.substituter not in seen:
                    seen.add(fault.substituter)
                    yield fault

    def settle(self, sources: Container[StorePath]) -> None:
        """See which paths are to be had, where *sources* are."""
        self._sources = sources
        self._chosen.clear()
        work = [path for path in self._offers if not self._is_had(path)]
        if not work:
            return  # as nearly always
        users: dict[StorePath, list[StorePath]] = {}
        for path, offers in self._offers.items():
            for reference in {r for offer in offers for r in offer.info.references}:
                users.setdefault(reference, []).append(path)
        while work:
            path = work.pop()
            if path not in self._lost and not self._is_had(path):
                self._lost.add(path)
                work += users.get(path, ())

    def _of(self, path: StorePath) -> tuple[_Offer, ...]:
        return self._offers.get(path, ())

    def _is_had(self, path: StorePath) -> bool:
        return any(map(self._is_whole, self._offers[path]))

    def _is_whole(self, offer: _Offer) -> bool:
        return all(
            self.has(item) or item in self._sources or item == offer.info.store_path
            for item in offer.info.references
        )

    def has(self, path: StorePath) -> bool:
        """Whether a path is to be had."""
        return path in self._offers and not (self._lost and path in self._lost)

    def answers(self, path: StorePath) -> tuple[Answer, ...]:
        """The answers by which a path is to be had, which all tell the same."""
        chosen = self._chosen.get(path)
        if chosen is None:
            whole = [offer for offer in self._of(path) if self._is_whole(offer)]
            facts = _facts(whole[0].info)
            chosen = tuple(offer.answer for offer in whole if _facts(offer.info) == facts)
            self._chosen[path] = chosen
        return chosen

    def closure(
        self, roots: Iterable[StorePath], without: Container[StorePath] = ()
    ) -> set[StorePath]:
        """What is fetched with *roots*; without sources and what those are."""
        found: set[StorePath] = set()
        work = list(roots)
        while work:
            path = work.pop()
            if path in found or path in without or not self.has(path):
                continue
            found.add(path)
            info = self.answers(path)[0].info
            work += info.references if info is not None else ()
        return found

    def missing(self, path: StorePath) -> Iterator[StorePath]:
        """What of the needs of a path no cache has."""
        seen: set[StorePath] = set()
        work = [path]
        while work:
            item = work.pop()
            if item in seen or item in self._sources:
                continue
            seen.add(item)
            offers = self._of(item)
            if not offers:
                yield item
            work += [r for offer in offers for r in offer.info.references]


def fitting(path: StorePath, answer: Answer) -> _Offer | Fault | None:
    """An answer as an offer, a fault, or nothing where the cache does not have the path."""
    if answer.status == "absent":
        return None
    info, error = answer.info, answer.error
    if info is not None and error is None:
        problem = _unfit(path, info)
        if problem is None:
            return _Offer(answer, info)
        name = answer.substituter
        message = f"the narinfo of {name!r} for '{path}' is refused: {problem}"
        return Fault(name, path, message, None)
    assert error is not None  # noqa: S101 - an answer without a narinfo says why
    name = answer.substituter
    message = f"about '{path}', {name!r} says nothing: {error.message}"
    if answer.status == "refused":
        message = f"'{path}': {error.message}"
    return Fault(name, path, message, error.hint or RETRY)


def _unfit(path: StorePath, info: NarInfo) -> str | None:
    """Why a lock cannot have an answer."""
    try:
        check_archive_url(info.url)
    except NixbkError as error:
        return f"URL: {error.message}"
    address = info.content_address
    if address and not follows_from_content(path, address, info.references, info.nar_hash):
        return "CA: the path does not follow from this content"
    return None


def _facts(info: NarInfo) -> tuple[object, ...]:
    """What signatures are of."""
    return info.nar_hash, info.nar_size, info.references


def as_substitute(answers: tuple[Answer, ...]) -> LockedSubstitute:
    """The entry of a lock, for answers that all tell the same."""
    infos = [answer.info for answer in answers if answer.info is not None]
    first = infos[0]
    return LockedSubstitute(
        first.store_path,
        first.nar_hash,
        first.nar_size,
        first.references,
        tuple(_archive(answer) for answer in answers),
        tuple(sorted({signature for info in infos for signature in info.signatures})),
        next((info.content_address for info in infos if info.content_address), ""),
    )


def _archive(answer: Answer) -> LockedArchive:
    info, file_hash = answer.info, answer.file_hash
    assert info is not None and file_hash is not None  # noqa: S101, PT018 - it was accepted
    compression = cast("Compression", info.compression)
    return LockedArchive(answer.substituter, info.url, file_hash, answer.file_size, compression)
