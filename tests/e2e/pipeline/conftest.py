"""Small projects, each new to all caches, on every engine in turn."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from engines import start
from projects import SEED, TEMPLATE, Engines, Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from projects import MakeProject


class _Files(BaseHTTPRequestHandler):
    """Answers every path with its last part."""

    def do_GET(self) -> None:
        """Send the last part of the path."""
        body = self.path.rpartition("/")[2].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its base's name
        """Say nothing."""


@pytest.fixture(scope="session")
def file_server() -> Iterator[str]:
    """The address of a server on loopback whose files contain their own names."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def tools() -> str:
    """The folder of nix, docker, crane and skopeo."""
    if not SEED.exists():
        start("mirror")
    start("nix")
    return start("tools")["NIXBK_DEV_BIN"]


@pytest.fixture(scope="session")
def engines(builder: str, tools: str) -> Engines:
    """Each engine in turn, with a Docker to run images."""
    host = builder.removeprefix("docker+")
    if host == builder:
        host = start("docker")["DOCKER_HOST"]
    return Engines(builder, host, tools)


@pytest.fixture
def exporting(engines: Engines) -> None:
    """Skips engines that load images and do nothing else with them."""
    if not engines.exports:
        pytest.skip("Docker writes and pushes with its containerd image store only")


@pytest.fixture
def make_project(tmp_path: Path, engines: Engines, file_server: str) -> Iterator[MakeProject]:
    """Makes projects; their images are removed in the end."""
    made: list[tuple[Project, list[str]]] = []

    def make(
        images: Mapping[str, Sequence[str]] | None = None, extra: str = "", **values: object
    ) -> Project:
        salt = secrets.token_hex(4)
        folder = tmp_path / f"project-{len(made)}"
        folder.mkdir()
        project = Project(folder, tmp_path / f"home-{len(made)}", engines, salt)
        shutil.copy(TEMPLATE, folder / "default.nix")
        shutil.copytree(SEED, folder / "seed", symlinks=True)
        (folder / "notes.txt").write_text(f"notes {salt}\n")
        usual: dict[str, object] = {
            "salt": salt,
            "lib": "lib",
            "words": "words",
            "pad": 0,
            "tool_pad": 0,
            "how": "",
            "fail": "",
            "nap": 0,
            "seconds": 0,
            "url": f"{file_server}/{salt}",
            "sha256": hashlib.sha256(salt.encode()).hexdigest(),
        }
        images = images or {"app": ["app"]}
        project.set(**{**usual, **values})
        project.write_manifest(images, extra)
        made.append((project, list(images)))
        return project

    yield make
    for project, keys in made:
        engines.docker("rmi", "--force", *map(project.image, keys))


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project with one image that runs."""
    return make_project()
