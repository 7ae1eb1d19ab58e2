"""What is gone from an engine is planned and delivered again, whatever this client knows."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from projects import planned_actions, planned_names

if TYPE_CHECKING:
    from projects import MakeProject, Project

    from nixbk.buildkit.client import Client
# a derivation is known from the others by the size of what it makes
PAD_UNIT: Final = 64 * 1024
PAD_SLACK: Final = 5
EXEC: Final = "mount / from exec /.nixbk/helper build"


def test_a_removed_image_is_delivered_again(project: Project) -> None:
    """Nothing is built for it, and it is the same image."""
    project.lock()
    first = project.apply()
    printed = project.printed("app")
    project.remove_image("app")
    plan = project.plan()
    action = "load" if project.engines.is_docker else "write"
    assert (planned_names(plan), planned_actions(plan)) == ((), [action])
    again = project.apply()
    assert (again.built, again.digests) == ((), first.digests)
    assert project.printed("app") == printed


def test_a_pruned_step_is_built_again(make_project: MakeProject, client: Client) -> None:
    """The plan names what the cache has lost and is needed, and no more."""
    app, tool = random.sample(range(200, 400, PAD_SLACK), 2)
    project = make_project(pad=app * PAD_UNIT, tool_pad=tool * PAD_UNIT)
    project.lock()
    before = {record.ID for record in client.disk_usage()}
    first = project.apply()
    _prune(client, before, tool)
    assert project.plan()["changes"] is False
    _prune(client, before, app)
    assert project.planned() == ("app", "tool")
    again = project.apply()
    assert (again.planned, again.built) == (("app", "tool"), ("app", "tool"))
    assert again.digests == first.digests


def _prune(client: Client, before: set[str], units: int) -> None:
    """Remove the step of such a size, and all that is made of it."""
    records = client.disk_usage()
    new = [record for record in records if record.ID not in before and record.Description == EXEC]
    doomed = {record.ID for record in new if 0 <= record.Size // PAD_UNIT - units < PAD_SLACK}
    assert len(doomed) == 1, sorted(record.Size for record in new)
    while children := {r.ID for r in records if doomed & set(r.Parents)} - doomed:
        doomed |= children
    while doomed & {record.ID for record in client.disk_usage()}:
        assert client.prune([f"id=={name}" for name in doomed], everything=True) is not None
