"""Starts daemons that outlive the shell, and ends them whole.

A daemon runs below ``unshare`` in its own PID and mount namespaces: when that
process ends the kernel ends everything it started and drops every mount, so a
stop leaves nothing behind however the daemon died.

Effect: processes, signals, files below RUN.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.kit.places import RUN, KitError, write_atomically
from dev.kit.shell import need
from dev.kit.trees import UNSHARE

# PID 1 of the namespace: reaps what is orphaned, and ends the daemon gently
SUPERVISOR = '"$@" & daemon=$!; trap "kill $daemon" TERM; wait $daemon; wait $daemon'
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 30
LOG_LINES = 15


class DaemonError(KitError):
    """A daemon ended while it started, or never answered."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One background process and what it started.

    Attributes:
        name: of the engine; names its folder below RUN.
    """

    name: str

    @property
    def folder(self) -> Path:
        """Sockets, the process record and the log."""
        return RUN / self.name

    @property
    def log(self) -> Path:
        """What the daemon says."""
        return self.folder / "log"

    @property
    def record(self) -> Path:
        """Process id and start time of the ``unshare`` process."""
        return self.folder / "pid"

    def pid(self) -> int | None:
        """The ``unshare`` process, or None when it no longer runs.

        The start time tells it from a later process of the same number.
        """
        with contextlib.suppress(OSError, ValueError):
            pid, started = self.record.read_text().split()
            if _started(int(pid)) == started:
                return int(pid)
        return None

    def start(self, command: Sequence[str | Path], *, ready: Callable[[], bool]) -> None:
        """Run *command* in the background and wait until *ready*.

        Args:
            command: runs in new namespaces, below the supervisor or exec'ing it.
            ready: whether the daemon answers; asked ten times a second.

        Raises:
            DaemonError: it ended or did not answer; the end of its log is shown.
            KitError: there is no unshare.
        """
        need("unshare")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*UNSHARE, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        write_atomically(self.record, f"{process.pid} {_started(process.pid)}\n")
        deadline = time.monotonic() + START_TIMEOUT_S
        # a stranger may answer at the same address, so the process is looked at first
        while process.poll() is not None or not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
                raise DaemonError("\n  ".join([f"{self.name} did not start:", *tail]))
            time.sleep(0.1)
        # it is to outlive this program, which therefore never waits for it
        process.returncode = 0

    def stop(self) -> None:
        """End the daemon, gently first; nothing happens when it does not run."""
        pid = self.pid()
        if pid is not None:
            for child in _children(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM)
            if not self._gone(STOP_TIMEOUT_S):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self._gone(STOP_TIMEOUT_S)
        self.record.unlink(missing_ok=True)

    def _gone(self, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while self.pid() is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.pid() is None


def supervised(*command: str | Path) -> list[str | Path]:
    """*command* below a small PID 1."""
    return ["sh", "-c", SUPERVISOR, "sh", *command]


def _started(pid: int) -> str:
    """When *pid* started, in clock ticks since boot; empty when there is none.

    A zombie counts as ended. Source: proc_pid_stat(5), fields 3 and 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
