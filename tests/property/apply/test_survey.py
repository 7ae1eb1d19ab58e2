"""Laws of surveys over random graphs, references and losses, on the in-memory twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benches import Bench
from hypothesis import given, settings
from hypothesis import strategies as st
from locks import floating_lock
from memory_buildkit import result_of

from nixbk.nix.store_path import StorePath
from nixbk.planner.realisation import Realisation

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DERIVATIONS = 7


def builder(references: Mapping[str, tuple[str, ...]]) -> Any:
    """A runner whose outputs refer to what *references* says, by name, wherever that came out."""
    made: dict[str, StorePath] = {}

    def run(step: dict[str, Any]) -> bytes:
        path = step["outputs"]["out"]
        name = StorePath.parse(path).name
        wanted = tuple(made[other] for other in references[name])
        data: bytes = result_of({path: wanted})(step)
        made[name] = Realisation.from_bytes(data).outputs["out"].path
        return data

    return run


@st.composite
def benches(draw: st.DrawFn) -> Bench:
    """A graph of derivations whose outputs refer to some of what they were built from.

    Some float, and so what is built from them has to wait for its paths.
    """
    count = draw(st.integers(1, MAX_DERIVATIONS))
    graph: dict[str, list[str]] = {}
    closures: dict[str, set[str]] = {}
    references: dict[str, tuple[str, ...]] = {}
    kinds: dict[str, str] = {}
    for index in range(count):
        name = f"d{index}"
        inputs = draw(st.lists(st.sampled_from(sorted(graph)), unique=True)) if graph else []
        visible = sorted(set(inputs).union(*(closures[other] for other in inputs)))
        kept = draw(st.lists(st.sampled_from(visible), unique=True)) if visible else []
        graph[name] = inputs
        references[name] = tuple(kept)
        closures[name] = {name}.union(*(closures[other] for other in kept))
        kind = draw(st.sampled_from(["floating", "deferred" if kinds.keys() & inputs else ""]))
        if kind:
            kinds[name] = kind
    bench = Bench(floating_lock(graph, kinds), {})
    bench.run = builder(references)
    return bench


def planned(bench: Bench) -> list[str]:
    """The names of what a survey finds missing."""
    return [drv.name.removesuffix(".drv") for drv in bench.survey()[2].to_build]


@settings(deadline=None, max_examples=30)
@given(benches(), st.data())
def test_what_is_planned_is_built(bench: Bench, data: st.DataObject) -> None:
    """Whatever is lost, an apply builds what the plan says, each once, and then nothing."""
    before = planned(bench)
    assert sorted(bench.apply()) == sorted(before)
    for _ in range(2):
        assert planned(bench) == []
        assert bench.apply() == []
        names = sorted(set(bench.cache.names.values()) - {"seed"})
        for lost in data.draw(st.lists(st.sampled_from(names), unique=True)):
            bench.cache.prune(lost)
        before = planned(bench)
        assert sorted(bench.apply()) == sorted(before)


@settings(deadline=None, max_examples=20)
@given(benches(), st.data())
def test_a_client_that_knows_nothing_plans_no_less(bench: Bench, data: st.DataObject) -> None:
    """Without what earlier builds left behind a plan may name more than is built, never less."""
    bench.apply()
    names = sorted(set(bench.cache.names.values()) - {"seed"})
    for lost in data.draw(st.lists(st.sampled_from(names), unique=True)):
        bench.cache.prune(lost)
    bench.known.results.clear()
    before = planned(bench)
    assert set(bench.apply()) <= set(before)
    assert planned(bench) == []


@settings(deadline=None, max_examples=15)
@given(benches())
def test_surveys_are_repeatable(bench: Bench) -> None:
    """Asking changes no answer."""
    assert planned(bench) == planned(bench)
