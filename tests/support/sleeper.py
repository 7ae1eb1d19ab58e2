"""A command that runs on a builder until it is ended, and a client in a process of its own.

Effect: reads ``/proc``.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Final

CHILD: Final = """
import os, sys
from pathlib import Path
from buildkit_steps import Steps
from nixbk.buildkit.address import parse_address
from nixbk.buildkit.client import connect
from nixbk.buildkit.session import Attachables

steps = Steps(Path(sys.argv[2]).read_bytes())
with (
    connect(parse_address(sys.argv[1], os.environ)) as client,
    client.session(Attachables(uploads=steps.uploads)) as session,
    client.build(session) as build,
):
    build.solve(steps.definition(sys.argv[3]))
"""


class Sleeper:
    """A command that sleeps for 600 s and can be told from all others."""

    def __init__(self) -> None:
        self.seconds = f"600.{secrets.randbelow(10**9):09}"
        self.script = f"sleep {self.seconds}"

    def runs(self) -> bool:
        """Whether it runs on this machine, in whatever container."""
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if words[:2] == [b"sleep", self.seconds.encode()]:
                    return True
        return False

    def await_state(self, *, running: bool, within_s: float) -> bool:
        """Wait until it runs, or until it does not, and tell whether that came about."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if self.runs() == running:
                return True
            time.sleep(0.02)
        return False
