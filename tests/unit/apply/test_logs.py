"""Logs of steps are kept, whole, one for each derivation."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from locks import drv_path

from nixbk.apply import logs
from nixbk.apply.failures import COMMAND_LINE
from nixbk.apply.history import NoLogError, open_log
from nixbk.apply.logs import StepLogs

if TYPE_CHECKING:
    from pathlib import Path

DRV = drv_path("app")
REPORT = b"nixbk: builder-failed: builder failed with exit code 3\n  more\n"

CASES = {
    "nothing printed": ([], True, b""),
    "lines in pieces": ([b"on", b"e\ntw", b"o\n"], False, b"one\ntwo\n"),
    "no end of the last line": ([b"one"], True, b"one"),
    "carriage returns": ([b"1%\r", b"2%\r\n"], False, b"1%\r2%\r\n"),
    "bytes that are no text": ([b"\xff\x00\n"], False, b"\xff\x00\n"),
    "the helper's report": ([b"one\n", REPORT], True, b"one\n"),
    "the report of one that ended well": ([b"one\n", REPORT], False, b"one\n" + REPORT),
    "two that look like it": ([REPORT, b"more\n", REPORT], True, REPORT + b"more\n"),
}


@pytest.mark.parametrize(("pieces", "failed", "expected"), CASES.values(), ids=CASES)
def test_what_is_kept(tmp_path: Path, pieces: list[bytes], failed: bool, expected: bytes) -> None:
    """Every byte of the builder's, and nothing of the helper's report of a failure."""
    with StepLogs(tmp_path) as kept:
        kept.begin(DRV)
        for piece in pieces:
            kept.add(DRV, piece)
        kept.end(DRV, failed=failed)
    found = kept.read(DRV)
    assert found is not None
    assert b"".join(found) == expected


def test_an_interrupted_build_has_a_log(tmp_path: Path) -> None:
    """What a builder printed until the command ended is kept."""
    with StepLogs(tmp_path) as kept:
        kept.begin(DRV)
        kept.add(DRV, b"one\ntwo")
    assert b"".join(kept.read(DRV) or ()) == b"one\ntwo"


def test_the_last_build_counts(tmp_path: Path) -> None:
    """A log takes the place of the one before, whole, when its build ends."""
    kept = StepLogs(tmp_path)
    for text in (b"first", b"second"):
        kept.begin(DRV)
        kept.add(DRV, text)
        if text == b"second":
            assert b"".join(kept.read(DRV) or ()) == b"first"
        kept.end(DRV, failed=False)
    assert b"".join(kept.read(DRV) or ()) == b"second"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_did_not_run_leaves_no_log(tmp_path: Path) -> None:
    """A step that met a probe is forgotten."""
    with StepLogs(tmp_path) as kept:
        kept.begin(DRV)
        kept.drop(DRV)
    assert kept.read(DRV) is None
    assert list(tmp_path.iterdir()) == []


def test_clipped_logs_say_so(tmp_path: Path) -> None:
    """The builder's limit is known while the command runs, and when the log is read."""
    note = b"x\n[output clipped, log limit 2MiB reached]\n"
    with StepLogs(tmp_path) as kept:
        kept.begin(DRV)
        kept.add(DRV, note)
    assert (kept.limit(DRV), logs.clip_limit(note), logs.clip_limit(b"x")) == ("2MiB", "2MiB", "")


def test_the_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest logs go first, and what was left half written."""
    monkeypatch.setattr(logs, "FOLDER_FILES", 2)
    stale = tmp_path / f".x{logs.PARTIAL}"
    stale.write_bytes(b"")
    os.utime(stale, (0, 0))
    now = time.time()
    for index, name in enumerate("abc"):
        with StepLogs(tmp_path) as kept:
            kept.begin(drv_path(name))
            kept.end(drv_path(name), failed=False)
            file = tmp_path / f"{drv_path(name).basename}{logs.SUFFIX}"
            os.utime(file, (now + index, now + index))
    names = sorted(path.name.partition("-")[2] for path in tmp_path.iterdir())
    assert names == [f"b.drv{logs.SUFFIX}", f"c.drv{logs.SUFFIX}"]


def test_a_long_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One log cannot fill the disk."""
    monkeypatch.setattr(logs, "LOG_BYTES", 10)
    kept = StepLogs(tmp_path)
    kept.begin(DRV)
    kept.add(DRV, b"1234567\n" * 3)
    kept.end(DRV, failed=False)
    assert b"".join(kept.read(DRV) or ()) == b"1234567\n12"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Logs are given up, and the build goes on."""
    (tmp_path / "logs").write_text("no folder")
    with StepLogs(tmp_path / "logs") as kept:
        kept.begin(DRV)
        kept.add(DRV, b"one")
        kept.end(DRV, failed=True)


def test_no_log(tmp_path: Path) -> None:
    """The error says what was asked for, and why there may be none."""
    with pytest.raises(NoLogError) as caught:
        open_log(tmp_path / "nixbk.toml", tmp_path / "nixbk.lock", str(DRV), tmp_path)
    assert str(caught.value).startswith(
        f"{DRV}: there is no log of it on this machine\n  hint: a log is kept when"
    )


def test_a_broken_log(tmp_path: Path) -> None:
    """A file that is no log is an error with its derivation."""
    (tmp_path / f"{DRV.basename}{logs.SUFFIX}").write_bytes(b"no log")
    found = open_log(tmp_path / "nixbk.toml", tmp_path / "nixbk.lock", str(DRV), tmp_path)
    with pytest.raises(NoLogError) as caught:
        list(found)
    assert caught.value.where == str(DRV)
    assert COMMAND_LINE not in str(caught.value)
