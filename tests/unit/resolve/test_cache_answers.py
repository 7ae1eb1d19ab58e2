"""What caches said before, and for how long it counts."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from nixbk.resolve.caches.answers import INFO, Answers, Kept

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3600
DAY_S = 24 * HOUR_S


class _Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


def _kept(file: Path, clock: _Clock) -> None:
    with Answers(file, clock) as answers:
        answers.put("https://c", "a", b"yes")
        answers.put("https://c", "b", None)
        answers.put("https://c", INFO, b"info")
        assert answers.get("https://c", "a") == Kept(b"yes")


AGES = {
    "at once": (0, True, True, True),
    "within the hour": (HOUR_S - 1, True, True, True),
    "after an hour": (HOUR_S, True, False, True),
    "after a week": (7 * DAY_S, True, False, False),
    "after a month": (30 * DAY_S, False, False, False),
    "before it was": (-1, False, False, False),
}


@pytest.mark.parametrize("name", AGES)
def test_how_long_an_answer_counts(name: str, tmp_path: Path) -> None:
    """Files for 30 days, that there is none for an hour; any time where nothing else is left."""
    age_s, *expected = AGES[name]
    clock = _Clock()
    file = tmp_path / "new" / "narinfos.sqlite"
    _kept(file, clock)
    clock.now_s += age_s
    with Answers(file, clock) as answers:
        found = [answers.get("https://c", part) is not None for part in ("a", "b", INFO)]
        assert found == expected
        assert answers.get("https://c", "a", any_age=True) == Kept(b"yes")
        assert answers.get("https://c", "b", any_age=True) == Kept(None)
        assert answers.get("https://c", "c", any_age=True) is None
        assert answers.get("https://d", "a", any_age=True) is None


def test_only_the_user_may_read_them(tmp_path: Path) -> None:
    """A private cache's answers are nobody else's."""
    file = tmp_path / "narinfos.sqlite"
    _kept(file, _Clock())
    assert file.stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_before_there_is_something(tmp_path: Path) -> None:
    """Looking makes no file."""
    with Answers(tmp_path / "narinfos.sqlite") as answers:
        assert answers.get("https://c", "a") is None
    assert list(tmp_path.iterdir()) == []


def _garbage(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def _short(file: Path) -> None:
    _kept(file, _Clock())
    file.write_bytes(file.read_bytes()[:5000])


def _other(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE answers (x)")
    database.close()


@pytest.mark.parametrize("spoil", [_garbage, _short, _other])
def test_a_spoilt_file_is_made_anew(tmp_path: Path, spoil: object) -> None:
    """Whatever is there, it works, and the next one finds what was kept."""
    file = tmp_path / "narinfos.sqlite"
    assert callable(spoil)
    spoil(file)
    for _ in range(2):
        with Answers(file) as answers:
            answers.get("https://c", "a")
            answers.put("https://c", "a", b"yes")
    with Answers(file) as answers:
        assert answers.get("https://c", "a") == Kept(b"yes")


def test_values_of_another_kind(tmp_path: Path) -> None:
    """What nobody wrote who knows the table counts for nothing."""
    file = tmp_path / "narinfos.sqlite"
    _kept(file, _Clock())
    with sqlite3.connect(file) as database:
        database.execute("UPDATE answers SET narinfo = 'text', fetched = 'now'")
    database.close()
    with Answers(file) as answers:
        assert answers.get("https://c", "a", any_age=True) is None


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Everything works without the file."""
    (tmp_path / "file").write_text("")
    with Answers(tmp_path / "file" / "narinfos.sqlite") as answers:
        answers.put("https://c", "a", b"yes")
        assert answers.get("https://c", "a") == Kept(b"yes")


def test_two_at_once(tmp_path: Path) -> None:
    """Two may write to one file, and both find all of it."""
    file = tmp_path / "narinfos.sqlite"
    with Answers(file) as one, Answers(file) as other:
        one.put("https://c", "a", b"1")
        other.put("https://c", "b", b"2")
        one.flush()
        other.flush()
        assert one.get("https://c", "b") == Kept(b"2")
        assert other.get("https://c", "a") == Kept(b"1")


def test_old_answers_are_thrown_away(tmp_path: Path) -> None:
    """The file does not grow forever."""
    clock = _Clock()
    file = tmp_path / "narinfos.sqlite"
    _kept(file, clock)
    clock.now_s += 31 * DAY_S
    with Answers(file, clock) as answers:
        answers.put("https://c", "new", b"1")
    with Answers(file, clock) as answers:
        assert answers.get("https://c", "a", any_age=True) is None
        assert answers.get("https://c", "new") == Kept(b"1")
