"""Asks binary caches what outputs came to that float, or wait for what does. Effect: as its parts.

An answer counts if one of the manifest's keys has signed it, or if nothing that its cache says
needs a signature. Whatever else a cache has there is as if it had nothing: real Nix writes these
files unsigned unless it built the output itself.

Source: ``DrvOutputSubstitutionGoal`` and ``BinaryCacheStore::queryRealisationUncached``, Nix 2.34
``src/libstore``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from nixbk.nix.told_output import ToldOutput, ToldOutputError
from nixbk.resolve.caches.faults import CacheError, NotInCacheError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixbk.nix.signatures import PublicKey
    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.caches.answers import Answers
    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.small import SmallFiles

    Outcome = StorePath | CacheError | None

MAX_BYTES: Final = 1 << 20


def told_url(output_id: str) -> str:
    """Where a cache tells of an output, relative to it."""
    return f"realisations/{quote(output_id, safe='')}.doi"


class OutputQuestions:
    """Questions for some outputs, to all caches.

    Args:
        caches: in the order in which they are preferred.
        files: asks them, when it is run.
        keys: of the manifest, by their names.
        answers: what they said before.
        refresh: whether that does not count.
        offline: whether only that counts.
    """

    def __init__(  # noqa: PLR0913 - each is a part, or a choice of its own
        self,
        caches: Sequence[Cache],
        files: SmallFiles,
        keys: Mapping[str, PublicKey],
        answers: Answers,
        *,
        refresh: bool,
        offline: bool,
    ) -> None:
        self._caches = caches
        self._files = files
        self._keys = keys
        self._answers = answers
        self._refresh = refresh
        self._offline = offline
        self._told: dict[tuple[str, str], Outcome] = {}

    def ask(self, ids: Iterable[str]) -> None:
        """Ask; nothing is told before the files are run."""
        for output_id in ids:
            for cache in self._caches:
                url = told_url(output_id)
                local = cache.address.kind == "file"
                kept = None
                if not local and (self._offline or not self._refresh):
                    kept = self._answers.get(cache.address.base, url, any_age=self._offline)
                if kept is not None:
                    self._judge(cache, output_id, kept.data)
                elif self._offline and not local:
                    self._told[output_id, cache.name] = CacheError(
                        f"it has not been asked for {output_id!r} before",
                        where=cache.name,
                        hint="leave out --offline",
                    )
                else:
                    self._files.get(cache, url, MAX_BYTES, partial(self._came, cache, output_id))

    def found(self, output_id: str) -> Outcome:
        """What the first cache that knows says; else why one says nothing, or None."""
        told = [self._told.get((output_id, cache.name)) for cache in self._caches]
        for one in told:
            if one is not None and not isinstance(one, CacheError):
                return one
        return next((one for one in told if one is not None), None)

    def _came(self, cache: Cache, output_id: str, outcome: bytes | CacheError) -> None:
        if isinstance(outcome, CacheError) and not isinstance(outcome, NotInCacheError):
            self._told[output_id, cache.name] = outcome
            return
        data = None if isinstance(outcome, CacheError) else outcome
        if cache.address.kind != "file":
            self._answers.put(cache.address.base, told_url(output_id), data)
        self._judge(cache, output_id, data)

    def _judge(self, cache: Cache, output_id: str, data: bytes | None) -> None:
        if data is None:
            return
        try:
            told = ToldOutput.parse(data)
        except ToldOutputError:
            return
        if told.id == output_id and (not cache.trust or told.is_signed(self._keys)):
            self._told[output_id, cache.name] = told.path
