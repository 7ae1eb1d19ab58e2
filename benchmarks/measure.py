"""Running programs in turns, and what they took. Effect: runs programs.

Times of one machine say little, so every figure is a ratio to something that runs in turns
with it: the machine's mood meets both.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program.

    Attributes:
        wall_s: from start to end.
        peak_mb: memory at its peak, of it or of the largest of its children.
    """

    wall_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and what it may be.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: ``x`` for a ratio, or ``MB``.
        limit: what it may be at most; None for a figure that is told alone.
        detail: what it was made of.
    """

    name: str
    value: float
    unit: str
    limit: float | None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the limit holds."""
        return self.limit is None or self.value <= self.limit


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    expected: int = 0,
) -> Run:
    """Run *command* to its end and say what it took.

    Raises:
        RuntimeError: it ended with another code than *expected*; with the end of its output.
    """
    texts = [str(word) for word in command]
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            texts,
            cwd=cwd,
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = code = os.waitstatus_to_exitcode(status)
        if code != expected:
            output.seek(0)
            tail = output.read()[-4000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(texts)} ended with {code}, not {expected}:\n{tail}")
    return Run(wall_s, usage.ru_maxrss / 1024)


def in_turns(cases: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Every case once a round, the order turned each time, after one round that is not counted."""
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        names = list(cases)[:: -1 if number % 2 else 1]
        for name in names:
            taken = cases[name]()
            if number:
                runs[name].append(taken)
    return runs


def ratio(
    name: str, runs: Mapping[str, list[Run]], subject: str, base: str, limit: float | None
) -> Row:
    """How many times as long as *base* it is that *subject* takes, by their medians."""
    walls = {case: [taken.wall_s for taken in runs[case]] for case in (subject, base)}
    middle = {case: statistics.median(times) for case, times in walls.items()}
    detail = {
        case: {
            "min_s": round(min(times), 4),
            "median_s": round(middle[case], 4),
            "runs": len(times),
        }
        for case, times in walls.items()
    }
    return Row(name, middle[subject] / middle[base], "x", limit, detail)


def peak(name: str, runs: Sequence[Run], limit_mb: float) -> Row:
    """The most memory that any of *runs* had."""
    return Row(name, max(taken.peak_mb for taken in runs), "MB", limit_mb, {"runs": len(runs)})
