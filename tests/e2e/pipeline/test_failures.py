"""What a user is told when a build goes wrong, and what of it stays."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from nixbk.nix.hashes import Hash, HashAlgorithm

if TYPE_CHECKING:
    from projects import MakeProject, Project


def _sri(text: str) -> str:
    return Hash(HashAlgorithm.SHA256, hashlib.sha256(text.encode()).digest()).sri()


def builds(plan: Any) -> list[str]:
    """The derivations that a plan would build."""
    return [row["derivation"] for image in plan["images"].values() for row in image["build"]]


def test_a_failing_builder(make_project: MakeProject) -> None:
    """The error names the derivation, its last words, and who wants it; what was built stays."""
    project = make_project({"app": ["app"], "above": ["app", "above"]}, fail="yes")
    project.lock()
    failed = project.run("apply", code=100)
    drv = next(row for row in builds(project.plan()) if row.endswith("-broken.drv"))
    assert failed.err == (
        "nixbk: broken: builder failed with exit code 3\n"
        "  last 6 lines of its log:\n"
        + "".join(f"  > line {n} of lib\n" for n in range(1, 6))
        + "  > cannot go on\n"
        f"  all of its log: nixbk log {drv}\n"
        "  wanted by: images.above.installables[1] (./default.nix#above)\n"
    )
    assert {"above", "broken"} <= set(project.planned())
    assert "lib" not in project.planned()
    project.set(fail="")
    project.lock()
    assert "lib" not in project.apply().built
    assert not project.plan()["changes"]


def test_a_failure_leaves_the_old_image(make_project: MakeProject) -> None:
    """An image that was delivered before is not touched by a failed apply."""
    project = make_project({"app": ["app", "above"]})
    project.lock()
    project.apply()
    before = project.printed("app")
    project.set(fail="yes", words="other")
    project.lock()
    project.run("apply", code=100)
    assert project.printed("app") == before


def test_another_hash_than_declared(make_project: MakeProject) -> None:
    """The error has both hashes."""
    project = make_project({"app": ["mismatch"]})
    project.lock()
    failed = project.run("apply", code=102)
    assert failed.err == (
        "nixbk: mismatch: hash mismatch in fixed-output derivation:\n"
        f"  specified: {_sri('expected')}\n"
        f"     got:    {_sri('found')}\n"
        "  wanted by: images.app.installables[0] (./default.nix#mismatch)\n"
    )


def test_a_download_with_another_hash(make_project: MakeProject) -> None:
    """A file with another content is refused in the words of any other fixed output."""
    project = make_project(sha256=hashlib.sha256(b"expected").hexdigest())
    project.lock()
    failed = project.run("apply", code=102)
    assert failed.err == (
        "nixbk: data: hash mismatch in fixed-output derivation:\n"
        f"  specified: {_sri('expected')}\n"
        f"     got:    {_sri(project.salt)}\n"
        "  wanted by: images.app.installables[0] (./default.nix#app)\n"
    )


def test_a_source_changed_after_the_lock(project: Project) -> None:
    """The error names the file and says what to do."""
    project.lock()
    (project.folder / "notes.txt").write_text("changed since")
    failed = project.run("apply", code=1)
    assert "'notes.txt' is not what was locked" in failed.err
    assert "hint: run 'nixbk lock'" in failed.err
