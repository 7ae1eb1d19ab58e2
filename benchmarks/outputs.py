"""How fast outputs are made valid: a gigabyte in one file and in many, beside ``sha256sum``.

Measured is the time from the builder's last line to the end of its step, as BuildKit tells it:
ending what still runs, canonical modes and times, hash, references, and BuildKit's own share. In
turns with it ``sha256sum`` reads as many random bytes in as many files on the machine itself.

Effects: starts engines, builds on them, runs programs.
"""

from __future__ import annotations

import os
import shutil
import statistics
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Row, Run, in_turns, run
from benchmarks.overhead import evaluated
from benchmarks.places import builder_of
from nixbk.apply.progress import Progress
from nixbk.apply.realise import build_locked, open_locked
from nixbk.apply.workbench import Settings, open_workbench

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.places import Places
    from nixbk.proto.control_pb2 import StatusResponse

ENGINE: Final = "buildkitd"
MEBIBYTES: Final = 1024
SIZES: Final = {"file": 1024 * 1024, "files": 256 * 1024}
FASTEST_BYTES_PER_S: Final = 400e6
SHARE: Final = 0.5

_LAST_LINE: Final = b"written"


class Clock(Progress):
    """Notes when the last line of a builder came, and when its step ended.

    Attributes:
        line_s: the one.
        end_s: the other.
    """

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.line_s = self.end_s = 0.0
        self._digest = ""

    def on_status(self, status: StatusResponse) -> None:
        """Take one message of BuildKit's status stream."""
        super().on_status(status)
        for entry in status.logs:
            if _LAST_LINE in entry.msg.split():
                self._digest = entry.vertex
                self.line_s = entry.timestamp.ToNanoseconds() / 1e9
        for vertex in status.vertexes:
            if vertex.digest == self._digest and vertex.HasField("completed"):
                self.end_s = vertex.completed.ToNanoseconds() / 1e9


def measure(places: Places, rounds: int) -> list[Row]:
    """The time it takes beside the time that it may take."""
    builder = builder_of(ENGINE)
    folder = places.scratch / "outputs"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return [_measure(places, builder, folder / shape, shape, rounds) for shape in SIZES]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(places: Places, builder: str, folder: Path, shape: str, rounds: int) -> Row:
    folder.mkdir(parents=True)
    step = SIZES[shape]
    for number in range(MEBIBYTES * 1024 * 1024 // step):
        with (folder / (str(number) if shape == "files" else "file")).open("ab") as file:
            file.write(os.urandom(step))
    digest = "find . -type f -print0 | xargs -0 sha256sum"
    runs = in_turns(
        {
            "nixbk": partial(_made_valid, places, builder, shape),
            "sha256sum": lambda: run(["sh", "-c", digest], cwd=folder, environ=places.environ),
        },
        rounds,
    )
    took_s = {
        case: statistics.median(taken.wall_s for taken in found) for case, found in runs.items()
    }
    size_bytes = MEBIBYTES * 1024 * 1024
    wanted = min(size_bytes / took_s["sha256sum"] * SHARE, FASTEST_BYTES_PER_S)
    speeds = ", ".join(f"{case} {size_bytes / s / 1e6:.0f} MB/s" for case, s in took_s.items())
    detail = {
        case: {
            "min_s": min(taken.wall_s for taken in found),
            "median_s": took_s[case],
            "runs": len(found),
        }
        for case, found in runs.items()
    }
    name = f"output of 1 GiB, {shape}: {speeds}; time / allowed"
    return Row(name, took_s["nixbk"] / (size_bytes / wanted), "x", 1.0, dict(detail))


def _made_valid(places: Places, builder: str, shape: str) -> Run:
    graph = evaluated(places.scratch / "output", "outputs", shape, f"mebibytes = {MEBIBYTES};")
    settings = Settings(builder=builder, environ=places.environ, cores=os.cpu_count())
    clock = Clock()
    opener = partial(open_locked, graph.locked, graph.lock_file)
    with open_workbench(graph.lock, opener, settings) as bench:
        build_locked(bench, clock, check=False)
    if not clock.end_s:
        raise RuntimeError("the step's end was not told")
    return Run(clock.end_s - clock.line_s, 0)
