"""From the text of ``nixbk.lock`` to a lock that has proven itself. Pure."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import tomli

from nixbk.schema.lock_reader import read_document
from nixbk.schema.lock_verify import verify
from nixbk.schema.problems import LockError, Problem, locate_problems

if TYPE_CHECKING:
    from nixbk.schema.lock import Lock

REMAKE = "run 'nixbk lock'"


def parse_lock(text: bytes, filename: str = "nixbk.lock") -> Lock:
    """The lock that *text* is.

    Raises:
        LockError: it is none, or it does not prove itself; with a problem for each entry
            at fault.
    """
    # What is read lives as long as the lock: collecting on the way only costs time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        lock, problems = read_document(_toml(text, filename))
        if lock is not None:
            problems = verify(lock)
    finally:
        if collecting:
            gc.enable()
    if lock is None or problems:
        raise LockError(locate_problems(problems, text, filename))
    return lock


def _toml(text: bytes, filename: str) -> dict[str, Any]:
    try:
        return tomli.loads(text.decode())
    except tomli.TOMLDecodeError as error:
        message = error.msg[:1].lower() + error.msg[1:]
        problem = Problem((), message, REMAKE, position=(error.lineno, error.colno))
        raise LockError(locate_problems([problem], text, filename)) from error
    except UnicodeDecodeError as error:
        place = (text.count(b"\n", 0, error.start) + 1, 1)
        problem = Problem((), "expected UTF-8 text", REMAKE, position=place)
        raise LockError(locate_problems([problem], text, filename)) from error
    except RecursionError as error:
        problem = Problem((), "values are nested too deeply", REMAKE)
        raise LockError(locate_problems([problem], text, filename)) from error
