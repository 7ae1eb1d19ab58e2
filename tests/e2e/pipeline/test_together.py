"""Several commands at once on one engine."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import pytest
from projects import Done, applied

from nixbk.buildkit.address import parse_address
from nixbk.buildkit.client import connect
from nixbk.buildkit.errors import BuilderError
from nixbk.buildkit.session import Attachables
from nixbk.buildkit.uploads import URL_PREFIX, Upload, Uploads
from nixbk.llb.marshal import marshal
from nixbk.llb.sources import http
from nixbk.planner.operations import FETCHED_FILE
from nixbk.schema.files import read_lock

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from io import BytesIO

    from projects import MakeProject

MEETING_S: Final = 3
"""How long a command certainly takes to come to its first source, in seconds."""


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


@contextmanager
def _another_asked(builder: str, sha256: str) -> Iterator[None]:
    """Another client, asked for the bytes with *sha256*, never answers and leaves with the block.

    BuildKit takes its source for the one that nixbk names otherwise, for they have one cache key.
    """
    asked, left = Event(), Event()

    def wait() -> BytesIO:
        asked.set()
        left.wait(60)
        raise OSError(0, "it has left")

    uploads = Uploads()
    uploads.add(Upload(f"late-{sha256}", 1, wait))
    url = f"{URL_PREFIX}late-{sha256}"
    checksum = f"sha256:{sha256}"
    source = http(url, checksum=checksum, filename=FETCHED_FILE, mode=0o444, name="late")
    with ExitStack() as stack:
        client = stack.enter_context(connect(parse_address(builder, os.environ)))
        session = stack.enter_context(client.session(Attachables(uploads=uploads)))
        build = stack.enter_context(client.build(session))

        def solve() -> None:
            with suppress(BuilderError):
                build.solve(marshal(source)[0], evaluate=True)

        thread = Thread(target=solve)
        thread.start()
        assert asked.wait(60)
        try:
            yield
        finally:
            client.cancel()
            session.close()
            left.set()
            thread.join()


def test_beside_a_client_that_leaves(make_project: MakeProject, builder: str) -> None:
    """What BuildKit asked the other one for in vain, it is asked for again."""
    project = make_project({"app": ["app"]})
    project.lock()
    (notes,) = [
        source
        for source in read_lock(project.lock_file).sources.values()
        if source.path.name == "notes.txt"
    ]
    with _another_asked(builder, notes.nar_hash.digest.hex()):
        process = project.start("apply", "--json")
        time.sleep(MEETING_S)
        assert process.poll() is None
    _end(process)
    assert project.printed("app").startswith("tool:lib words ")
