"""What exporters of real engines hand back."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from engines import start

from nixbk.buildkit.errors import BuilderError
from nixbk.buildkit.protocols import Exporter, Result

if TYPE_CHECKING:
    from buildkit_steps import Steps

    from nixbk.buildkit.client import Client
    from nixbk.buildkit.session import Session

CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/out/x"]}}
RESULT_METADATA = {"containerimage.config": json.dumps(CONFIG).encode()}
NAME = "nixbk-test/exports:latest"


def _export(client: Client, session: Session, steps: Steps, exporter: Exporter) -> dict[str, str]:
    with client.build(session, exporters=[exporter]) as build:
        ref = build.solve(steps.definition("echo hello > out/x"))
        return build.finish(Result(ref, metadata=RESULT_METADATA))


@pytest.fixture
def containerd_store(client: Client) -> None:
    """Skip engines whose BuildKit has no exporters but one."""
    if client.is_docker and not client.docker.info().containerd_store:
        pytest.skip("Docker writes and pushes with its containerd image store only")


@pytest.mark.usefixtures("containerd_store")
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_archive_is_received(client: Client, session: Session, steps: Steps, kind: str) -> None:
    """The archive holds the manifest whose digest the exporter tells."""
    buffer = io.BytesIO()
    answer = _export(client, session, steps, Exporter(kind, {"name": NAME}, buffer.write))
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        index = json.load(archive.extractfile("index.json") or io.BytesIO())
    assert [entry["digest"] for entry in index["manifests"]] == [answer["containerimage.digest"]]


@pytest.mark.usefixtures("containerd_store")
def test_an_archive_that_cannot_be_written_fails(
    client: Client, session: Session, steps: Steps
) -> None:
    """An error of the client's own disk is told as such."""

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(BuilderError) as caught:
        _export(client, session, steps, Exporter("oci", {"name": NAME}, full))
    assert caught.value.message == "cannot write the result: [Errno 28] No space left on device"


@pytest.mark.usefixtures("containerd_store")
def test_docker_loads_an_archive(client: Client, session: Session, steps: Steps) -> None:
    """An archive is loaded, tagged and found by name; another name is not there."""
    if not client.is_docker:
        pytest.skip("the builder is not Docker's")
    buffer = io.BytesIO()
    _export(client, session, steps, Exporter("docker", {"name": NAME}, buffer.write))
    buffer.seek(0)
    assert client.docker.load_image(buffer) == (NAME,)
    image = client.docker.inspect_image(NAME)
    assert image is not None
    assert image["Config"]["Cmd"] == ["/out/x"]
    client.docker.tag_image(NAME, "nixbk-test/other", "tag")
    other = client.docker.inspect_image("nixbk-test/other:tag")
    assert other is not None
    assert other["Id"] == image["Id"]
    assert client.docker.inspect_image("nixbk-test/absent:latest") is None


def test_docker_refuses_what_is_no_archive(client: Client) -> None:
    """Docker's own words come with the error."""
    if not client.is_docker:
        pytest.skip("the builder is not Docker's")
    with pytest.raises(BuilderError, match=r"^docker "):
        client.docker.load_image([b"no archive", b"at all"])


def test_docker_keeps_an_image(client: Client, session: Session, steps: Steps) -> None:
    """The exporter moby puts an image into Docker's store without a detour."""
    if not client.is_docker:
        pytest.skip("the builder is not Docker's")
    answer = _export(client, session, steps, Exporter("moby", {"name": NAME}))
    image = client.docker.inspect_image(NAME)
    assert image is not None
    assert image["Config"]["Cmd"] == ["/out/x"]
    if client.docker.info().containerd_store:
        assert image["Id"] == answer["containerimage.digest"]


def test_docker_tells_what_it_is(client: Client) -> None:
    """Version and image store of an engine are told."""
    if not client.is_docker:
        pytest.skip("the builder is not Docker's")
    found = client.docker.info()
    assert found.version
    assert found.platform == "linux/amd64"


@pytest.mark.usefixtures("containerd_store")
def test_a_registry_takes_and_tells(client: Client, session: Session, steps: Steps) -> None:
    """A pushed image's configuration is read back; an image that is not there is None."""
    registry = start("registry")["NIXBK_TEST_REGISTRY"]
    name = f"{registry}/nixbk-test/exports"
    attrs = {"name": f"{name}:latest", "push": "true", "registry.insecure": "true"}
    _export(client, session, steps, Exporter("image", attrs))
    with client.build(session) as build:
        found = build.resolve_image_config(f"{name}:latest")
        assert found is not None
        assert found["config"] == {"Cmd": ["/out/x"]}
        assert build.resolve_image_config(f"{name}:absent") is None
        build.finish(Result())
