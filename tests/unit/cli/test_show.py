"""How plans, sizes and running builds look."""

from __future__ import annotations

import pytest

from nixbk.apply.progress import Running
from nixbk.apply.sizes import size_text
from nixbk.cli.live import running_lines
from nixbk.cli.show import LISTED, delivered_line, plan_lines
from nixbk.schema.plan import (
    Plan,
    PlannedBuild,
    PlannedFetch,
    PlannedImage,
    PlannedSource,
    PlannedTarget,
)

NONE = PlannedTarget("docker", "web:latest", "none")
LOAD = PlannedTarget("docker", "web:latest", "load", ("Docker has no such image",))
BUILD = PlannedBuild("/nix/store/…-hello.drv", "hello-2.10", ("/nix/store/…-hello",))
FETCH = PlannedBuild("/nix/store/…-src.drv", "src.tar", ("/nix/store/…-src",), "http://x/src")

FROM_CACHE = PlannedFetch("/nix/store/…-gcc", 104_000_000, ("main",))

PLANS = {
    "nothing": ({"web": PlannedImage(3, (), (), (NONE,))}, ["Nothing to do."]),
    "one of two": (
        {"web": PlannedImage(3, (), (), (NONE,)), "app": PlannedImage(1, (), (), (LOAD,))},
        [
            "web: nothing to do",
            "app: 1 step cached",
            "  load into Docker web:latest: Docker has no such image",
            "Plan: 0 to build, 0 to download, 1 to deliver.",
        ],
    ),
    "fetched": (
        {
            "web": PlannedImage(0, (BUILD,), (), (LOAD,), (FROM_CACHE,)),
            "app": PlannedImage(0, (), (), (NONE,), (FROM_CACHE,)),
        },
        [
            "web: 0 steps cached",
            "  fetch 1 path (104 MB)",
            "  build hello-2.10",
            "  load into Docker web:latest: Docker has no such image",
            "app: 0 steps cached",
            "  fetch 1 path (104 MB)",
            "Plan: 1 to fetch, 1 to build, 0 to download, 1 to deliver.",
        ],
    ),
    "everything": (
        {"web": PlannedImage(0, (FETCH, BUILD), (PlannedSource("/nix/store/…-s", 1200),), (LOAD,))},
        [
            "web: 0 steps cached",
            "  download src.tar",
            "  build hello-2.10",
            "  send 1 source, 1.2 kB",
            "  load into Docker web:latest: Docker has no such image",
            "Plan: 1 to build, 1 to download, 1 to deliver.",
        ],
    ),
}


@pytest.mark.parametrize(("images", "lines"), PLANS.values(), ids=PLANS.keys())
def test_plans(images: dict[str, PlannedImage], lines: list[str]) -> None:
    """A plan says what is done and why."""
    assert list(plan_lines(Plan("docker", images))) == lines


def test_long_plans_are_cut() -> None:
    """A plan of hundreds fits a screen."""
    image = PlannedImage(0, (BUILD,) * (LISTED + 5), (), (LOAD,))
    lines = list(plan_lines(Plan("docker", {"web": image})))
    assert lines[LISTED + 1] == "  build 5 more"


SIZES = {0: "0 B", 999: "999 B", 1000: "1 kB", 4_375_240: "4.38 MB", 999_999: "1 MB"}


@pytest.mark.parametrize(("size", "text"), SIZES.items())
def test_sizes(size: int, text: str) -> None:
    """Sizes have three digits."""
    assert size_text(size) == text


def test_delivered() -> None:
    """A delivery names the digest as far as people compare it."""
    digest = "sha256:" + "ab" * 32
    assert delivered_line("web", "oci", "web.tar", digest) == (
        "web: written web.tar (sha256:abababababab)"
    )


def test_fetches_have_a_line_above() -> None:
    """It says how far they are."""
    running = (Running("gcc-12", 2.0, "fetching"),)
    lines = running_lines(running, 80, "fetched 1 of 3 paths, 1 MB of 3 MB").split("\n")
    assert lines == [
        "fetched 1 of 3 paths, 1 MB of 3 MB",
        "      2 s  gcc-12                        fetching",
    ]


def test_running_builds_fit_the_terminal() -> None:
    """Control characters of a builder do not reach the terminal, and no line is too long."""
    running = (Running("hello-2.10", 12.4, "checking\x1b[31m for gcc" + "x" * 200),)
    (line,) = running_lines(running, 80).split("\n")
    assert len(line) == 79
    assert line.startswith("     12 s  hello-2.10                    checking [31m for gccxxx")
