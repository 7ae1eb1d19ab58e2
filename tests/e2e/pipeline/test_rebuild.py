"""What a change rebuilds: itself, what depends on it, and nothing else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from projects import Project

# what is changed -> (new values, derivations that run), one after the other
CHANGES: Final[dict[str, tuple[dict[str, object], tuple[str, ...]]]] = {
    "a library": ({"lib": "other"}, ("app", "lib", "tool")),
    "what is needed at build time only": ({"words": "other"}, ("app", "words")),
    "the last step": ({"pad": 1}, ("app",)),
    "what the image does not need": ({"fail": "yes"}, ()),
    "a change taken back": ({"pad": 0}, ()),
}


def test_a_change_rebuilds_what_depends_on_it(project: Project) -> None:
    """Plan and apply name exactly what differs from all that was built before."""
    project.lock()
    project.apply()
    for change, (values, expected) in CHANGES.items():
        project.set(**values)
        project.lock()
        done = project.apply()
        assert (done.planned, done.built) == (expected, expected), change
    assert project.printed("app").startswith("tool:other other ")


def test_a_changed_source_rebuilds_what_depends_on_it(project: Project) -> None:
    """A file of the project is one more input."""
    project.lock()
    project.apply()
    (project.folder / "notes.txt").write_text(f"new {project.salt}")
    project.lock()
    done = project.apply()
    assert (done.planned, done.built) == (("app", "summary"), ("app", "summary"))


def test_equal_content_cuts_rebuilds_off(project: Project) -> None:
    """A fixed output that is made in another way, or found elsewhere, rebuilds nothing above."""
    project.lock()
    first = project.apply()
    before = project.printed("app")
    project.set(how="another way")
    project.lock()
    plan = project.planned()
    done = project.apply()
    assert done.built == ("fixed",)
    assert done.planned == plan
    assert set(plan) >= {"fixed"}
    assert not project.plan()["changes"]
    url = f"http://127.0.0.1:1/{project.salt}"
    project.set(url=url)
    project.lock()
    done = project.apply()
    assert done.built == ()
    assert project.printed("app") == before
    assert first.built


def test_another_download_rebuilds_what_depends_on_it(project: Project, file_server: str) -> None:
    """A download with another hash is another input."""
    project.lock()
    project.apply()
    text = f"other-{project.salt}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    project.set(url=f"{file_server}/{text}", sha256=digest)
    project.lock()
    done = project.apply()
    assert (done.planned, done.built) == (("app", "data", "summary"), ("app", "data", "summary"))
