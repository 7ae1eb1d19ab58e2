"""Locks whose output paths are known only after builds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from benches import WORKSHOP, Bench
from locks import drv_path, floating_lock
from memory_buildkit import result_of

from nixbk.errors import NixbkError
from nixbk.nix.content_address import content_address
from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.environment import placeholder
from nixbk.nix.hashes import Hash
from nixbk.nix.resolution import downstream_placeholder
from nixbk.nix.store_path import StorePath, fixed_output_path
from nixbk.planner.build_graph import BuildGraph, ImpureInputError
from nixbk.planner.realisation import Realisation, RealisedOutput
from nixbk.planner.workshop import Flavour


def path_of(name: str, content: str | None = None) -> StorePath:
    """Where a floating output is whose content is *content*."""
    return fixed_output_path(name, Hash.of((content or name).encode()), "nar")


GRAPH = {"gcc": [], "lib": ["gcc"], "app": ["lib"], "top": ["app"]}
CHAIN = {"gcc": "floating", "lib": "floating", "app": "deferred", "top": "floating"}


def document(graph: BuildGraph, name: str) -> dict[str, Any]:
    """What the helper is told."""
    step = graph.step(drv_path(name), Flavour.RUN)
    texts = [e.partition("=")[2] for e in step.root.vertex.op.exec.meta.env]
    found = json.loads(texts[0])
    assert isinstance(found, dict)
    return found


def test_paths_are_found_as_they_are_built() -> None:
    """From nothing known to an image whose wanted path came out of a build."""
    bench = Bench(floating_lock(GRAPH, CHAIN), {})
    graph, _, found = bench.survey()
    assert [drv.name for drv in found.to_build] == [f"{name}.drv" for name in GRAPH]
    assert graph.output(drv_path("top"), "out") is None
    assert graph.located(bench.lock.images["image"]).installables[0].paths == {}
    assert bench.apply() == list(GRAPH)
    graph, _, found = bench.survey()
    assert found.to_build == ()
    assert graph.output(drv_path("lib"), "out") == path_of("lib")
    paths = graph.located(bench.lock.images["image"]).installables[0].paths
    assert paths == {"out": path_of("top")}
    assert bench.apply() == []


def test_a_step_is_told_resolved_paths() -> None:
    """The paths of inputs, scratch paths of its own, and how they are addressed."""
    bench = Bench(floating_lock(GRAPH, CHAIN), {})
    bench.apply()
    graph, _, _ = bench.survey()
    told = document(graph, "lib")
    assert told["env"]["gcc"] == str(path_of("gcc"))
    assert told["floating"] == {"out": {"method": "nar", "algorithm": "sha256"}}
    scratch = StorePath.parse(told["outputs"]["out"])
    assert scratch.name == "lib"
    assert scratch != path_of("lib")
    assert told["env"]["out"] == str(scratch)
    later = document(graph, "app")
    assert "floating" not in later
    app = graph.output(drv_path("app"), "out")
    assert later["outputs"] == {"out": str(app)}
    assert later["env"]["out"] == str(app)


def test_a_deferred_path_is_known_before_its_build() -> None:
    """It follows from its inputs alone."""
    bench = Bench(floating_lock(GRAPH, CHAIN), {})
    bench.apply()
    known, _, _ = bench.survey()
    graph = BuildGraph(bench.lock, WORKSHOP)
    for name in ("gcc", "lib"):
        assert graph.output(drv_path("app"), "out") is None
        realisation = known.realisation(drv_path(name))
        assert realisation is not None
        graph.realise(drv_path(name), realisation)
    assert graph.output(drv_path("app"), "out") == known.output(drv_path("app"), "out")


def test_inputs_are_mounted_by_content() -> None:
    """A floating input that came out as before changes nothing above it."""
    bench = Bench(floating_lock(GRAPH, CHAIN), {})
    bench.apply()
    graph, _, _ = bench.survey()
    for name, by_content in {"gcc": True, "lib": True, "app": False, "top": True}.items():
        path = graph.output(drv_path(name), "out")
        assert path is not None
        found = graph.store_object(path, Flavour.RUN)
        assert found.by_content is by_content
        assert bool(found.content_address) is by_content


def test_recipes_that_resolve_alike_are_one_step() -> None:
    """Two floating inputs of one content lead to one build above."""
    graph = {"one": [], "two": [], "use-one": ["one"], "use-two": ["two"], "top": []}
    graph["top"] = ["use-one", "use-two"]
    kinds = dict.fromkeys(graph, "floating")
    lock = floating_lock(graph, kinds)
    derivations = dict(lock.derivations)
    for name in ("one", "two"):
        old = derivations[drv_path(name)]
        derivations[drv_path(name)] = replace(old, name="same", args=(name,))
        user = derivations[drv_path(f"use-{name}")]
        env = {"in": downstream_placeholder(drv_path(name), "out"), "out": placeholder("out")}
        derivations[drv_path(f"use-{name}")] = replace(user, name="use", env=env)
    bench = Bench(replace(lock, derivations=derivations), {})
    ran = bench.apply()
    assert sorted(ran) == ["same", "same", "top", "use"]
    known, _, found = bench.survey()
    assert found.to_build == ()
    one, two = (known.step(drv_path(f"use-{name}"), Flavour.RUN) for name in ("one", "two"))
    assert one is two


def test_changed_contents_go_upwards() -> None:
    """What was built of other content is built anew."""
    bench = Bench(floating_lock(GRAPH, CHAIN), {})
    bench.apply()
    bench.known.results.clear()
    bench.cache.prune()
    bench.run = result_of(contents={"gcc": "other"})
    assert bench.apply() == list(GRAPH)
    graph, _, _ = bench.survey()
    assert document(graph, "lib")["env"]["gcc"] == str(path_of("gcc", "other"))


WRONG = {
    "no address": {"content_address": ""},
    "another method": {"content_address": content_address("flat", Hash.of(b"gcc"))},
    "another content": {"content_address": content_address("nar", Hash.of(b"other"))},
    "another path": {"path": path_of("gcc", "other")},
    "another name": {"path": path_of("cc")},
    "a reference": {"references": (path_of("lib"),)},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_a_path_that_does_not_follow_is_refused(changes: dict[str, Any]) -> None:
    """A builder cannot slip in another path for its content."""
    graph = BuildGraph(floating_lock(GRAPH, CHAIN), WORKSHOP)
    content = Hash.of(b"gcc")
    right = RealisedOutput(
        path_of("gcc"), content, 1, (), content_address=content_address("nar", content)
    )
    with pytest.raises(NixbkError):
        graph.realise(drv_path("gcc"), Realisation({"out": right._replace(**changes)}))
    graph.realise(drv_path("gcc"), Realisation({"out": right}))


def test_missing_and_unknown_outputs_are_refused() -> None:
    """There are the outputs that were asked for, and no others."""
    graph = BuildGraph(floating_lock(GRAPH, CHAIN), WORKSHOP)
    with pytest.raises(NixbkError, match="the builder returned the outputs"):
        graph.realise(drv_path("gcc"), Realisation({}))


IMPURE = {"seen": "impure", "use": "impure"}


def impure_bench(nonce: str) -> Bench:
    """An impure derivation, and one that may use it."""
    return Bench(
        floating_lock({"seen": [], "use": ["seen"]}, IMPURE),
        {},
        WORKSHOP._replace(nonce=nonce),
    )


def test_impure_derivations_are_built_by_each_command() -> None:
    """Another command has another key, and keeps nothing."""
    bench = impure_bench("one")
    assert bench.apply() == ["seen", "use"]
    assert bench.apply() == []
    assert bench.known.results == {}
    bench.workshop = WORKSHOP._replace(nonce="two")
    assert bench.apply() == ["seen", "use"]


def test_impure_steps_have_network() -> None:
    """As fixed ones do, but no promise."""
    bench = impure_bench("one")
    graph, _, _ = bench.survey()
    told = document(graph, "seen")
    assert told["network"] is True
    assert told["impure"] is True
    assert "fixed" not in told
    assert "NIX_OUTPUT_CHECKED" not in told["env"]


def test_pure_derivations_cannot_use_impure_ones() -> None:
    """Nix refuses it, too; a fixed output may."""
    lock = floating_lock({"seen": [], "use": ["seen"]}, {"seen": "impure", "use": "deferred"})
    graph = BuildGraph(lock, WORKSHOP)
    with pytest.raises(ImpureInputError, match="depends on impure derivation"):
        graph.refuse(drv_path("use"))
    assert list(Bench(lock, {}).survey()[2].refused) == [drv_path("use")]
    fixed: Derivation = replace(
        lock.derivations[drv_path("use")],
        outputs={"out": DerivationOutput(str(path_of("use")), "r:sha256", "0" * 64)},
    )
    derivations = {**lock.derivations, drv_path("use"): fixed}
    graph = BuildGraph(replace(lock, derivations=derivations), WORKSHOP)
    graph.refuse(drv_path("use"))
    assert not graph.is_lasting(drv_path("use"))
