"""Work for the time of waiting is done once, whoever begins it."""

from __future__ import annotations

from threading import get_ident

import pytest

from nixbk.apply.meanwhile import Meanwhile
from nixbk.errors import NixbkError


def test_nothing_is_done_unasked() -> None:
    """Work that nobody begins and whose result nobody wants is left."""
    done: list[int] = []
    Meanwhile(lambda: done.append(1))
    assert done == []


def test_who_wants_the_result_does_the_work() -> None:
    """Where there was no time before, no other thread is started."""
    work = Meanwhile(get_ident)
    assert [work.result(), work.result()] == [get_ident()] * 2


def test_begun_work_is_done_beside() -> None:
    """It is done once, in a thread of its own, however often it is begun."""
    done: list[int] = []
    work = Meanwhile(lambda: done.append(get_ident()))
    for _ in range(3):
        work.begin()
    work.result()
    assert len(done) == 1
    assert done[0] != get_ident()


def test_faults_wait_for_who_asks() -> None:
    """What went wrong is raised by the result, each time."""

    def fail() -> None:
        raise NixbkError("no such file")

    work = Meanwhile(fail)
    work.begin()
    for _ in range(2):
        with pytest.raises(NixbkError, match="no such file"):
            work.result()
