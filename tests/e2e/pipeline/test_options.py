"""What options of apply and build do when something goes wrong, or might."""

from __future__ import annotations

import base64
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projects import MakeProject, Project

LOGIN = "Basic " + base64.b64encode(b"me:a word").decode()


class _Closed(BaseHTTPRequestHandler):
    """Answers those who log in with the last part of the path."""

    def do_GET(self) -> None:
        """Send the last part of the path, or a page that says no."""
        welcome = self.headers.get("Authorization") == LOGIN
        body = self.path.rpartition("/")[2].encode() if welcome else b"who are you?"
        self.send_response(200 if welcome else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its base's name
        """Say nothing."""


@pytest.fixture
def closed_server() -> Iterator[str]:
    """The address of a server that asks for a login."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Closed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def attributes(*names: str) -> list[str]:
    """Installables of the project."""
    return [f"./default.nix#{name}" for name in names]


def kinds(document: Any) -> dict[str, str]:
    """What became of each installable."""
    return {row["installable"]: row.get("failure", {}).get("kind", "built") for row in document}


def test_going_on_after_failures(make_project: MakeProject) -> None:
    """What can be built is built and told, and the log of each failure is kept."""
    project = make_project(fail="yes")
    wanted = attributes("broken", "above", "mismatch", "words", "leaving")
    done = project.run("build", "--json", "--keep-going", *wanted, code=102)
    assert kinds(done.document) == {
        "./default.nix#words": "built",
        "./default.nix#broken": "builder-failed",
        "./default.nix#above": "dependency-failed",
        "./default.nix#mismatch": "hash-mismatch",
        "./default.nix#leaving": "builder-failed",
    }
    assert "nixbk: 3 derivations failed, 1 was not built because of them\n" in done.err
    assert "  not built because of it: above\n" in done.err
    log = project.run("log", "./default.nix#broken").out
    assert log == "".join(f"line {n} of lib\n" for n in range(1, 6)) + "cannot go on\n"
    again = project.run("build", "--json", "--keep-going", *attributes("words", "lib"))
    assert "building" not in again.err


def test_too_long(make_project: MakeProject) -> None:
    """A build that hangs or is silent is stopped, and neither limit is part of a key."""
    project = make_project(seconds=3601)
    silent = project.run("build", "--max-silent-time", "1", *attributes("silent"), code=101)
    assert "nixbk: silent: builder timed out after 1 seconds of silence\n" in silent.err
    slow = project.run("build", "--timeout", "2", *attributes("endless"), code=101)
    assert "nixbk: endless: builder timed out after 2 seconds\n" in slow.err
    project.set(seconds=0)
    project.run("build", "--timeout", "60", *attributes("silent"))
    assert "building" not in project.run("build", "--timeout", "50", *attributes("silent")).err


def test_the_folder_of_a_failed_build(make_project: MakeProject) -> None:
    """It comes back as an archive beside the manifest."""
    project = make_project()
    failed = project.run("build", "--keep-failed", *attributes("leaving"), code=100)
    (archive,) = project.folder.glob("leaving-*.build.tar")
    assert f"  its build folder: {archive.name}\n" in failed.err
    with tarfile.open(archive) as found:
        note = found.extractfile("build/note")
        assert note is not None
        assert note.read() == b"here\n"


def test_building_again(make_project: MakeProject) -> None:
    """What comes out otherwise is named file by file; the cache keeps what it had."""
    project = make_project()
    same = project.run("build", "--check", *attributes("lib", "words"))
    assert (same.err.count("building lib"), len(same.out.splitlines())) == (2, 2)
    first = project.run("build", "--json", *attributes("random")).document
    other = project.run("build", "--check", *attributes("random"), code=104)
    drv, path = first[0]["derivation"], first[0]["path"]
    assert (
        f"nixbk: random: derivation '{drv}' may not be deterministic: output '{path}' differs\n"
        "  link: another target\n"
        "  other: another content\n"
        "  wanted by: ./default.nix#random\n"
    ) in other.err
    assert project.run("build", "--json", *attributes("random")).document == first


def test_a_download_with_a_login(make_project: MakeProject, closed_server: str) -> None:
    """A login of a netrc file opens the door, and is in no cache."""
    project = make_project()
    project.set(url=f"{closed_server}/{project.salt}")
    netrc = project.folder / "logins"
    netrc.write_text('machine 127.0.0.1\nlogin me\npassword "a word"\n')
    project.start("build", *attributes("data")).communicate()
    project.run("build", "--netrc-file", str(netrc), *attributes("data"))
    assert "fetching" not in project.run("build", *attributes("data")).err
    kept = [path for path in project.home.rglob("*") if path.is_file()]
    secrets = (b"a word", LOGIN.removeprefix("Basic ").encode())
    assert [path for path in kept if any(word in path.read_bytes() for word in secrets)] == []


def test_what_all_builds_find(project: Project) -> None:
    """A program of an installable works with all it refers to, and leaves no references."""
    manifest = project.folder / "nixbk.toml"
    text = manifest.read_text().replace(
        "[sandbox]",
        "[sandbox]\n"
        "paths.'/usr/bin/tool' = './default.nix#tool/bin/tool'\n"
        "paths.'/usr/share/notes' = 'notes.txt'",
    )
    manifest.write_text(text)
    built = project.run("build", "--json", *attributes("found")).document
    assert [path.partition("-")[2] for path in built[0]["references"]] == ["test-seed"]
    manifest.write_text(text.replace("/bin/tool'\n", "/pad'\n"))
    other = project.run("build", *attributes("found"), code=100)
    assert "found: builder failed" in other.err
