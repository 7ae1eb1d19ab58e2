"""What begins because a result is told before its step has ended, on the in-memory twin."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any, Final

import pytest
from benches import Bench
from locks import drv_path, make_lock, store_path
from memory_buildkit import MemoryBuild, result_of

from nixbk.apply.executor import Executor
from nixbk.apply.failures import DerivationFailedError
from nixbk.buildkit.errors import BuildFailed, Failure
from nixbk.graph.closure import closure
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.knowledge import RealisationChangedError
from nixbk.planner.workshop import Flavour
from nixbk.proto import ops_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.apply.progress import Told
    from nixbk.buildkit.protocols import Ref
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.workshop import Step

SOON_S = 10.0
A_WHILE_S = 0.2
FAILED: Final = BuildFailed("no space left", failure=Failure(vertex="of the first"))
CHAIN: Mapping[str, list[str]] = {"first": [], "second": ["first"], "third": ["second"]}


class Teller:
    """A builder that tells the result of the step *first* before it ends that step.

    Attributes:
        says: what it tells.
        until: what has to begin before the step ends; empty when it waits a little all the same.
        fails: whether the step fails after that, and with it all that needs it.
        begun: by name, the steps whose calls were made.
        before: of these, the ones made before the step ended.
    """

    def __init__(
        self, bench: Bench, says: bytes, until: str = "second", *, fails: bool = False
    ) -> None:
        self.says = says
        self.until = until
        self.fails = fails
        self.begun = {drv.name.removesuffix(".drv"): Event() for drv in bench.lock.derivations}
        self.before: set[str] = set()
        lock = bench.lock
        self._needs = {name: set(closure([drv_path(name)], lock.inputs_of)) for name in self.begun}
        self._ended = Event()
        self._bench = bench
        self._steps: dict[str, str] = {}
        self._told: dict[str, Told] = {}

    @property
    def ended(self) -> bool:
        """Whether the step *first* has."""
        return self._ended.is_set()

    def run(self, jobs: int = 1, *, keep_going: bool = False) -> None:
        """Build everything."""
        bench = self._bench
        graph, solver, found = bench.survey()
        Executor(solver, graph, bench.known, jobs, self.watch, keep_going).run(found.to_build)

    def watch(
        self, digest: str, step: StorePath, *, download: bool, told: Told | None = None
    ) -> None:
        """A step is about to run."""
        assert not download
        assert told is not None
        name = step.name.removesuffix(".drv")
        self._steps[digest] = name
        self._told[name] = told

    def solve(self, build: MemoryBuild, definition: ops_pb2.Definition, how: Any) -> Ref | None:
        """As the twin does, and tell."""
        terminal = ops_pb2.Op.FromString(definition.__getattribute__("def")[-1])
        name = self._steps.get(terminal.inputs[0].digest)
        if name is None:
            return MemoryBuild.solve(build, definition, **how)
        self.begun[name].set()
        if name == "first":
            try:
                return self._first(build, definition, how)
            finally:
                self._ended.set()
        if drv_path("first") in self._needs[name]:
            assert self._ended.wait(SOON_S)
            if self.fails:
                raise FAILED
        return MemoryBuild.solve(build, definition, **how)

    def _first(self, build: MemoryBuild, definition: ops_pb2.Definition, how: Any) -> Ref | None:
        found = MemoryBuild.solve(build, definition, **how)
        self._told["first"](self.says)
        if self.until:
            assert self.begun[self.until].wait(SOON_S)
        else:
            assert not self.begun["second"].wait(A_WHILE_S)
        self.before = {key for key, event in self.begun.items() if event.is_set()}
        if self.fails:
            raise FAILED
        return found


def tell(
    monkeypatch: pytest.MonkeyPatch,
    graph: Mapping[str, list[str]],
    says: bytes | None = None,
    until: str = "second",
    *,
    fails: bool = False,
) -> Teller:
    """A teller of the result of *first*, or of what it *says* instead."""
    bench = Bench(make_lock(graph), {})
    truth = bench.run({"outputs": {"out": str(store_path("first"))}})
    teller = Teller(bench, truth if says is None else says, until, fails=fails)

    class Build(MemoryBuild):
        def solve(self, definition: ops_pb2.Definition, **how: Any) -> Ref | None:
            return teller.solve(self, definition, how)

    monkeypatch.setattr("benches.MemoryBuild", Build)
    return teller


def test_the_next_begins_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a told result begins, and all is built."""
    teller = tell(monkeypatch, CHAIN)
    teller.run()
    assert teller.before == {"first", "second"}
    assert all(event.is_set() for event in teller.begun.values())


