"""How much runs at once, and that nothing runs twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from engines import ONE_OF_EACH

from nixbk.apply.progress import STDOUT, Progress
from nixbk.apply.project import open_project
from nixbk.apply.service import apply_plan
from nixbk.apply.workbench import Settings

if TYPE_CHECKING:
    from projects import MakeProject, Project

    from nixbk.proto.control_pb2 import StatusResponse, Vertex


class Witness(Progress):
    """Notes every run of every operation that BuildKit tells of, and every result of a helper.

    BuildKit tells of an operation also when it looks for it in its cache. What runs prints.
    """

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.runs: dict[tuple[str, int], Vertex] = {}
        self.results: set[tuple[str, int]] = set()
        self.names: dict[str, str] = {}

    def on_status(self, status: StatusResponse) -> None:
        """Take one message."""
        for vertex in status.vertexes:
            self.names[vertex.digest] = vertex.name
            if vertex.HasField("completed") and not vertex.cached:
                self.runs[vertex.digest, vertex.started.ToNanoseconds()] = vertex
        for log in status.logs:
            if log.stream == STDOUT:
                self.results.add((log.vertex, log.timestamp.ToNanoseconds()))
        super().on_status(status)

    def execs(self) -> Counter[str]:
        """How often each derivation ran."""
        return Counter(self.names[digest] for digest, _ in self.results)

    def most_at_once(self, prefix: str) -> int:
        """How many derivations with such a name were built at the same time.

        A builder has ended when the helper tells the result; then BuildKit ends the operation.
        """
        told = dict(sorted(self.results))
        events = []
        for run in self.runs.values():
            if run.name.startswith(prefix):
                events += [(run.started.ToNanoseconds(), 1), (told[run.digest], -1)]
        now = most = 0
        for _, change in sorted(events):
            now += change
            most = max(most, now)
        return most


def _apply(project: Project, max_jobs: int | None = None) -> Witness:
    manifest = project.folder / "nixbk.toml"
    settings = Settings(project.engines.builder, project.environ, max_jobs)
    witness = Witness()
    apply_plan(
        open_project(manifest, None, None), settings, witness, lambda _: None, lambda *_: None
    )
    return witness


def test_every_derivation_runs_once(make_project: MakeProject) -> None:
    """As many execs as derivations, however many outputs, images and users they have."""
    project = make_project({"app": ["app", "tool^out,dev"], "tool": ["tool^*", "lib"]})
    project.lock()
    planned = project.planned()
    assert _apply(project).execs() == Counter(planned)
    assert not project.plan()["changes"]


@pytest.mark.parametrize(("jobs", "seen"), [(1, {1}), (4, {2, 3, 4})])
def test_max_jobs_bounds_what_runs_at_once(
    make_project: MakeProject, jobs: int, seen: set[int]
) -> None:
    """Independent derivations run in parallel, as far as it is allowed."""
    project = make_project({"app": ["rested"]}, nap=1)
    project.lock()
    witness = _apply(project, jobs)
    assert witness.most_at_once("nap-") in seen
    assert witness.execs()["rested"] == 1


def test_cores_are_no_part_of_a_key(make_project: MakeProject) -> None:
    """The number of cores reaches the builder, and another one builds nothing anew."""
    project = make_project({"app": ["show-cores"]})
    project.lock()
    assert project.apply("--cores", "3").built == ("cores", "show-cores")
    assert project.printed("app") == "cores 3"
    assert project.apply("--cores", "2").built == ()
    assert not project.plan()["changes"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("builder", ONE_OF_EACH, indirect=True)
def test_two_thousand_derivations(make_project: MakeProject) -> None:
    """No definition of a large graph is longer than BuildKit takes, or apply would fail."""
    project = make_project({"app": ["many"]})
    project.lock()
    witness = _apply(project, 4)
    assert len(witness.execs()) == 2001
    assert set(witness.execs().values()) == {1}
    assert not project.plan()["changes"]
