"""Ways to a builder that need no machine of their own, with a real one at their end."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from engines import start
from reach import build

from nixbk.buildkit.address import parse_address, resolve_builder
from nixbk.buildkit.client import connect
from nixbk.buildkit.errors import ConnectError

if TYPE_CHECKING:
    from pathlib import Path

    from buildkit_steps import Steps

STAND_IN = """#!/bin/sh
echo "$*" > "$CALLS"
exec "$BUILDCTL" --addr "$BUILDKIT" dial-stdio
"""


def test_a_builder_is_reached_by_kubectl(
    builder: str, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for kubectl runs here what comes after a pod's name."""
    if builder.startswith("docker"):
        pytest.skip("dial-stdio of buildctl needs a socket of buildkitd")
    (tmp_path / "kubectl").write_text(STAND_IN)
    (tmp_path / "kubectl").chmod(0o755)
    buildctl = f"{start('buildctl')['NIXBK_DEV_BIN']}/buildctl"
    variables = {"BUILDCTL": buildctl, "BUILDKIT": builder, "CALLS": str(tmp_path / "calls")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    build(parse_address("kube-pod://name?namespace=builds", os.environ), steps)
    called = (tmp_path / "calls").read_text()
    assert called == "--namespace=builds exec -i name -- buildctl dial-stdio\n"


def test_a_docker_context_leads_to_its_engine(builder: str, tmp_path: Path, steps: Steps) -> None:
    """A context made by docker itself is found as the current one."""
    if not builder.startswith("docker"):
        pytest.skip("the builder is not Docker's")
    bin_folder = start("tools")["NIXBK_DEV_BIN"]
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
    build(chosen, steps)
    build(parse_address("docker://far", environ), steps)


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