def test_jobs_are_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step takes the place of one that told, that with the longest way above it."""
    more: Mapping[str, list[str]] = {f"more{i}": [] for i in range(3)}
    after = {f"after{i}": ["first"] for i in range(3)}
    top = {"top": ["third", *more, *after]}
    teller = tell(monkeypatch, {**CHAIN, **more, **after, **top})
    teller.run(jobs=1)
    assert teller.before == {"first", "second"}
    assert all(event.is_set() for event in teller.begun.values())


def test_what_waits_for_nothing_begins_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder of a step that told has ended, so any other may run."""
    graph: Mapping[str, list[str]] = {"first": [], "second": [], "top": ["first", "second"]}
    teller = tell(monkeypatch, graph)
    teller.run(jobs=1)
    assert teller.before >= {"first", "second"}
    assert teller.begun["top"].is_set()


def test_what_comes_next_is_compiled_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for it yet, so it does not begin."""
    graph: Mapping[str, list[str]] = {"first": [], "second": [], "top": ["first", "second"]}
    teller = tell(monkeypatch, graph, NOT_THE_RESULT["nothing"], until="")
    compiled: list[tuple[str, bool]] = []

    class Graph(BuildGraph):
        def step(self, step: StorePath, flavour: Flavour) -> Step:
            if flavour is Flavour.RUN:
                compiled.append((step.name, teller.ended))
            return super().step(step, flavour)

    monkeypatch.setattr("benches.BuildGraph", Graph)
    teller.run(jobs=1)
    assert teller.before == {"first"}
    assert ("second.drv", False) in compiled


NOT_THE_RESULT = {"nothing": b"\n", "half": b'{"outputs":{"out":\n', "no text": b"\xff\xfe\n"}


@pytest.mark.parametrize("says", NOT_THE_RESULT.values(), ids=NOT_THE_RESULT)
def test_what_is_no_result_begins_nothing(monkeypatch: pytest.MonkeyPatch, says: bytes) -> None:
    """The file is waited for, and counts."""
    teller = tell(monkeypatch, CHAIN, says, until="")
    teller.run()
    assert teller.before == {"first"}
    assert teller.begun["third"].is_set()


def test_another_result_than_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is planned anew when the file says something else."""
    path = str(store_path("first"))
    other = result_of({path: (store_path("first"),)})({"outputs": {"out": path}})
    teller = tell(monkeypatch, CHAIN, other)
    with pytest.raises(RealisationChangedError) as caught:
        teller.run()
    assert caught.value.step == drv_path("first")


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_failure_after_the_result(monkeypatch: pytest.MonkeyPatch, *, keep_going: bool) -> None:
    """Only the step that failed is told as failed, not what had begun because of it."""
    graph = {**CHAIN, "other": [], "top": ["third", "other"]}
    teller = tell(monkeypatch, graph, fails=True)
    with pytest.raises(DerivationFailedError) as caught:
        teller.run(keep_going=keep_going)
    assert caught.value.derivation == drv_path("first")
    assert "no space left" in caught.value.message
    assert not teller.begun["third"].is_set()
    assert not teller.begun["top"].is_set()
    if keep_going:
        names = {drv.name.removesuffix(".drv") for drv in caught.value.unbuilt}
        assert names == {"first", "second", "third", "top"}
        assert teller.begun["other"].is_set()
