"""buildkitd's own TLS and Docker's: with the right certificates, and with all the wrong ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engines import ENGINES, start
from far_engines import Certificates, tcp_buildkitd, tls_dockerd
from reach import build, fault

from nixbk.buildkit.address import parse_address, resolve_builder
from nixbk.buildkit.tls import BUILDKIT_HINT, DOCKER_HINT, NO_TLS, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildkit_steps import Steps

needs_buildkit = pytest.mark.skipif(
    not any(name.startswith("buildkit") for name in ENGINES), reason="no buildkitd is asked for"
)
needs_docker = pytest.mark.skipif(
    not any(name.startswith("docker") for name in ENGINES), reason="no Docker is asked for"
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of a server on loopback and of its client."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    return Certificates(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def strangers(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of somebody else."""
    return Certificates(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def port(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a buildkitd that asks for certificates."""
    with tcp_buildkitd(tmp_path_factory.mktemp("buildkitd"), certificates) as port:
        yield port


@needs_buildkit
def test_buildkitd_is_reached_over_its_tls(
    port: int, certificates: Certificates, steps: Steps
) -> None:
    """A folder of certificates is enough; a name that is not the host's can be asked for."""
    environ = {"NIXBK_TLS_DIR": str(certificates.folder)}
    named = {**environ, "NIXBK_TLS_SERVER_NAME": "buildkitd.test"}
    build(resolve_builder(f"tcp://localhost:{port}", environ), steps)
    build(resolve_builder(f"tcp://localhost:{port}", named), steps)
    build(resolve_builder(f"tcp://127.0.0.1:{port}", environ), steps)


UNTRUSTED = "the server's certificate is not trusted: "
NO_ISSUER = f"{UNTRUSTED}unable to get local issuer certificate"
FAULTS: dict[str, tuple[Callable[[TlsFiles, TlsFiles], TlsFiles], str]] = {
    "no TLS": (lambda _own, _other: NO_TLS, "the server speaks TLS"),
    "no certificate": (
        lambda own, _other: TlsFiles(own.ca),
        "the server asks for a certificate of the client",
    ),
    "a certificate of another root": (
        lambda own, other: replace(other, ca=own.ca),
        "the server does not trust the client's certificate",
    ),
    "another root": (lambda own, other: replace(own, ca=other.ca), NO_ISSUER),
    "the system's roots": (lambda own, _other: replace(own, ca=None), NO_ISSUER),
    "another name": (
        lambda own, _other: replace(own, server_name="elsewhere"),
        f"{UNTRUSTED}Hostname mismatch, certificate is not valid for 'elsewhere'",
    ),
    "another key": (
        lambda own, other: replace(own, key=other.key),
        "the client's key is not the one of its certificate",
    ),
    "no certificate in its file": (
        lambda own, _other: replace(own, certificate=own.key),
        "the client's certificate and key are not what they should be",
    ),
    "no root in its file": (
        lambda own, _other: replace(own, ca=own.key),
        "the file of certificates to trust has none in it",
    ),
}


@needs_buildkit
@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_wrong_certificates_are_told(
    port: int,
    certificates: Certificates,
    strangers: Certificates,
    change: Callable[[TlsFiles, TlsFiles], TlsFiles],
    told: str,
) -> None:
    """What is wrong is told in words, at once, and where certificates come from."""
    text = f"tcp://localhost:{port}"
    address = parse_address(text, {}, tls=change(certificates.client, strangers.client))
    assert fault(address) == (f"no builder answers at {text!r}: {told}", BUILDKIT_HINT)


@needs_buildkit
def test_a_certificate_without_its_key_is_told(port: int, certificates: Certificates) -> None:
    """It is told before gRPC, which would end the process, sees it."""
    own = certificates.client
    for tls, told in (
        (replace(own, key=None), "the client's certificate comes without a key"),
        (replace(own, certificate=None), "the client's key comes without a certificate"),
    ):
        assert fault(parse_address(f"tcp://localhost:{port}", {}, tls=tls)) == (told, None)


@needs_buildkit
def test_buildkitd_without_tls(certificates: Certificates, steps: Steps, tmp_path: Path) -> None:
    """A port without TLS is enough, and certificates for it are a mistake that is told."""
    with tcp_buildkitd(tmp_path, None) as port:
        text = f"tcp://127.0.0.1:{port}"
        build(parse_address(text, {}), steps)
        told = f"no builder answers at {text!r}: the server does not speak TLS"
        assert fault(parse_address(text, {}, tls=certificates.client)) == (told, BUILDKIT_HINT)


def _folder(folder: Path, ca: Certificates, client: Certificates | None) -> str:
    """A folder with the root of one and the client's certificate of another."""
    folder.mkdir()
    shutil.copy(ca.folder / "ca.pem", folder)
    if client is not None:
        for name in ("cert.pem", "key.pem"):
            shutil.copy(client.folder / name, folder)
    return str(folder)


def _make_context(
    name: str, port: int, certificates: Certificates, environ: dict[str, str]
) -> None:
    """Have docker itself make a context."""
    files = {kind: certificates.folder / f"{kind}.pem" for kind in ("ca", "cert", "key")}
    endpoint = ",".join(f"{kind}={path}" for kind, path in files.items())
    docker = f"{start('tools')['NIXBK_DEV_BIN']}/docker"
    host = f"host=tcp://localhost:{port},{endpoint}"
    create = [docker, "context", "create", name, "--docker", host]
    subprocess.run(create, env={**os.environ, **environ}, check=True, capture_output=True)


@needs_docker
def test_docker_is_reached_over_its_tls(
    certificates: Certificates, strangers: Certificates, steps: Steps, tmp_path: Path
) -> None:
    """The variables are those of Docker's own client; wrong certificates are told in words."""
    alone = _folder(tmp_path / "alone", certificates, None)
    foreign = _folder(tmp_path / "foreign", certificates, strangers)
    (tmp_path / "engine").mkdir()
    faults = {
        "": "docker does not answer: the server speaks TLS",
        alone: "docker does not answer: the server asks for a certificate of the client",
        foreign: "docker does not answer: the server does not trust the client's certificate",
        str(strangers.folder): f"cannot connect: {NO_ISSUER}",
    }
    with tls_dockerd(tmp_path / "engine", certificates) as port:
        text = f"docker+tcp://localhost:{port}"
        for switch in ("DOCKER_TLS_VERIFY", "DOCKER_TLS"):
            environ = {switch: "1", "DOCKER_CERT_PATH": str(certificates.folder)}
            build(parse_address(text, environ), steps)
            host = {**environ, "DOCKER_HOST": f"tcp://localhost:{port}"}
            build(parse_address("docker", host), steps)
        config = {"DOCKER_CONFIG": str(tmp_path / "config")}
        _make_context("far", port, certificates, config)
        build(parse_address("docker://far", config), steps)
        for folder, told in faults.items():
            environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": folder} if folder else {}
            assert fault(parse_address(text, environ)) == (told, DOCKER_HINT)
