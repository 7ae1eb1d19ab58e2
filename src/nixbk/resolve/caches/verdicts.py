"""What to do about an answer over HTTP: take it, ask again, or give up. Pure.

Source: ``TransferItem::finish``, Nix ``src/libstore/filetransfer.cc``; RFC 9110.
"""

from __future__ import annotations

from typing import Final, Literal

ATTEMPTS: Final = 4
FIRST_WAIT_S: Final = 0.25
MAX_WAIT_S: Final = 60.0

Kind = Literal["take", "again", "absent", "forbidden", "login", "fail"]

_SERVER: Final = range(500, 600)
_NEVER_AGAIN: Final = {501, 505, 511}
_PLAIN: Final[dict[int, Kind]] = {
    200: "take",
    201: "take",  # of a PUT
    204: "take",
    206: "take",  # of a part of a file
    401: "login",
    403: "forbidden",
    404: "absent",
    407: "login",
    408: "again",
    410: "absent",
    425: "again",
    429: "again",
}


def verdict(status: int) -> Kind:
    """What is to be done about an answer of that status; ``fail`` is for good."""
    if status in _PLAIN:
        return _PLAIN[status]
    return "again" if status in _SERVER and status not in _NEVER_AGAIN else "fail"


def wait_s(attempt: int, asked_s: float, chance: float) -> float:
    """How long to wait before an attempt.

    Args:
        attempt: which one failed, from 1.
        asked_s: what the server asked for.
        chance: from 0 to 1; of many clients, not all come back at once.
    """
    backoff = FIRST_WAIT_S * (1 << (attempt - 1)) * (0.5 + chance)
    return max(asked_s, backoff)
