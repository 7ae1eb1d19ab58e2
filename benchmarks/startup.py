"""How soon the command line answers, beside the interpreter alone. Effect: runs programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import in_turns, ratio, run

if TYPE_CHECKING:
    from benchmarks.measure import Row
    from benchmarks.places import Places

VERSION_LIMIT: Final = 10
HELP_LIMIT: Final = 20


def measure(places: Places, rounds: int) -> list[Row]:
    """``--version`` and the help of a command, to ``python3 -c pass`` of one interpreter."""
    python = sys.executable
    nixbk = Path(python).with_name("nixbk")
    runs = in_turns(
        {
            "python3 -c pass": lambda: run([python, "-c", "pass"], environ=places.environ),
            "nixbk --version": lambda: run([nixbk, "--version"], environ=places.environ),
            "nixbk plan --help": lambda: run([nixbk, "plan", "--help"], environ=places.environ),
        },
        rounds * 4,
    )
    return [
        ratio("nixbk --version", runs, "nixbk --version", "python3 -c pass", VERSION_LIMIT),
        ratio("nixbk plan --help", runs, "nixbk plan --help", "python3 -c pass", HELP_LIMIT),
    ]
