"""Which Docker engine is meant."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit.docker_context import DockerEndpoint, docker_endpoint
from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.tls import TlsFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with one context, chosen, and its certificates."""
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    digest = hashlib.sha256(b"far").hexdigest()
    meta = tmp_path / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    endpoint = {"Host": "tcp://far:2376", "SkipTLSVerify": True}
    (meta / "meta.json").write_text(json.dumps({"Endpoints": {"docker": endpoint}}))
    certificates = tmp_path / "contexts" / "tls" / digest / "docker"
    certificates.mkdir(parents=True)
    (certificates / "ca.pem").write_text("")
    return tmp_path


def test_docker_host_wins(config: Path) -> None:
    """DOCKER_HOST comes before every context, with the certificates of its own variables."""
    environ = {
        "DOCKER_CONFIG": str(config),
        "DOCKER_CONTEXT": "far",
        "DOCKER_HOST": "tcp://near:1",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/no/such/folder",
    }
    expected = DockerEndpoint("tcp://near:1", TlsFiles(wanted=True), "DOCKER_HOST")
    assert docker_endpoint(environ) == expected


def test_the_current_context_is_used(config: Path) -> None:
    """What `docker context use` chose gives host and certificates."""
    digest = hashlib.sha256(b"far").hexdigest()
    ca = config / "contexts" / "tls" / digest / "docker" / "ca.pem"
    expected = DockerEndpoint("tcp://far:2376", TlsFiles(ca, verify=False), "context 'far'")
    assert docker_endpoint({"DOCKER_CONFIG": str(config)}) == expected
    assert docker_endpoint({"HOME": "/no/such"}) == DockerEndpoint(
        "unix:///var/run/docker.sock", origin="the default"
    )


def test_docker_context_wins_over_the_current_one(config: Path) -> None:
    """DOCKER_CONTEXT may name the default, or one that is not there."""
    environ = {"DOCKER_CONFIG": str(config), "DOCKER_CONTEXT": "default"}
    assert docker_endpoint(environ).origin == "the default"
    with pytest.raises(ConnectError) as caught:
        docker_endpoint({**environ, "DOCKER_CONTEXT": "absent"})
    assert str(caught.value) == (
        "DOCKER_CONTEXT: there is no docker context 'absent'\n  hint: docker context ls lists them"
    )


BROKEN = {
    "no JSON": ("{", "cannot be read: Expecting property name enclosed in double quotes"),
    "no object": ("[]", "is no JSON object"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_configuration_is_told(tmp_path: Path, text: str, message: str) -> None:
    """The file at fault is named."""
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConnectError) as caught:
        docker_endpoint({"DOCKER_CONFIG": str(tmp_path)})
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_context_without_a_host_is_told(config: Path) -> None:
    """A context of something else than Docker is refused."""
    digest = hashlib.sha256(b"far").hexdigest()
    path = config / "contexts" / "meta" / digest / "meta.json"
    path.write_text('{"Endpoints": {"kubernetes": {}}}')
    with pytest.raises(ConnectError) as caught:
        docker_endpoint({"DOCKER_CONFIG": str(config)})
    assert str(caught.value) == f"{path}: docker context 'far' names no host"
