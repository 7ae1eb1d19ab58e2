"""Commands that are ended early leave nothing behind that harms the next one."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from projects import MakeProject, Project

# the last thing a killed apply says
MOMENTS: Final = ("", "Plan: ", "building lib", "built link-2", "building link-5", "built app")
PRINTED: Final = re.compile("tool:lib words 1 2 3 [0-9a-f]{8} lib")


def test_a_killed_apply_completes_when_run_again(make_project: MakeProject) -> None:
    """Killed again and again, at any moment, it goes on from where it was."""
    project = make_project({"app": ["app", "chain"]}, nap=0.2)
    project.lock()
    planned = set(project.planned())
    for moment in MOMENTS:
        with project.start("apply") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(moment):
                    break
            time.sleep(random.random() / 4)  # noqa: S311  any moment will do
            process.kill()
    done = project.apply()
    assert set(done.built) <= planned
    assert not project.plan()["changes"]
    assert PRINTED.fullmatch(project.printed("app"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_apply_stops_the_builder(
    make_project: MakeProject, number: signal.Signals
) -> None:
    """Once the command has ended, nothing of its build runs and no file of it is left."""
    seconds = random.randrange(10**7, 10**8)  # noqa: S311  found again among all processes
    project = make_project({"app": ["endless"]}, seconds=seconds)
    project.lock()
    project.plan()
    before = _files(project)
    with project.start("apply") as process:
        _wait_until_runs(f"sleep {seconds}")
        process.send_signal(number)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "nixbk: interrupted\n")
    assert not _runs(f"sleep {seconds}")
    assert _files(project) == before


@pytest.mark.usefixtures("exporting")
def test_a_stopped_export_leaves_no_file(make_project: MakeProject) -> None:
    """An archive is there as a whole or not at all."""
    extra = '[[images.app.outputs]]\ntype = "oci"\npath = "app.tar"'
    project = make_project(extra=extra, pad=50_000_000)
    project.lock()
    project.plan()
    before = _files(project)
    with project.start("apply") as process:
        while process.poll() is None and not _unfinished(project):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert _files(project) - {"app.tar"} == before
    assert process.returncode == (0 if project.archive("app").exists() else 130)
    project.apply()
    assert project.archive("app").exists()


def test_a_killed_lock_leaves_the_old_one(make_project: MakeProject) -> None:
    """The lock is the old or the new one, byte for byte, and can be applied."""
    project = make_project()
    project.lock()
    old = project.lock_file.read_bytes()
    project.set(lib="other")
    began = time.monotonic()
    project.lock()
    duration_s = time.monotonic() - began
    new = project.lock_file.read_bytes()
    assert old != new
    for _ in range(6):
        project.lock_file.write_bytes(old)
        with project.start("lock", "--quiet") as process:
            time.sleep(random.random() * duration_s)  # noqa: S311  any moment will do
            process.kill()
        assert project.lock_file.read_bytes() in {old, new}
    project.lock_file.write_bytes(old)
    assert project.plan()["changes"]
    project.lock()
    assert project.lock_file.read_bytes() == new
    assert {name for name in _files(project) if name.startswith(".nixbk")} == set()


def _files(project: Project) -> set[str]:
    """What lies in the project, the user's cache but for its logs, and the temporary files."""
    found = {str(path.relative_to(project.folder)) for path in project.folder.rglob("*")}
    kept = ("cache/nixbk/logs", "cache/nixbk/realisations.sqlite")
    for path in project.home.rglob("*"):
        name = str(path.relative_to(project.home))
        if not name.startswith(kept):
            found.add(name)
    return found


def _unfinished(project: Project) -> bool:
    return any(path.name.startswith(".app.tar") for path in project.folder.iterdir())


def _runs(command: str) -> bool:
    """Whether any process, of whatever container, runs *command*."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if b" ".join(words).decode(errors="replace").endswith(command):
            return True
    return False


def _wait_until_runs(command: str) -> None:
    while not _runs(command):
        time.sleep(0.01)
