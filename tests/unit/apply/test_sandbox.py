"""What every build finds is built before, and is part of what keys a step, on the twin."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benches import WORKSHOP, Bench
from locks import drv_path, make_lock, store_path

from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.operations import SANDBOX_VARIABLE
from nixbk.planner.workshop import Flavour
from nixbk.proto import ops_pb2
from nixbk.schema.lock import LockedPath

if TYPE_CHECKING:
    from nixbk.planner.workshop import Step
    from nixbk.schema.lock import Lock

GRAPH = {"libc": [], "tools": ["libc"], "lib": [], "app": ["lib"]}
REFERENCES = {str(store_path("tools")): (store_path("libc"),)}


def sandboxed(subpath: str = "bin/env") -> Lock:
    """A lock in which builds find a program that refers to its library."""
    entry = LockedPath("./x.nix#tools", store_path("tools"), subpath, drv_path("tools"), "out")
    return replace(make_lock(GRAPH), locked_paths={"/usr/bin/env": entry})


def operation(step: Step) -> ops_pb2.ExecOp:
    """What a step runs."""
    return ops_pb2.Op.FromString(step.root.vertex.data).exec


def compiled(bench: Bench, name: str) -> ops_pb2.ExecOp:
    """The operation of a derivation, all of whose inputs are known."""
    graph = BuildGraph(bench.lock, WORKSHOP)
    for drv in graph.build_order([drv_path("app")]):
        result = bench.known.results[graph.step(drv, Flavour.PROBE).digest]
        from nixbk.planner.realisation import Realisation

        graph.realise(drv, Realisation.from_bytes(result))
    return operation(graph.step(drv_path(name), Flavour.RUN))


def document(found: ops_pb2.ExecOp) -> Any:
    """What the helper is told."""
    (text,) = [entry for entry in found.meta.env if entry.startswith("NIXBK_STEP=")]
    return json.loads(text.partition("=")[2])


def test_it_is_built_first() -> None:
    """What makes the sandbox comes before all that is not below it."""
    bench = Bench(sandboxed(), REFERENCES)
    ran = bench.apply(jobs=1)
    assert ran == ["libc", "tools", "lib", "app"]
    assert bench.apply() == []


def test_it_is_needed_only_to_build() -> None:
    """When everything is cached, nobody misses what the sandbox was made of."""
    bench = Bench(sandboxed(), REFERENCES)
    bench.apply()
    bench.cache.prune("tools")
    assert bench.survey()[2].to_build == ()
    bench.cache.prune("app")
    assert [drv.name for drv in bench.survey()[2].to_build] == ["tools.drv", "app.drv"]


def test_builders_find_it_with_its_closure() -> None:
    """The closure is mounted; what the derivation does not name is no candidate for references."""
    bench = Bench(sandboxed(), REFERENCES)
    bench.apply()
    app = compiled(bench, "app")
    mounts = {mount.dest: mount.selector for mount in app.mounts}
    assert mounts["/usr/bin/env"] == f"{store_path('tools')}/bin/env"
    assert {str(store_path("tools")), str(store_path("libc"))} <= set(mounts)
    assert sorted(document(app)["hidden"]) == sorted(
        [str(store_path("tools")), str(store_path("libc"))]
    )
    tools = compiled(bench, "tools")
    assert "/usr/bin/env" not in {mount.dest for mount in tools.mounts}
    assert "hidden" not in document(tools)


def test_another_path_is_another_step() -> None:
    """BuildKit leaves selectors out of its keys, so the step says what is meant."""
    found = []
    for subpath in ("bin/env", "bin/other"):
        bench = Bench(sandboxed(subpath), REFERENCES)
        bench.apply()
        found.append([x for x in compiled(bench, "app").meta.env if x.startswith(SANDBOX_VARIABLE)])
    assert found == [
        [f'{SANDBOX_VARIABLE}={{"/usr/bin/env":"{store_path("tools")}/{subpath}"}}']
        for subpath in ("bin/env", "bin/other")
    ]


def test_without_a_sandbox_steps_are_as_ever() -> None:
    """Nothing of it is in the key of a step that has none."""
    bench = Bench(make_lock(GRAPH), REFERENCES)
    bench.apply()
    app = compiled(bench, "app")
    assert not [entry for entry in app.meta.env if entry.startswith(SANDBOX_VARIABLE)]
    assert "hidden" not in document(app)
