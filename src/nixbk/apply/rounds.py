"""Tries again what another client or another result got in the way of. Effect: pauses."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from nixbk.apply.prober import ProbeMetError
from nixbk.errors import NixbkError
from nixbk.planner.knowledge import RealisationChangedError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_CHANGES: Final = 5
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

    A probe of another client may fail a step of ours; that passes, and what was built meanwhile
    is cached. A result that is not what was known of it is forgotten and planned with anew.

    Raises:
        UnstableResultError: results go on changing.
    """
    changes = 0
    while True:
        try:
            return attempt()
        except ProbeMetError:
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311  so that the two part
        except RealisationChangedError as error:
            changes += 1
            if changes == MAX_CHANGES:
                raise UnstableResultError(error.step.name) from error
