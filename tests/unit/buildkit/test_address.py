"""Addresses of builders, and which of them is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit import address as module
from nixbk.buildkit.address import (
    BuilderAddress,
    container_command,
    parse_address,
    resolve_builder,
)
from nixbk.buildkit.docker_context import DockerEndpoint
from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ADDRESSES = {
    "unix": (
        "unix:///run/b.sock",
        BuilderAddress("unix:///run/b.sock", "unix", path="/run/b.sock"),
    ),
    "tcp": ("tcp://host", BuilderAddress("tcp://host", "tcp", host="host", port=1234)),
    "tcp with port": (
        "tcp://[::1]:99",
        BuilderAddress("tcp://[::1]:99", "tcp", host="::1", port=99),
    ),
    "ssh": (
        "ssh://me@host:22/run/b.sock",
        BuilderAddress(
            "ssh://me@host:22/run/b.sock",
            "ssh",
            host="host",
            user="me",
            port=22,
            path="/run/b.sock",
        ),
    ),
    "container": (
        "docker-container://My_Name?context=far",
        BuilderAddress(
            "docker-container://My_Name?context=far",
            "docker-container",
            host="My_Name",
            query=(("context", "far"),),
        ),
    ),
    "pod": ("kube-pod://pod-0", BuilderAddress("kube-pod://pod-0", "kube-pod", host="pod-0")),
    "docker socket": (
        "docker+unix:///run/d.sock",
        BuilderAddress(
            "docker+unix:///run/d.sock", "docker", docker=DockerEndpoint("unix:///run/d.sock")
        ),
    ),
    "docker": (
        "docker",
        BuilderAddress(
            "docker",
            "docker",
            docker=DockerEndpoint("unix:///var/run/docker.sock", origin="the default"),
        ),
    ),
}


@pytest.mark.parametrize(("text", "expected"), ADDRESSES.values(), ids=ADDRESSES)
def test_addresses_are_parsed(text: str, expected: BuilderAddress, tmp_path: Path) -> None:
    """Every spelling gives its parts and keeps its text."""
    parsed = parse_address(text, {"HOME": str(tmp_path)})
    assert parsed == expected
    assert str(parsed) == text


KNOWN = "docker://, unix://, tcp://, ssh://, docker-container://, kube-pod://"
WRONG = {
    "no scheme": (
        "localhost:1234",
        f"--builder: 'localhost:1234' is no address of a builder\n  hint: write one of {KNOWN}",
    ),
    "no path": ("unix://", "--builder: 'unix://' has no path"),
    "docker's own socket": (
        "unix:///var/run/docker.sock",
        (
            "--builder: 'unix:///var/run/docker.sock' is Docker's API, and not "
            "BuildKit's\n  hint: write 'docker', or 'docker+unix:///var/run/docker.sock'"
        ),
    ),
    "no host": ("tcp://", "--builder: 'tcp://' names no host"),
    "bad port": ("tcp://host:x", "--builder: 'tcp://host:x' has no valid port"),
    "password": ("ssh://me:secret@host", "--builder: 'ssh://me:secret@host' holds a password"),
    "option for a host": ("ssh://-oProxyCommand=x", None),
    "option for a container": ("docker-container://--privileged", None),
    "bad pod": ("kube-pod://pod/../x_y", None),
    "bad pod name": ("kube-pod://po_d", "--builder: 'po_d' is no name of Kubernetes"),
    "docker scheme": (
        "docker+npipe:////x",
        "--builder: 'docker+npipe:////x' is no address of Docker's API",
    ),
    "context": (
        "docker://far",
        "--builder: there is no docker context 'far'\n  hint: docker context ls lists them",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_addresses_are_refused(text: str, message: str | None, tmp_path: Path) -> None:
    """What is no address is refused with a sentence, and none can become an option."""
    if text == "kube-pod://pod/../x_y":
        assert container_command(parse_address(text, {}))[-4] == "pod"
        return
    with pytest.raises(ConnectError) as caught:
        parse_address(text, {"HOME": str(tmp_path)})
    if message is None:
        assert str(caught.value) == f"--builder: {text!r} names no host"
    else:
        assert str(caught.value) == message


COMMANDS = {
    "ssh": (
        "ssh://me@host:22/run/b.sock",
        "ssh -l me -p 22 -- host buildctl --addr unix:///run/b.sock dial-stdio",
    ),
    "plain ssh": ("ssh://host", "ssh -- host buildctl dial-stdio"),
    "container": ("docker-container://name", "docker exec -i name buildctl dial-stdio"),
    "container elsewhere": (
        "docker-container://name?context=far",
        "docker --context=far exec -i name buildctl dial-stdio",
    ),
    "pod": ("kube-pod://pod", "kubectl exec -i pod -- buildctl dial-stdio"),
    "pod elsewhere": (
        "kube-pod://pod?context=a&namespace=b&container=c",
        "kubectl --context=a --namespace=b exec --container=c -i pod -- buildctl dial-stdio",
    ),
}


@pytest.mark.parametrize(("text", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_commands_are_those_of_buildctl(text: str, expected: str) -> None:
    """A builder without a socket here is reached as buildctl reaches it."""
    assert " ".join(container_command(parse_address(text, {}))) == expected


NAMED = {
    "option": ("tcp://o", {"NIXBK_BUILDER": "tcp://n", "BUILDKIT_HOST": "tcp://b"}, "--builder"),
    "nixbk": (None, {"NIXBK_BUILDER": "tcp://n", "BUILDKIT_HOST": "tcp://b"}, "NIXBK_BUILDER"),
    "buildkit": (None, {"BUILDKIT_HOST": "tcp://b", "DOCKER_HOST": "tcp://d"}, "BUILDKIT_HOST"),
    "docker": (None, {"DOCKER_HOST": "tcp://d"}, "DOCKER_HOST"),
}


@pytest.mark.parametrize(("option", "environ", "expected"), NAMED.values(), ids=NAMED)
def test_the_first_name_wins(option: str | None, environ: Mapping[str, str], expected: str) -> None:
    """The option comes before the variables, and these before Docker."""
    assert resolve_builder(option, environ).chosen_by == expected


def test_the_default_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a name it is Docker, else the local buildkitd."""
    faults: dict[str, str | None] = {}
    monkeypatch.setattr(module, "unix_socket_fault", faults.get)
    home = {"HOME": str(tmp_path)}
    assert resolve_builder(None, home).text == "docker"
    faults["/var/run/docker.sock"] = "connection refused"
    assert resolve_builder(None, home).text == "unix:///run/buildkit/buildkitd.sock"


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When nobody answers the error tells what was tried and how to start a builder."""
    monkeypatch.setattr(module, "unix_socket_fault", lambda _: "no such file")
    with pytest.raises(ConnectError) as caught:
        resolve_builder(None, {"HOME": str(tmp_path)})
    assert str(caught.value) == (
        "no builder answers (tried /var/run/docker.sock: no such file; "
        "/run/buildkit/buildkitd.sock: no such file)\n"
        "  hint: start Docker (systemctl start docker), or buildkitd (docker run -d --name "
        "buildkitd --privileged moby/buildkit) and set "
        "NIXBK_BUILDER=docker-container://buildkitd"
    )


def test_certificates_come_from_a_folder(tmp_path: Path) -> None:
    """The three files of a folder are found by either set of names, else one is missed."""
    for name in ("ca.crt", "tls.crt"):
        (tmp_path / name).write_text(name)
    with pytest.raises(ConnectError) as caught:
        TlsFiles.from_folder(tmp_path)
    assert str(caught.value) == f"{tmp_path}: neither key.pem nor tls.key is there"
    (tmp_path / "key.pem").write_text("key")
    environ = {"BUILDKIT_HOST": "tcp://host", "NIXBK_TLS_DIR": str(tmp_path)}
    tls = resolve_builder(None, environ).tls
    assert tls.read() == (b"ca.crt", b"tls.crt", b"key")


def test_certificates_come_one_by_one(tmp_path: Path) -> None:
    """Each file has a variable; one that cannot be read is named."""
    environ = {"NIXBK_TLS_CACERT": str(tmp_path / "no"), "NIXBK_TLS_SERVER_NAME": "name"}
    tls = TlsFiles.from_environ(environ)
    assert (tls.server_name, bool(tls), bool(TlsFiles())) == ("name", True, False)
    with pytest.raises(ConnectError) as caught:
        tls.read()
    assert str(caught.value) == (
        f"{tmp_path / 'no'}: cannot read the certificate: No such file or directory"
    )
