"""What each example's plan is on a builder that has nothing, and how its steps look as LLB."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import Bench

from nixbk.cli.show import plan_lines
from nixbk.llb.dump import dump
from nixbk.planner.plan import planned_image
from nixbk.planner.workshop import Flavour
from nixbk.schema.files import read_lock, read_manifest
from nixbk.schema.freshness import require_fresh
from nixbk.schema.plan import Plan, PlannedTarget

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/nixbk.lock"))


def read(example: Path) -> Bench:
    """A bench with the example's lock."""
    lock = read_lock(example / "nixbk.lock")
    require_fresh(read_manifest(example / "nixbk.toml").manifest, lock)
    return Bench(lock, {})


def compare(file: Path, text: str, *, update: bool) -> None:
    """Hold *text* against a committed file, or write it."""
    if update:
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_plan(example: Path, update_golden: bool) -> None:
    """The plan is the one beside the example (``NIXBK_UPDATE_GOLDEN=1`` writes it)."""
    bench = read(example)
    images = {}
    for key in bench.lock.images:
        graph, _, found = bench.survey(key)
        target = PlannedTarget("docker", key, "load", ("Docker has no such image",))
        images[key] = planned_image(graph, found, [target])
    text = "".join(f"{line}\n" for line in plan_lines(Plan("memory", images)))
    compare(example / "plan.txt", text, update=update_golden)


def test_steps(update_golden: bool) -> None:
    """One download, one unpacked source and one build, as LLB."""
    graph, _, _ = read(ROOT / "examples" / "minipkgs").survey("hello")
    drvs = {path.name: path for path in graph.lock.derivations}
    steps = [drvs["libc6_2.36-9-deb12u14_amd64.deb.drv"], *graph.lock.sources]
    text = "\n\n".join(dump(graph.step(step, Flavour.RUN).root) for step in steps)
    compare(Path(__file__).with_name("steps.txt"), f"{text}\n", update=update_golden)
