"""What is built after a failure, and what is said of it, on the in-memory twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from benches import Bench
from locks import drv_path, make_lock, store_path
from memory_buildkit import MemoryBuild

from nixbk.apply.failures import BuildsFailedError, DerivationFailedError
from nixbk.buildkit.errors import BuildFailed, Failure
from nixbk.planner.workshop import PROBE_IP

if TYPE_CHECKING:
    from collections.abc import Callable

# Two that fail, one behind the first, one behind both, and two that have nothing to do with them.
GRAPH = {
    "bad": [],
    "worse": [],
    "behind": ["bad"],
    "good": [],
    "better": ["good"],
    "top": ["behind", "worse", "better"],
}


def failing(bench: Bench, *names: str) -> Callable[[dict[str, Any]], bytes]:
    """Builders of which those called *names* fail."""
    good = bench.run
    paths = {str(store_path(name)) for name in names}

    def run(step: dict[str, Any]) -> bytes:
        if step["outputs"]["out"] in paths:
            message = "failed"
            raise RuntimeError(message)
        result = good(step)
        assert isinstance(result, bytes)
        return result

    return run


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_rest_is_built(jobs: int) -> None:
    """All that needs no failed derivation is built, whatever the number of jobs."""
    bench = Bench(make_lock(GRAPH), {})
    bench.run = failing(bench, "bad", "worse")
    with pytest.raises(BuildsFailedError) as caught:
        bench.apply(jobs, keep_going=True)
    assert sorted(name for name in bench.cache.ran if name != "seed") == ["better", "good"]
    assert caught.value.message.split("\n")[0] == (
        "2 derivations failed, 2 were not built because of them"
    )
    assert [failure.derivation for failure in caught.value.failures] == [
        drv_path("bad"),
        drv_path("worse"),
    ]
    assert "  not built because of it: behind, top" in str(caught.value.failures[0])
    assert str(caught.value.failures[1]).endswith("  not built because of it: top")


def test_one_failure_is_an_error_of_its_own() -> None:
    """One failed derivation is told as without the option, with what needs it."""
    bench = Bench(make_lock(GRAPH), {})
    bench.run = failing(bench, "worse")
    with pytest.raises(DerivationFailedError) as caught:
        bench.apply(keep_going=True)
    assert str(caught.value) == (
        "worse: failed\n"
        "  wanted by: images.image.installables[0] (./default.nix#top)\n"
        "  not built because of it: top"
    )
    assert caught.value.unbuilt == {drv_path("worse"), drv_path("top")}


def test_what_was_built_stays() -> None:
    """The next apply builds only what failed, and what needs it."""
    bench = Bench(make_lock(GRAPH), {})
    good = bench.run
    bench.run = failing(bench, "bad")
    with pytest.raises(DerivationFailedError):
        bench.apply(keep_going=True)
    bench.run = good
    assert sorted(bench.apply()) == ["bad", "behind", "top"]


def test_without_the_option_nothing_new_begins() -> None:
    """The first failure ends all."""
    bench = Bench(make_lock(GRAPH), {})
    bench.run = failing(bench, "bad")
    with pytest.raises(DerivationFailedError):
        bench.apply(jobs=1)
    assert {name for name in bench.cache.ran if name != "seed"} <= {"good"}


def test_a_failed_step_is_not_tried_again_beside_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """When another client's probe makes all be tried anew, what failed has failed."""
    from nixbk.apply.executor import Executor
    from nixbk.apply.prober import ProbeMetError

    bench = Bench(make_lock({"bad": [], "good": [], "top": ["bad", "good"]}), {})
    bench.run = failing(bench, "bad")
    graph, solver, found = bench.survey()
    tried: list[str] = []
    solve = MemoryBuild.solve
    met = [True]

    def once(build: MemoryBuild, definition: Any, **how: Any) -> Any:
        texts = [m.description.get("llb.customname", "") for m in definition.metadata.values()]
        tried.append("bad" if "bad" in texts else "good")
        if tried[-1] == "good" and met:
            met.clear()
            raise BuildFailed(f"failed to parse IP {PROBE_IP}", failure=Failure(vertex="x"))
        return solve(build, definition, **how)

    monkeypatch.setattr(MemoryBuild, "solve", once)
    failed: dict[Any, DerivationFailedError] = {}

    def run() -> None:
        Executor(
            solver, graph, bench.known, 1, lambda *_, **__: None, keep_going=True, failed=failed
        ).run(found.to_build)

    with pytest.raises(ProbeMetError):
        run()
    with pytest.raises(DerivationFailedError):
        run()
    assert tried.count("bad") == 1
