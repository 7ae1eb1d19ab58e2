"""Real Nix and engines, which build all selected cases at once."""

from __future__ import annotations

import os
import secrets
import signal
from typing import TYPE_CHECKING, Final

import pytest
from beside_nix import Project
from downloads import PASSWORD, serve
from engines import ENGINES, address, start
from projects import SEED
from verdicts import FEATURES, Oracle, Runs, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OURS: Final = ("BUILDKIT_HOST", "DOCKER_CONTEXT", "DOCKER_HOST", "NIXBK_BUILDER")


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """Real Nix, with a server to download from."""
    # builders of Nix find them ignored when this runs in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if not SEED.exists():
        start("mirror")
    start("nix")
    home = tmp_path_factory.mktemp("home")
    with serve() as url:
        host = url.partition("//")[2].rpartition(":")[0]
        netrc = home / ".netrc"
        netrc.write_text(f"machine {host}\nlogin somebody\npassword {PASSWORD}\n")
        netrc.chmod(0o600)
        tools = start("tools")["NIXBK_DEV_BIN"]
        salt = os.environ.get("NIXBK_TEST_SALT") or secrets.token_hex(4)
        oracle = Oracle(tools, salt, url, home)
        yield oracle
        oracle.clean()


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def subjects(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """Nixbk on each engine, in a project with a shell and nothing else."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "sh").write_bytes((SEED / "bin" / "busybox").read_bytes())
    (folder / "sh").chmod(0o755)
    (folder / "nixbk.toml").write_text(
        '[sandbox]\nshell = "sh"\n[images.none]\ninstallables = ["./none.nix#none"]\n'
    )
    environ = {name: value for name, value in os.environ.items() if name not in _OURS}
    environ |= {
        "PATH": f"{oracle.tools}:{environ['PATH']}",
        "HOME": str(oracle.home),
        "NIX_CONFIG": f"extra-experimental-features = {FEATURES}",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return {name: Subject(folder, {**environ, "NIXBK_BUILDER": address(name)}) for name in ENGINES}


@pytest.fixture
def project(tmp_path: Path, oracle: Oracle, subjects: dict[str, Subject], engine: str) -> Project:
    """A folder with all expressions, new to all caches."""
    return Project.make(tmp_path, oracle, subjects[engine])


@pytest.fixture(scope="session")
def runs(
    request: pytest.FixtureRequest, oracle: Oracle, subjects: dict[str, Subject]
) -> Iterator[Runs]:
    """What became of the cases that are selected."""
    wanted: dict[str, list[str]] = {}
    for item in request.session.items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and {"file", "name"} <= set(callspec.params):
            names = wanted.setdefault(callspec.params["file"], [])
            if callspec.params["name"] not in names:
                names.append(callspec.params["name"])
    with Runs.started(oracle, subjects, wanted) as started:
        yield started
