"""Several commands at once on one engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from projects import Done, applied

if TYPE_CHECKING:
    import subprocess

    from projects import MakeProject


def _end(*processes: subprocess.Popen[str]) -> list[Done]:
    """Wait for all of them, and see that each ended well."""
    printed = [process.communicate() for process in processes]
    done = [Done(p.returncode, *texts) for p, texts in zip(processes, printed, strict=True)]
    for one in done:
        assert one.code == 0, one.err
    return done


@pytest.mark.parametrize("same_cache", [True, False])
def test_two_applies_at_once(make_project: MakeProject, *, same_cache: bool) -> None:
    """Both complete, and together they build everything."""
    for _ in range(2):
        project = make_project()
        other = project if same_cache else replace(project, home=project.home.with_name("other"))
        project.lock()
        planned = set(project.planned())
        processes = [one.start("apply", "--json") for one in (project, other)]
        done = map(applied, _end(*processes))
        assert {name for one in done for name in one.built} == planned
        assert not project.plan()["changes"]
        assert project.printed("app").startswith("tool:lib words ")


def test_plans_beside_an_apply(make_project: MakeProject) -> None:
    """Plans that are made all the while neither fail nor harm, and see less and less to do."""
    project = make_project({"app": ["app", "chain"]}, nap=0.2)
    beside = replace(project, home=project.home.with_name("beside"))
    project.lock()
    planned = set(beside.planned())
    process = project.start("apply", "--json")
    while process.poll() is None:
        found = set(beside.planned())
        assert found <= planned
        planned = found
    _end(process)
    assert not project.plan()["changes"]
