"""Builders behind a real sshd and in a real container, by ssh's, Docker's and BuildKit's programs.

Over there is another process tree with its own PATH, where the builder is at the usual socket.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from engines import start
from far_engines import buildkit_container, ssh_server
from reach import build, fault, killed

from nixbk.buildkit.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildkit_steps import Steps

    from nixbk.buildkit.address import BuilderAddress


class Machine(NamedTuple):
    """One that is reached by ssh."""

    folder: Path
    port: int
    scheme: str
    hint: str

    def address(self, user: str = "root", path: str = "") -> BuilderAddress:
        """Its builder's address."""
        return parse_address(f"{self.scheme}://{user}@127.0.0.1:{self.port}{path}", os.environ)

    def fault(self, address: BuilderAddress) -> str:
        """What is told of a builder that cannot be reached, in the words of ssh or buildctl."""
        message, hint = fault(address)
        assert (hint or "").startswith(self.hint)
        return message.removeprefix(f"no builder answers at {address.text!r}: ").removeprefix(
            "docker does not answer: "
        )


@pytest.fixture(scope="module")
def tools(builder: str) -> str:
    """The folder of docker and buildctl."""
    if "unix://" not in builder:
        pytest.skip("the builder is on another machine")
    return start("tools", "buildctl")["NIXBK_DEV_BIN"]


@pytest.fixture(scope="module")
def started(
    builder: str, tools: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine with the builder and the programs."""
    folder = tmp_path_factory.mktemp("ssh")
    is_docker = builder.startswith("docker")
    with ssh_server(folder, builder, f"{tools}:/usr/bin:/bin") as port:
        scheme = "docker+ssh" if is_docker else "ssh"
        yield Machine(folder, port, scheme, "see what this says: ssh -l ")


@pytest.fixture
def machine(started: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The same, with an ssh on PATH that may go there."""
    monkeypatch.setenv("PATH", f"{started.folder}/bin:{os.environ['PATH']}")
    return started


def test_a_builder_is_reached_by_ssh(machine: Machine, builder: str, steps: Steps) -> None:
    """The builder of another machine is at its usual socket, or at one that is named."""
    build(machine.address(), steps)
    socket = f"{machine.folder}/run/{Path(builder.partition('unix://')[2]).relative_to('/run')}"
    build(machine.address(path=socket), steps)
    if machine.scheme == "docker+ssh":
        host = machine.address().text.removeprefix("docker+")
        build(parse_address("docker", {**os.environ, "DOCKER_HOST": host}), steps)


def test_a_client_that_is_killed_ends_its_step_over_ssh(
    machine: Machine, busybox: bytes, tmp_path: Path
) -> None:
    """Nothing is left running over there."""
    assert killed(machine.address().text, busybox, tmp_path)


def test_what_is_wrong_over_ssh_is_told(machine: Machine) -> None:
    """What ssh and the programs over there say is what the user reads."""
    assert machine.fault(machine.address("nobody")) == (
        "nobody@127.0.0.1: Permission denied (publickey)."
    )
    assert machine.fault(machine.address(path="/run/absent.sock")).endswith(
        "dial unix /run/absent.sock: connect: no such file or directory"
    )
    known = machine.folder / "known"
    text = known.read_text()
    known.write_text(f"{text.split()[0]} {(machine.folder / 'stranger.pub').read_text()}")
    try:
        assert machine.fault(machine.address()) == "Host key verification failed."
    finally:
        known.write_text(text)


def test_programs_missing_over_there_are_told(
    builder: str, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without buildctl or docker says so; one that is gone refuses."""
    with ssh_server(tmp_path, builder, "/nowhere") as port:
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        bare = machine._replace(port=port)
        program = "docker" if builder.startswith("docker") else "buildctl"
        assert bare.fault(bare.address()).endswith(f"{program}: not found")
    gone = bare.fault(bare.address())
    # the latter as long as its server is ending
    assert gone.endswith((f"port {port}: Connection refused", f"reset by 127.0.0.1 port {port}"))


@pytest.fixture(scope="module")
def container(builder: str, tools: str) -> Iterator[str]:
    """A container with buildkitd in the Docker that is tested."""
    if not builder.startswith("docker+"):
        pytest.skip("the builder is not Docker's")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", builder.removeprefix("docker+"))
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        with buildkit_container() as name:
            yield name


def test_a_builder_is_reached_in_a_container(
    container: str, builder: str, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the Docker of the environment, and by the one of a context."""
    build(parse_address(f"docker-container://{container}", {}), steps)
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    host = f"host={builder.removeprefix('docker+')}"
    create = ["docker", "context", "create", "far", "--docker", host]
    subprocess.run(create, check=True, capture_output=True)
    build(parse_address(f"docker-container://{container}?context=far", {}), steps)


def test_a_client_that_is_killed_ends_its_step_in_a_container(
    container: str, busybox: bytes, tmp_path: Path
) -> None:
    """Nothing is left running in there."""
    assert killed(f"docker-container://{container}", busybox, tmp_path)


def test_what_is_wrong_with_a_container_is_told(container: str) -> None:
    """What docker says is what the user reads, and what may be tried."""
    for name, told in (
        (f"{container}-absent", f"No such container: {container}-absent"),
        ("absent?context=absent", "no such file or directory"),
    ):
        message, hint = fault(parse_address(f"docker-container://{name}", {}))
        assert message.startswith(f"no builder answers at 'docker-container://{name}': ")
        assert message.endswith(told)
        assert (hint or "").endswith("buildctl debug workers")
