"""Loading derivations: nixbk beside ``nix derivation show -r``, on one graph.

The graph is made by real Nix from ``derivations.nix`` in a store of its own in
the user's cache folder. Each side is a process of its own, started anew for each
round, the rounds in turns; the best of each counts. nixbk's side reads every
``.drv`` file, parses it, proves that it hashes to its path, and hashes the graph
to prove every output path.

    python benchmarks/derivations.py [--count 10000 --count 20000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

EXPRESSION: Final = Path(__file__).with_name("derivations.nix")
COUNTS: Final = (10_000, 20_000)
RATIO_LIMIT: Final = 2.5
MEMORY_LIMIT_MB: Final = 500


@dataclass(frozen=True, slots=True)
class Result:
    """What one graph took.

    Attributes:
        count: how many derivations there are.
        aterm_mb: size of all ``.drv`` files.
        nix_s: wall time of ``nix derivation show -r``.
        nixbk_s: wall time of nixbk, interpreter included.
        ratio: the second to the first.
        nixbk_mb: nixbk's memory at its peak.
    """

    count: int
    aterm_mb: float
    nix_s: float
    nixbk_s: float
    ratio: float
    nixbk_mb: float


def main() -> int:
    """Measure, print, and fail when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, action="append", help="derivations, may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--load", nargs=2, metavar=("STORE", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        return load(*options.load)
    results = [measure(count, options.rounds) for count in options.count or COUNTS]
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print(f"{'drvs':>7} {'ATerm':>9} {'nix':>8} {'nixbk':>8} {'ratio':>6} {'memory':>8}")
        for r in results:
            print(
                f"{r.count:>7} {r.aterm_mb:>6.1f} MB {r.nix_s:>6.2f} s {r.nixbk_s:>6.2f} s"
                f" {r.ratio:>6.2f} {r.nixbk_mb:>5.0f} MB"
            )
        print(f"limits: ratio {RATIO_LIMIT}, memory {MEMORY_LIMIT_MB} MB")
    broken = any(r.ratio > RATIO_LIMIT or r.nixbk_mb > MEMORY_LIMIT_MB for r in results)
    return 1 if broken else 0


def measure(count: int, rounds: int) -> Result:
    """Time both sides on a graph of about *count* derivations."""
    store, root = generated(count)
    nix = [
        *("nix", "--extra-experimental-features", "nix-command"),
        *("derivation", "show", "-r", "--store", str(store), root),
    ]
    nixbk = [sys.executable, __file__, "--load", str(store), root]
    nix_s, nixbk_s = [], []
    loaded: dict[str, int] = {}
    for _ in range(rounds):
        nix_s.append(timed(nix)[0])
        wall_s, text = timed(nixbk)
        nixbk_s.append(wall_s)
        loaded = json.loads(text)
    return Result(
        count=loaded["count"],
        aterm_mb=loaded["bytes"] / 1e6,
        nix_s=min(nix_s),
        nixbk_s=min(nixbk_s),
        ratio=min(nixbk_s) / min(nix_s),
        nixbk_mb=loaded["peak_bytes"] / 1e6,
    )


def timed(command: list[str]) -> tuple[float, bytes]:
    """Run *command* and return its wall time and what it printed."""
    start = time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return time.perf_counter() - start, output


def generated(count: int) -> tuple[Path, str]:
    """A store with the graph in it, made unless it is there, and the graph's root."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nixbk-dev" / "bench"
    store = cache / f"derivations-{count}"
    made_from = store / "expression"
    if not made_from.exists() or made_from.read_text() != EXPRESSION.read_text():
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(parents=True)
        subprocess.run(
            [
                *("nix-instantiate", "--store", str(store), "--quiet", str(EXPRESSION)),
                *("--arg", "count", str(count)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        made_from.write_text(EXPRESSION.read_text())
    (root,) = (store / "nix/store").glob("*-everything.drv")
    return store, f"/nix/store/{root.name}"


def load(store: str, root: str) -> int:
    """Load, prove and hash all that *root* needs, and print what that took."""
    import resource  # noqa: PLC0415 (not part of the other side's time)

    from nixbk.nix.derivation_hash import load as load_derivations  # noqa: PLC0415
    from nixbk.nix.store_path import StorePath  # noqa: PLC0415

    def read(path: StorePath) -> bytes:
        descriptor = os.open(f"{store}{path}", os.O_RDONLY)
        try:
            return os.read(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    derivations = load_derivations([StorePath.parse(root)], read)
    size_bytes = sum(len(drv.to_bytes()) for drv in derivations.values())
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"count": len(derivations), "bytes": size_bytes, "peak_bytes": peak_bytes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
