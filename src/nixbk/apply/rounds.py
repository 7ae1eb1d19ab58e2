"""Tries again what another client or another result got in the way of. Effect: pauses."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from nixbk.apply.prober import ProbeMetError
from nixbk.apply.solver import SessionMetError
from nixbk.errors import NixbkError
from nixbk.planner.knowledge import RealisationChangedError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_CHANGES: Final = 5
MAX_SESSIONS: Final = 20
PAUSE_S: Final = (0.05, 0.5)


class UnstableResultError(NixbkError):
    """Each time it is planned, something turns out to have been built otherwise."""

    def __init__(self, step: str) -> None:
        super().__init__(
            "its result changes each time it is built",
            where=step,
            hint="the derivation is not reproducible; build it alone and compare",
        )


def until_settled(attempt: Callable[[], T]) -> T:
    """What *attempt* returns once nothing is in its way.

    A probe of another client may fail a step of ours, and so may a client that leaves while
    BuildKit asks it for a source; that passes, and what was built meanwhile is cached. A result
    that is not what was known of it is forgotten and planned with anew.

    Raises:
        SessionMetError: clients go on leaving.
        UnstableResultError: results go on changing.
    """
    changes = sessions = 0
    while True:
        try:
            return attempt()
        except ProbeMetError:
            _part()
        except SessionMetError:
            sessions += 1
            if sessions == MAX_SESSIONS:
                raise
            _part()
        except RealisationChangedError as error:
            changes += 1
            if changes == MAX_CHANGES:
                raise UnstableResultError(error.step.name) from error


def _part() -> None:
    """Pause, as long as chance has it: so two clients do not meet again."""
    time.sleep(random.uniform(*PAUSE_S))  # noqa: S311
