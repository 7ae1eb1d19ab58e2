"""Where the parts of engines lie, for tests that start engines of their own kind.

    python -m dev.kit.parts     fetch what is missing, print {name: path} as JSON

Effect: network, package managers, processes, files below the cache; stdout.
"""

import json
import os
import platform
import shutil
import sys
from pathlib import Path

from dev.kit.places import CACHE, KitError, key, made
from dev.kit.programs import buildkit, tools
from dev.kit.shell import apt_get, need, note, run
from dev.kit.trees import FORKY, INSIDE, LOADERS


def parts() -> dict[str, str]:
    """The paths by name; fetches what is missing.

    ``libraries`` is what the loader wants to know to run ``sshd``, or empty.
    """
    need("runc", "unshare")
    tools()
    sshd, libraries = _sshd()
    return {
        "buildkit": str(buildkit()),
        "inside": str(INSIDE),
        "libraries": libraries,
        "runc": shutil.which("runc") or "",
        "sshd": sshd,
        "tree": str(FORKY.make()),
    }


def _sshd() -> tuple[str, str]:
    """A daemon for ssh, the machine's own or one unpacked, and its libraries."""
    own = shutil.which("sshd", path=os.pathsep.join(("/usr/sbin", "/usr/local/sbin")))
    if own:
        return own, ""
    folder = made(CACHE / "tools" / f"openssh-{key('openssh-server')}", _unpack_sshd)
    library = folder / LOADERS[platform.machine()][0]
    return str(
        folder / "usr/sbin/sshd"
    ), f"{library}:{folder}/{library.relative_to(folder / 'usr')}"


def _unpack_sshd(folder: Path) -> None:
    """Unpack the package and what it needs; to install it would start a server."""
    need("dpkg-deb")
    note("fetching openssh-server")
    download = folder.with_name(f"{folder.name}.download")
    download.mkdir(parents=True, exist_ok=True)
    apt_get("update")
    where = f"-oDir::Cache::archives={download}"
    apt_get("install", "--download-only", "--no-install-recommends", where, "openssh-server")
    for package in download.glob("*.deb"):
        run(["dpkg-deb", "-x", package, folder])
    shutil.rmtree(download)


if __name__ == "__main__":
    try:
        print(json.dumps(parts()))
    except KitError as error:
        sys.exit(f"engines: {error}")
