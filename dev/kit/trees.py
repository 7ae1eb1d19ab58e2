"""Whole Debian systems in folders of the cache, and programs run from them.

A tree is made by debootstrap from the archive that the machine's own apt uses,
so the newest programs are there whatever release the machine itself is. Trees
are only read once made; several engines share one.

Effect: network, processes, files below the cache.
"""

import os
import platform
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from dev.kit.places import BIN, CACHE, KitError, key, made, need_root, write_atomically
from dev.kit.shell import apt_get, need, note, run

INSIDE = Path(__file__).with_name("inside.sh")
COMMON = (
    "ca-certificates",
    "containerd",
    "docker-buildx",
    "docker-cli",
    "docker.io",
    "iproute2",
    "iptables",
    "nix-bin",
    "procps",
    "runc",
)
# machine -> (library folder, dynamic loader), as Debian lays them out
LOADERS = {
    "x86_64": ("usr/lib/x86_64-linux-gnu", "lib64/ld-linux-x86-64.so.2"),
    "aarch64": ("usr/lib/aarch64-linux-gnu", "lib/ld-linux-aarch64.so.1"),
}
# of no use to an engine, and a third of the bytes
UNUSED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/lib/cni", "var/cache/apt")


@dataclass(frozen=True, slots=True)
class Tree:
    """One Debian system.

    Attributes:
        release: Debian's code name for it.
        packages: what it has beyond the minimum.
    """

    release: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it lies once made."""
        return CACHE / "trees" / f"{self.release}-{key(self.release, *self.packages, *UNUSED)}"

    def make(self) -> Path:
        """The folder, made first if it is not there."""
        return made(self.folder, self._fill)

    def _fill(self, folder: Path) -> None:
        need_root(f"fetching Debian {self.release}")
        need("debootstrap", "unshare", "pivot_root")
        note(f"fetching Debian {self.release} (once, one to two minutes)")
        # releases newer than debootstrap itself have no script of their own
        command: list[str | Path] = ["debootstrap", "--variant=minbase", self.release, folder]
        run([*command, archive(), "sid"])
        # packages must not start their services in here
        write_atomically(folder / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
        # what the machine's own are bound onto
        for name in ("etc/hosts", "etc/resolv.conf"):
            (folder / name).touch()
        # a testing release seen through an old mirror is still the one we want
        apt = ["apt-get", "-q", "-y", "-oAcquire::Check-Valid-Until=false", "-oAcquire::Retries=3"]
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
        for step in ("update", "-f install"):
            self._run_writable(folder, [*quiet, *apt, *step.split()])
        # a tree that is half written is thrown away, so nothing needs to be synced
        install = ["-oDpkg::Options::=--force-unsafe-io", "install", "--no-install-recommends"]
        self._run_writable(folder, [*quiet, *apt, *install, *self.packages])
        for name in UNUSED:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("etc/docker", "var/lib/docker", "var/lib/containerd", "opt/containerd"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def _run_writable(self, folder: Path, command: list[str]) -> None:
        run([*UNSHARE, INSIDE, "rw", folder, "--", *command])

    def loader(self, program: str, name: str | None = None) -> list[str]:
        """The command that runs one of the tree's programs on the machine's own root.

        Args:
            program: its path in the tree.
            name: what it is to find as ``argv[0]``.

        Source: ld.so(8), ``--library-path`` and ``--argv0``.
        """
        if platform.machine() not in LOADERS:
            raise KitError(f"no development engines for {platform.machine()!r} machines")
        libraries, loader = LOADERS[platform.machine()]
        folder = self.folder
        arguments = ["--library-path", str(folder / libraries), "--argv0", name or program]
        return [str(folder / loader), *arguments, str(folder / program)]


# fresh mount and PID namespaces; what is in them dies with the unshare process
AS_ROOT: tuple[str, ...] = () if os.geteuid() == 0 else ("--map-root-user",)
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", *AS_ROOT)
FORKY = Tree("forky", (*COMMON, "crane", "docker-registry", "skopeo"))
TRIXIE = Tree("trixie", COMMON)


def archive() -> str:
    """The address of the Debian archive that this machine's apt uses.

    Raises:
        KitError: apt has none.

    Source: apt-get(8), ``indextargets``.
    """
    query = ["--format", "$(REPO_URI)", "Identifier: Packages"]
    query += ["Origin: Debian", "Label: Debian", "Component: main"]
    found = apt_get("indextargets", *query).split()
    if not found:
        apt_get("update")
        found = apt_get("indextargets", *query).split()
    if not found:
        raise KitError("this machine's apt knows no Debian archive")
    return found[0].rstrip("/")


def wrapper(
    name: str, command: list[str], *, lines: tuple[str, ...] = (), folder: Path = BIN
) -> Path:
    """Write an executable that becomes *command* with its own arguments appended.

    Args:
        name: of the executable.
        command: what it becomes.
        lines: shell lines to run before, such as exports.
        folder: where it is put.
    """
    text = "\n".join(["#!/bin/sh", *lines, f'exec {shlex.join(command)} "$@"', ""])
    write_atomically(folder / name, text, mode=0o755)
    return folder / name
