"""Another place has the checkout alone: no Nix, no store, no cache of the user's."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from projects import execute

if TYPE_CHECKING:
    from projects import Project

# an empty folder over /nix, for one command
WITHOUT_STORE: Final = (
    "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /nix && exec "$@"', "sh",
)  # fmt: skip
GIT: Final = ("git", "-c", "user.name=x", "-c", "user.email=x@localhost")


def test_the_checkout_is_enough(project: Project, tmp_path: Path) -> None:
    """What is built there is the same image, and nothing of Nix was there to build it."""
    if os.getuid() != 0:
        pytest.skip("only root can hide /nix")
    project.lock()
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*GIT, *command], check=True, cwd=project.folder)
    place = tmp_path / "place"
    subprocess.run([*GIT, "clone", "--quiet", project.folder, place], check=True)
    launcher = WITHOUT_STORE if Path("/nix").exists() else ()
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    there = replace(
        project,
        folder=place,
        home=tmp_path / "nobody",
        launcher=launcher,
        variables={"PATH": path, "HOME": str(tmp_path / "nobody")},
    )
    sight = execute([*launcher, "sh", "-c", "command -v nix; ls /nix"], env={"PATH": path})
    assert sight.out == ""
    done = there.apply()
    assert done.built == done.planned != ()
    printed = there.printed("app")
    there.remove_image("app")
    here = project.apply()
    assert (here.built, here.digests) == ((), done.digests)
    assert project.printed("app") == printed
