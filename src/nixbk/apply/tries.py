"""In which order the archives of one store path are tried. Pure, but it remembers.

The builder tries each cache in turn, and all of them again, after a pause, unless a cache said
for good that it has no such file. In the end each is tried once through the session, which tells
most of what is wrong. An archive that is not what was locked when unpacked is not tried again,
whoever has it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nixbk.planner.leaves import Choice, file_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixbk.schema.lock import LockedArchive, LockedSubstitute

PAUSES_S: Final = (0.0, 0.5, 2.0)
"""Before each round of tries."""
# Source: BuildKit ``source/http/source.go``
_STATUS: Final = re.compile(r"invalid response status (\d{3})")
_PASSING: Final = frozenset({408, 425, 429})
_CLIENT_ERRORS: Final = range(400, 500)
_MISMATCH: Final = "digest mismatch"


def is_final(message: str) -> bool:
    """Whether BuildKit would be told the same if it asked again."""
    found = _STATUS.search(message)
    if found is not None:
        code = int(found[1])
        return code in _CLIENT_ERRORS and code not in _PASSING
    return _MISMATCH in message


class Tries:
    """The tries of one store path.

    Attributes:
        substitute: what is tried.
        faults: what is wrong with each of its archives, by number.
    """

    def __init__(
        self, substitute: LockedSubstitute, is_direct: Callable[[LockedArchive], bool]
    ) -> None:
        self.substitute = substitute
        self.faults: dict[int, Exception] = {}
        self._is_direct = is_direct
        self._final: set[int] = set()
        self._wrong: set[str] = set()
        self._order = self._tries()

    def next(self) -> tuple[Choice, float] | None:
        """What is to be tried now, after how many seconds; None when all was."""
        return next(self._order, None)

    def give_up(self, number: int) -> None:
        """Have the builder not try an archive by itself any more."""
        self._final.add(number)

    def refuse(self, number: int) -> None:
        """Have nobody try a file any more: it holds something else."""
        self._wrong.add(file_of(self.substitute.archives[number]))

    def _tries(self) -> Iterator[tuple[Choice, float]]:
        asked: set[int] = set()
        for pause_s in PAUSES_S:
            wait_s = pause_s
            for number, archive in enumerate(self.substitute.archives):
                if file_of(archive) in self._wrong:
                    continue
                if self._is_direct(archive):
                    if number not in self._final:
                        yield Choice(number), wait_s
                        wait_s = 0.0
                elif number not in asked:
                    asked.add(number)
                    yield Choice(number, through_session=True), 0.0
        for number, archive in enumerate(self.substitute.archives):
            if number not in asked and file_of(archive) not in self._wrong:
                asked.add(number)
                yield Choice(number, through_session=True), 0.0
