"""Every command of README and docs does, on a real engine, what the page says."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from doc_pages import commands, complaint, page_before, results, script
from engines import start

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
TIMEOUT_S: Final = 600
REGISTRY: Final = "localhost:5000"
"""The registry that pages name; another takes its place."""

PAGES: Final = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
    if commands(page.read_text())
]


@cache
def variables() -> dict[str, str]:
    """Start what the pages need; the variables that tell of it."""
    return start("docker", "nix", "tools", "mirror", "registry")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the shell of a page finds: nothing of the user's settings, and an empty cache."""
    found = variables()
    folder = tmp_path_factory.mktemp("environment")
    seed = ROOT / "examples" / "minipkgs" / "seed" / "bin" / "busybox"
    (folder / "bin").mkdir()
    busybox = folder / "bin" / "busybox"
    shutil.copy(seed, busybox)
    with busybox.open("ab") as file:
        file.write(secrets.token_bytes(16))  # so that no builder has seen what is made of it
    folders = [folder / "bin", Path(sys.executable).parent, found["NIXBK_DEV_BIN"]]
    own = {k: v for k, v in os.environ.items() if not k.startswith(("NIXBK_", "BUILDKIT_"))}
    return {
        **own,
        "DOCKER_HOST": found["DOCKER_HOST"],
        "PATH": os.pathsep.join([*map(str, folders), os.environ["PATH"]]),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "COLUMNS": "80",
        "GIT_AUTHOR_NAME": "Reader",
        "GIT_AUTHOR_EMAIL": "reader@example.org",
        "GIT_COMMITTER_NAME": "Reader",
        "GIT_COMMITTER_EMAIL": "reader@example.org",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "LC_ALL": "C.UTF-8",
    }


class Runner:
    """Runs each page once, and knows the folders that they left."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._complaints: dict[Path, list[str]] = {}

    def complaints(self, page: Path) -> list[str]:
        """What is wrong with *page*; it is run unless it was."""
        if page not in self._complaints:
            self._complaints[page] = self._run(page)
        return self._complaints[page]

    def _left_by(self, page: Path) -> Path:
        """The folder as *page* left it."""
        return self._folder / page.relative_to(ROOT).with_suffix("") / "here"

    def _run(self, page: Path) -> list[str]:
        text = page.read_text().replace(REGISTRY, variables()["NIXBK_TEST_REGISTRY"])
        folder = self._left_by(page)
        before = page_before(text)
        if before is None:
            folder.mkdir(parents=True)
        else:
            other = (page.parent / before).resolve()
            assert self.complaints(other) == []
            shutil.copytree(self._left_by(other).parent, folder.parent, symlinks=True)
            # Other pages have had the engine in the meantime.
            self._shell("nixbk apply", folder)
        found = commands(text)
        output = self._shell(script(found), folder)
        ended = results(output)
        assert len(ended) == len(found), output
        rows = zip(found, (*found[1:], None), ended, strict=True)
        complaints = [complaint(now, after, *end) for now, after, end in rows]
        return [text for text in complaints if text]

    def _shell(self, text: str, folder: Path) -> str:
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.stdout.decode(errors="replace")


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Runner:
    """One for all pages."""
    return Runner(tmp_path_factory.mktemp("pages"), environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_true(page: Path, runner: Runner) -> None:
    """What its blocks say is printed is printed, and what they do succeeds."""
    assert runner.complaints(page) == []
