"""What runs on the builder ends when the client does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sleeper import CHILD, Sleeper

from nixbk.buildkit.errors import BuildCancelledError

if TYPE_CHECKING:
    from buildkit_steps import Steps

    from nixbk.buildkit.build import GatewayBuild
    from nixbk.buildkit.client import Client
    from nixbk.buildkit.session import Session


@pytest.fixture
def sleeper(builder: str) -> Sleeper:
    """A sleeper on a builder whose processes can be seen from here."""
    if "unix://" not in builder:
        pytest.skip("the builder is on another machine")
    return Sleeper()


def _solve(build: GatewayBuild, steps: Steps, script: str, ends: list[object]) -> None:
    try:
        build.solve(steps.definition(script))
    except BuildCancelledError as error:
        ends.append(str(error))


def test_cancel_ends_the_step(
    client: Client, session: Session, steps: Steps, sleeper: Sleeper
) -> None:
    """After cancel from another thread, leaving the block finds nothing running."""
    ends: list[object] = []
    with client.build(session) as build:
        thread = threading.Thread(target=_solve, args=(build, steps, sleeper.script, ends))
        thread.start()
        assert sleeper.await_state(running=True, within_s=30)
        build.cancel()
        thread.join(5)
    assert ends == ["the build was cancelled"]
    assert sleeper.await_state(running=False, within_s=1)


def test_an_exception_ends_the_step(
    client: Client, session: Session, steps: Steps, sleeper: Sleeper
) -> None:
    """An exception that leaves the block ends what other threads still wait for."""
    ends: list[object] = []

    def fail_within() -> None:
        with client.build(session) as build:
            thread = threading.Thread(target=_solve, args=(build, steps, sleeper.script, ends))
            thread.start()
            assert sleeper.await_state(running=True, within_s=30)
            raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        fail_within()
    assert sleeper.await_state(running=False, within_s=1)
    assert sleeper.await_state(running=False, within_s=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_step(
    builder: str, sleeper: Sleeper, number: signal.Signals, tmp_path: Path, busybox: bytes
) -> None:
    """However the client's process ends, nothing of it runs on the builder soon after."""
    program = tmp_path / "busybox"
    program.write_bytes(busybox)
    support = Path(__file__).parents[2] / "support"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, builder, program, sleeper.script],
        env={**os.environ, "PYTHONPATH": str(support)},
        stderr=subprocess.PIPE,
    ) as child:
        assert sleeper.await_state(running=True, within_s=30)
        child.send_signal(number)
        try:
            child.communicate(timeout=20)
        finally:
            child.kill()
    assert sleeper.await_state(running=False, within_s=10)


def test_a_cancelled_build_stays_cancelled(client: Client, session: Session, steps: Steps) -> None:
    """Calls after cancel are refused on this side."""
    with client.build(session) as build:
        build.cancel()
        with pytest.raises(BuildCancelledError):
            build.solve(steps.definition("true"))
