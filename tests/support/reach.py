"""Whether a builder is reached, and what is told when it is not. Talks to builders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sleeper import CHILD, Sleeper

from nixbk.buildkit.client import connect
from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.protocols import Result
from nixbk.buildkit.session import Attachables

if TYPE_CHECKING:
    from buildkit_steps import Steps

    from nixbk.buildkit.address import BuilderAddress


def build(address: BuilderAddress, steps: Steps) -> None:
    """Run a step that needs the session, and read what it leaves; ask Docker what it is."""
    with (
        connect(address) as client,
        client.session(Attachables(uploads=steps.uploads)) as session,
        client.build(session) as build,
    ):
        ref = build.solve(steps.definition("echo hello > out/x"))
        assert ref is not None
        assert build.read_file(ref, "out/x") == b"hello\n"
        build.finish(Result(ref))
        if client.is_docker:
            assert client.docker.info().platform == "linux/amd64"


def fault(address: BuilderAddress) -> tuple[str, str | None]:
    """What is told when nobody can be connected to at *address*, and what is to be done."""
    with pytest.raises(ConnectError) as caught:
        connect(address)
    return caught.value.message, caught.value.hint


def killed(address: str, busybox: bytes, folder: Path) -> bool:
    """Kill a client while its step runs, and tell whether the step ends soon after."""
    sleeper, program = Sleeper(), folder / "busybox"
    program.write_bytes(busybox)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, address, program, sleeper.script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.DEVNULL,
    ) as child:
        assert sleeper.await_state(running=True, within_s=60)
        child.send_signal(signal.SIGKILL)
    return sleeper.await_state(running=False, within_s=10)
