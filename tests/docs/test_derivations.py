"""The table of derivation features names tests that exist, and all of them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from verdicts import case_files, case_names

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "reference" / "derivations.md"
BUILDS: Final = ROOT / "tests" / "differential" / "builds"


def _tests() -> set[str]:
    """Every test that a row may name."""
    cases = {f"{file}.{name}" for file in case_files() for name in case_names(file)}
    functions = {
        f"{file.stem.removeprefix('test_')}.{name}"
        for file in BUILDS.glob("test_*.py")
        if file.stem != "test_builds"  # which runs the cases
        for name in re.findall(r"^def test_(\w+)\(", file.read_text(), re.MULTILINE)
    }
    return cases | functions


def _rows() -> dict[str, list[str]]:
    """The patterns of each row; a `*` in place of a file is that of the row's first."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] == "feature" or set(line) <= set("|-"):
            continue
        found = re.findall(r"`([^`]+)`", cells[-1])
        first = found[0].partition(".")[0] if found else ""
        rows[line] = [re.sub(r"^\*\.", f"{first}.", pattern) for pattern in found]
    return rows


def test_every_row_names_tests() -> None:
    """Each feature has at least one test, and each pattern is the name of one."""
    tests = _tests()
    assert [line for line, patterns in _rows().items() if not patterns] == []
    missing = [
        (line, pattern)
        for line, patterns in _rows().items()
        for pattern in patterns
        if not any(fnmatchcase(test, pattern) for test in tests)
    ]
    assert missing == []


def test_every_test_is_in_a_row() -> None:
    """No case is without a feature that it shows."""
    patterns = [pattern for found in _rows().values() for pattern in found]
    alone = [test for test in _tests() if not any(fnmatchcase(test, p) for p in patterns)]
    assert sorted(alone) == []
