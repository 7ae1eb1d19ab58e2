"""Every benchmark, as ratios of what ran side by side: ``python -m benchmarks.run``.

Prints a table, and with ``--json`` a document; fails when a limit is broken.

Effects: starts engines, builds on them, runs programs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Row
from benchmarks.places import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.places import Places

BENCHMARKS: Final = (
    "startup",
    "noop",
    "derivations",
    "overhead",
    "outputs",
    "substitutes",
    "minipkgs",
)
ROUNDS: Final = {
    "startup": 5,
    "noop": 7,
    "derivations": 5,
    "overhead": 5,
    "outputs": 3,
    "substitutes": 3,
    "minipkgs": 1,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, print it, and fail when a limit is broken."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="may be repeated")
    parser.add_argument("--engine", default="docker", help="a name that dev/engines knows")
    parser.add_argument("--rounds", type=int, help="instead of the number of each benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    chosen = [name for name in BENCHMARKS if name in (options.only or BENCHMARKS)]
    places = prepare(options.engine)
    rows: list[Row] = []
    for name in chosen:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        found = _measure(name, places, options.rounds or ROUNDS[name])
        rows.extend(found)
        print_rows(found)
    if options.json:
        figures = [{**asdict(row), "ok": row.ok} for row in rows]
        options.json.write_text(json.dumps({"engine": places.engine, "rows": figures}, indent=1))
    broken = [row.name for row in rows if not row.ok]
    if broken:
        print(f"over the limit: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _measure(name: str, places: Places, rounds: int) -> list[Row]:
    if name == "derivations":
        return _derivations(places, rounds)
    measure = importlib.import_module(f"benchmarks.{name}").measure
    found: list[Row] = measure(places, rounds)
    return found


def _derivations(places: Places, rounds: int) -> list[Row]:
    """``derivations.py`` runs on its own, since its memory is measured from inside."""
    script = Path(__file__).with_name("derivations.py")
    command = [sys.executable, str(script), "--rounds", str(rounds), "--json"]
    done = subprocess.run(command, check=False, env=places.environ, stdout=subprocess.PIPE)
    results = json.loads(done.stdout)
    rows = []
    for result in results:
        what = f"{result['count']} derivations"
        rows.append(Row(f"{what} / nix derivation show", result["ratio"], "x", 2.5, result))
        rows.append(Row(f"client memory, {what}", result["nixbk_mb"], "MB", 500))
    first, *_, last = results
    if last["count"] > first["count"]:
        growth = (last["nixbk_s"] / first["nixbk_s"]) / (last["count"] / first["count"])
        rows.append(Row("growth beyond linear", growth, "x", 1.3))
    return rows


def print_rows(rows: Sequence[Row]) -> None:
    """A line for each figure, with the times that a ratio was made of."""
    for row in rows:
        figure = f"{row.value:.2f} {row.unit}" if row.unit == "x" else f"{row.value:.0f} {row.unit}"
        limit = "" if row.limit is None else f"limit {row.limit:g} {row.unit:<2} "
        verdict = "" if row.limit is None else "ok" if row.ok else "OVER"
        print(f"{row.name:<52} {figure:>10}  {limit}{verdict}".rstrip())
        for case, times in row.detail.items():
            if isinstance(times, dict):
                print(
                    f"    {case:<40} {times['median_s'] * 1000:>8.0f} ms"
                    f"  (min {times['min_s'] * 1000:.0f}, {times['runs']} runs)"
                )


if __name__ == "__main__":
    sys.exit(main())
