"""Runs programs, and says on stderr what takes time.

Effect: processes; stderr.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dev.kit.places import RUN, KitError, locked, need_root

# program -> Debian package that has it
PACKAGES = {
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "ip": "iproute2",
    "pivot_root": "util-linux",
    "runc": "runc",
    "unshare": "util-linux",
}
# a fetch that is stuck for longer than this will not end
FETCH_TIMEOUT_S = 1200


def note(text: str) -> None:
    """One line for whoever waits."""
    print(f"engines: {text}", file=sys.stderr, flush=True)


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> str:
    """What *command* prints on stdout.

    Raises:
        KitError: it failed; the end of what it said is in the text.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        check=False,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=FETCH_TIMEOUT_S,
    )
    if done.returncode:
        words = " ".join(str(word) for word in command)
        said = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise KitError(f"exit {done.returncode} of `{words}`:\n  {said}")
    return done.stdout


def apt_get(*arguments: str, cwd: Path | None = None) -> str:
    """Run the machine's apt-get, one at a time, without questions."""
    with locked(RUN / ".apt.lock"):
        options = ["-q", "-y", "-oDPkg::Lock::Timeout=600", "-oAcquire::Retries=3"]
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
        return run([*quiet, "apt-get", *options, *arguments], cwd=cwd)


def need(*programs: str) -> None:
    """Install the packages of those *programs* that are not on PATH.

    Raises:
        KitError: no apt-get here, or the package could not be had.
    """
    missing = sorted({PACKAGES[name] for name in programs if shutil.which(name) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise KitError(f"install {', '.join(missing)} first: this machine has no apt-get")
    need_root(f"installing {', '.join(missing)}")
    note(f"installing {', '.join(missing)}")
    apt_get("update")
    apt_get("install", "--no-install-recommends", *missing)
