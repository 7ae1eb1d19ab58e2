"""Every way to a builder, with a real one at its end.

The programs ssh, docker and kubectl are stood in for by a script that does what they do: run
what comes after a host's name, here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from engines import start

from nixbk.buildkit.address import parse_address, resolve_builder
from nixbk.buildkit.client import connect
from nixbk.buildkit.dial import dial_unix
from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.protocols import Result
from nixbk.buildkit.pump import pump
from nixbk.buildkit.session import Attachables
from nixbk.buildkit.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from buildkit_steps import Steps

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
  *absent*) echo "no such host" >&2; exit 255 ;;
  *"docker system dial-stdio") exec "$DOCKER" system dial-stdio ;;
  *buildctl*dial-stdio) exec "$BUILDCTL" --addr "$BUILDKIT" dial-stdio ;;
esac
"""


def _build(address: str, environ: Mapping[str, str], steps: Steps, tls: TlsFiles) -> None:
    """Run a step that needs the session, and read what it leaves."""
    with (
        connect(parse_address(address, environ, tls=tls)) as client,
        client.session(Attachables(uploads=steps.uploads)) as session,
        client.build(session) as build,
    ):
        ref = build.solve(steps.definition("echo hello > out/x"))
        assert ref is not None
        assert build.read_file(ref, "out/x") == b"hello\n"
        build.finish(Result(ref))


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: str) -> Path:
    """Stand-ins on PATH, and the file that tells how they were called."""
    for name in ("ssh", "docker", "kubectl"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)
    bin_folder = subprocess.run(
        ["dev/engines", "bin"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if builder.startswith("docker+"):
        monkeypatch.setenv("DOCKER_HOST", builder.removeprefix("docker+"))
    programs = {
        name: shutil.which(name, path=f"{bin_folder}:{os.environ['PATH']}") or name
        for name in ("docker", "buildctl")
    }
    monkeypatch.setenv("DOCKER", programs["docker"])
    monkeypatch.setenv("BUILDCTL", programs["buildctl"])
    monkeypatch.setenv("BUILDKIT", builder)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "calls"


BY_PROGRAM = {
    "ssh": ("ssh://me@host", "ssh -l me -- host buildctl dial-stdio"),
    "container": ("docker-container://name", "docker exec -i name buildctl dial-stdio"),
    "pod": ("kube-pod://name", "kubectl exec -i name -- buildctl dial-stdio"),
}


@pytest.mark.parametrize(("address", "call"), BY_PROGRAM.values(), ids=BY_PROGRAM)
def test_a_builder_is_reached_by_a_program(
    builder: str, stand_ins: Path, steps: Steps, address: str, call: str
) -> None:
    """A program's standard input and output carry a whole build."""
    if builder.startswith("docker"):
        pytest.skip("dial-stdio of buildctl needs a socket of buildkitd")
    _build(address, os.environ, steps, TlsFiles())
    assert set(stand_ins.read_text().splitlines()) == {call}


def test_docker_is_reached_over_ssh(builder: str, stand_ins: Path, steps: Steps) -> None:
    """Docker's own dial-stdio carries both its API and its BuildKit."""
    if not builder.startswith("docker"):
        pytest.skip("the builder is not Docker's")
    _build("docker+ssh://host", os.environ, steps, TlsFiles())
    with connect(parse_address("docker+ssh://host", os.environ)) as client:
        assert client.docker.info().platform == "linux/amd64"
    call = "ssh -o ConnectTimeout=30 -T -- host docker system dial-stdio"
    assert set(stand_ins.read_text().splitlines()) == {call}


def test_a_program_that_fails_is_quoted(builder: str, stand_ins: Path) -> None:
    """What ssh says is what the user reads."""
    del builder, stand_ins
    with pytest.raises(ConnectError, match="no such host") as caught:
        connect(parse_address("docker+ssh://absent", os.environ))
    assert caught.value.where == "ssh://absent"
    with pytest.raises(ConnectError) as caught:
        connect(parse_address("ssh://absent", os.environ))
    assert caught.value.message == "no builder answers at 'ssh://absent': no such host"


class Certificates:
    """A CA, and certificates of a server and a client, made by openssl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca")
        (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        for name in ("server", "client"):
            self._run(
                f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            )
            self._run(
                f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
                f"-out {name}.crt -days 2 -extfile ext"
            )

    @property
    def client(self) -> TlsFiles:
        """What the client needs."""
        folder = self.folder
        return TlsFiles(folder / "ca.pem", folder / "client.crt", folder / "client.key")

    def _run(self, arguments: str) -> None:
        command = ["openssl", *arguments.split()]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for a server on this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_port(builder: str, certificates: Certificates) -> Iterator[int]:
    """A port that demands a client's certificate and leads to the builder."""
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.folder / "ca.pem")
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.folder / "server.crt", certificates.folder / "server.key")
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))

    def join(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            wrapped = context.wrap_socket(sock, server_side=True)
            onward = dial_unix(builder.partition("unix://")[2])
            pump(wrapped, onward.sock)
            onward.close()
            wrapped.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=join, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_builder_is_reached_over_mutual_tls(
    builder: str, tls_port: int, certificates: Certificates, steps: Steps
) -> None:
    """With the right certificates a build runs; without one there is no connection."""
    if "unix://" not in builder:
        pytest.skip("the builder is on another machine")
    tls = certificates.client
    if builder.startswith("docker"):
        environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates.folder)}
        for name, kind in (("client.crt", "cert.pem"), ("client.key", "key.pem")):
            shutil.copy(certificates.folder / name, certificates.folder / kind)
        address = f"docker+tcp://localhost:{tls_port}"
        _build(address, environ, steps, tls)
        with pytest.raises(ConnectError):
            connect(parse_address(f"docker+tcp://localhost:{tls_port}", {}))
    else:
        _build(f"tcp://localhost:{tls_port}", {}, steps, tls)
        alone = TlsFiles(tls.ca)
        with pytest.raises(ConnectError, match="no builder answers at 'tcp://localhost:"):
            connect(parse_address(f"tcp://localhost:{tls_port}", {}, tls=alone))


def test_a_docker_context_leads_to_its_engine(builder: str, tmp_path: Path, steps: Steps) -> None:
    """A context made by docker itself is found as the current one."""
    if not builder.startswith("docker"):
        pytest.skip("the builder is not Docker's")
    start("tools")
    bin_folder = subprocess.run(
        ["dev/engines", "bin"], check=True, capture_output=True, text=True
    ).stdout.strip()
    environ = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "DOCKER_CONFIG": str(tmp_path),
        "HOME": str(tmp_path),
    }
    host = builder.removeprefix("docker+")
    for words in (["create", "far", "--docker", f"host={host}"], ["use", "far"]):
        subprocess.run(["docker", "context", *words], env=environ, check=True, capture_output=True)
    chosen = resolve_builder(None, environ)
    assert (chosen.text, chosen.chosen_by) == ("docker", "context 'far'")
    _build("docker", environ, steps, TlsFiles())
    _build("docker://far", environ, steps, TlsFiles())


def test_nobody_behind_an_address(tmp_path: Path) -> None:
    """A socket that is not there and a port that refuses are told at once."""
    path = tmp_path / "no.sock"
    for text, reason in (
        (f"unix://{path}", f"no builder answers at 'unix://{path}': no such file"),
        ("tcp://127.0.0.1:1", "cannot connect: connection refused"),
        (f"docker+unix://{path}", "cannot connect to the socket: no such file or directory"),
    ):
        with pytest.raises(ConnectError) as caught:
            connect(parse_address(text, {}))
        assert caught.value.message == reason
