"""Plan and apply with nothing to do, beside a Dockerfile with nothing to do.

The unit U is the wall time of ``docker buildx build`` of a Dockerfile of ten steps, all of
them cached, on the same engine; it loads its image where apply loads its own.

Effects: builds the example and an image on the engine, runs programs.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from benchmarks.measure import in_turns, peak, ratio, run
from benchmarks.places import DEMO, NIXBK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.measure import Row, Run
    from benchmarks.places import Places

LIMIT: Final = 2
CLIENT_LIMIT_MB: Final = 300

_STEPS: Final = 8
_IMAGE: Final = "nixbk-bench-dockerfile"
_SHELL: Final = "/bin/busybox"


def measure(places: Places, rounds: int) -> list[Row]:
    """Plan and apply of the example to U, and the memory of the client."""
    if not places.builder.startswith("docker"):
        raise RuntimeError("the unit is a build by Docker: choose an engine that is one")
    demo = places.copy_of_demo("demo")

    def nixbk(*words: str) -> Run:
        return run([NIXBK, *words], cwd=demo, environ=places.environ)

    nixbk("lock")  # the example is kept without its lock's bundle of sources
    nixbk("apply")
    nixbk("plan", "--detailed-exitcode")  # fails unless there is nothing to do
    runs = in_turns(
        {"U": unit(places), "plan": lambda: nixbk("plan"), "apply": lambda: nixbk("apply")}, rounds
    )
    return [
        ratio("no-op plan / U", runs, "plan", "U", LIMIT),
        ratio("no-op apply / U", runs, "apply", "U", LIMIT),
        peak("client memory, plan", runs["plan"], CLIENT_LIMIT_MB),
        peak("client memory, apply", runs["apply"], CLIENT_LIMIT_MB),
    ]


def unit(places: Places) -> Callable[[], Run]:
    """What takes the time U."""
    dockerfile = _dockerfile(places.scratch / "dockerfile")
    command = ["docker", "buildx", "build", "--tag", _IMAGE, str(dockerfile)]
    return lambda: run(command, environ=places.environ)


def _dockerfile(folder: Path) -> Path:
    """A build context with a Dockerfile of ten steps that fetch nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(DEMO / "seed" / "bin" / "busybox", folder / "busybox")
    steps = [f'RUN ["{_SHELL}", "sh", "-c", "echo {i} > /{i}"]' for i in range(_STEPS)]
    lines = ["FROM scratch", f"COPY busybox {_SHELL}", *steps, f'CMD ["{_SHELL}", "true"]']
    (folder / "Dockerfile").write_text("\n".join([*lines, ""]))
    return folder
