"""The way of a project from its expression to a container, and what changes on it rebuild."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from projects import Project

APP = ("app", "data", "fixed", "lib", "settings", "summary", "tool", "words")


def test_what_was_planned_is_built_and_runs(project: Project) -> None:
    """A plan lists what an apply builds, builds none of it, and is empty afterwards."""
    project.lock()
    assert project.planned() == APP
    assert project.planned() == APP
    done = project.apply()
    assert done.planned == done.built == APP
    assert project.printed("app").startswith("tool:lib words 1 2 3 ")
    assert project.run("plan", "--detailed-exitcode").out == "Nothing to do.\n"
    assert project.run("apply").out == "Nothing to do.\n"
    again = project.apply()
    assert (again.planned, again.built, again.digests) == ((), (), {})
