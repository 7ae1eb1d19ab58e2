"""One cache, asked for store paths: from what it said before, or anew. Effect: as its parts have.

Source: ``BinaryCacheStore::queryPathInfoUncached``, Nix ``src/libstore/binary-cache-store.cc``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from nixbk.nix.cache_info import CacheInfo, CacheInfoError
from nixbk.nix.store_path import STORE_DIR
from nixbk.resolve.caches.answers import INFO
from nixbk.resolve.caches.faults import CacheError, NotInCacheError
from nixbk.resolve.caches.judge import Answer, claim_of, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nixbk.errors import NixbkError
    from nixbk.nix.signatures import PublicKey
    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.caches.answers import Answers
    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.jury import Jury
    from nixbk.resolve.caches.small import SmallFiles

MAX_NARINFO_BYTES: Final = 1 << 20


class Source:
    """One cache.

    Args:
        cache: which.
        files: asks it.
        jury: decides on what it says anew.
        keys: of the manifest, by their names.
        answers: what it said before.
        refresh: whether that counts.
        offline: whether only that counts, however old it is.
    """

    def __init__(  # noqa: PLR0913 - each is a part, or a choice of its own
        self,
        cache: Cache,
        files: SmallFiles,
        jury: Jury,
        keys: Mapping[str, PublicKey],
        answers: Answers,
        *,
        refresh: bool,
        offline: bool,
    ) -> None:
        self.cache = cache
        self.files = files
        self._jury = jury
        self._keys = keys
        self._answers = answers
        self._refresh = refresh
        self._offline = offline
        self._local = cache.address.kind == "file"
        self._base = cache.address.base
        self._is_cache = False
        self._introducing = False
        self._fault: CacheError | None = None
        self._held: list[Callable[[], None]] = []

    def known(self, path: StorePath) -> Answer | None:
        """What the cache said before of *path*; None where it has to be asked."""
        if self._local or (self._refresh and not self._offline):
            return None
        kept = self._answers.get(self._base, _hash_part(path), any_age=self._offline)
        if kept is not None and kept.data is None:
            return Answer(self.cache.name, "absent")
        answer = None
        if kept is not None and kept.data is not None:
            answer = judge(self.cache, path, kept.data, self._keys)
        if self._offline and answer is None:
            error = CacheError(
                f"it has not been asked for {str(path)!r} before",
                where=self.cache.name,
                hint="leave out --offline",
            )
            return Answer(self.cache.name, "failed", error=error)
        if answer is not None and answer.status == "refused" and not self._offline:
            return None  # it may have something better by now
        return answer

    def ask(self, path: StorePath, done: Callable[[Answer], None]) -> None:
        """Ask the cache for *path*; *done* is told, once the files are had."""
        if not self._is_cache and not self._introducing:
            self._introduce()
        self.files.get(
            self.cache,
            f"{_hash_part(path)}.narinfo",
            MAX_NARINFO_BYTES,
            partial(self._told, path, done),
        )

    def abandon(self) -> None:
        """Forget what was asked for: nobody tells it any more."""
        self._introducing = False
        self._held.clear()

    def _told(
        self, path: StorePath, done: Callable[[Answer], None], outcome: bytes | CacheError
    ) -> None:
        """Meet the answer for *path*; it counts once the cache is known to be one."""
        if isinstance(outcome, CacheError) and not isinstance(outcome, NotInCacheError):
            done(Answer(self.cache.name, "failed", error=outcome))
        elif self._is_cache or not self._introducing:
            self._judge(path, outcome, done)
        else:
            self._held.append(partial(self._told, path, done, outcome))

    def _judge(
        self, path: StorePath, outcome: bytes | CacheError, done: Callable[[Answer], None]
    ) -> None:
        if self._fault is not None:
            done(Answer(self.cache.name, "failed", error=self._fault))
            return
        if isinstance(outcome, CacheError):
            self._decided(path, None, done, Answer(self.cache.name, "absent"))
            return
        claim = claim_of(self.cache, path, outcome)
        told = partial(self._decided, path, outcome, done)
        if isinstance(claim, Answer):
            told(claim)
        elif claim.needs_signature:
            self._jury.hear(claim, told)
        else:
            told(claim.answer(self._keys, believed=True))

    def _decided(
        self, path: StorePath, data: bytes | None, done: Callable[[Answer], None], answer: Answer
    ) -> None:
        if answer.status != "refused" and not self._local:
            self._answers.put(self._base, _hash_part(path), data)
        done(answer)

    def _introduce(self) -> None:
        """See whether the cache is one; asked for at the same time as the paths."""
        self._introducing = True
        kept = None if self._local or self._refresh else self._answers.get(self._base, INFO)
        if kept is not None and kept.data is not None:
            self._introduced(kept.data)
        else:
            self.files.get(self.cache, INFO, MAX_NARINFO_BYTES, self._introduced, private=True)

    def _introduced(self, outcome: bytes | CacheError) -> None:
        try:
            if isinstance(outcome, NotInCacheError):
                raise self._no_cache(outcome)
            if isinstance(outcome, CacheError):
                raise outcome
            self._check(outcome)
        except CacheError as error:
            self._fault = error
            self.files.give_up(self.cache, error)
        else:
            self._is_cache = True
            if not self._local:
                self._answers.put(self._base, INFO, outcome)
        self._introducing = False
        held, self._held = self._held, []
        for told in held:
            told()

    def _no_cache(self, error: NixbkError) -> CacheError:
        message = f"{self._base!r} is no binary cache: {error.message}"
        return CacheError(message, where=self.cache.name)

    def _check(self, data: bytes) -> None:
        try:
            info = CacheInfo.parse(data)
        except CacheInfoError as error:
            raise self._no_cache(error) from error
        if info.store_dir != STORE_DIR:
            raise CacheError(
                f"{self._base!r} has paths of the store {info.store_dir!r}, not of {STORE_DIR}",
                where=self.cache.name,
            )


def _hash_part(path: StorePath) -> str:
    """Source: ``StorePath::hashPart``, Nix ``src/libstore/path.cc``."""
    return path.basename[:32]
