"""The engines: what each runs, where it answers, and how it is told to be well.

Effect: daemons, network interfaces, files below RUN and the cache.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dev.kit.places import CACHE, locked, need_root, write_atomically
from dev.kit.process import Daemon, DaemonError, supervised
from dev.kit.programs import MINIPKGS, buildkit, prepare_minipkgs, s3_server, tools
from dev.kit.shell import need, note
from dev.kit.trees import FORKY, INSIDE, TRIXIE, Tree

CGROUPS = Path("/sys/fs/cgroup")
REGISTRY = ("127.0.0.1", 5065)
MIRROR = ("127.0.0.1", 8642)
S3 = ("127.0.0.1", 8643)
S3_KEY, S3_SECRET = "AKIDLOOPBACK", "not-so-secret"
PING_TIMEOUT_S = 5.0
# a busy disk may keep one from answering in time
START_ATTEMPTS = 3
# Docker waits for a containerd of its own 15 seconds, and one reads its whole database first, which
# takes longer when that is large and the disk busy
WITH_CONTAINERD = """
containerd --config "$1" & shift
until [ -S /run/containerd/containerd.sock ]; do kill -0 $! || exit; sleep 0.1; done
exec "$@"
"""
CONTAINERD_TOML = """\
version = 2
root = "/var/lib/docker/containerd/daemon"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd/containerd.sock"
[debug]
level = "warn"
"""
# the first Docker whose BuildKit is on for everybody
OLDEST_DOCKER = 23


@dataclass(frozen=True, slots=True)
class Engine:
    """A daemon that can be fetched, started, and then answers somewhere.

    Attributes:
        name: of the engine, on the command line and below RUN.
        about: what it is, in a few words.
        environment: the variables by which clients find it.
        prepare: fetches what is missing and returns the command to run.
        answers: whether it answers now.
        clean: removes what it leaves on the machine outside of its namespaces.
        lay_out: makes what each checkout needs for itself, though the engine may run already.
    """

    name: str
    about: str
    environment: Mapping[str, str]
    prepare: Callable[[Daemon, Path], Sequence[str | Path]]
    answers: Callable[[], bool]
    clean: Callable[[], None] = field(default=lambda: None)
    lay_out: Callable[[], object] = field(default=lambda: None)

    @property
    def daemon(self) -> Daemon:
        """Its process."""
        return Daemon(self.name)

    @property
    def state(self) -> Path:
        """Where its images and caches are."""
        return CACHE / "state" / self.name

    def up(self) -> bool:
        """Whether it runs and answers."""
        return self.daemon.pid() is not None and self.answers()

    def start(self) -> None:
        """Start it unless it is up; returns when it answers.

        Raises:
            KitError: something could not be fetched, or it did not start.
        """
        with self._locked():
            self.lay_out()
            if self.up():
                return
            for left in reversed(range(START_ATTEMPTS)):
                note(f"starting {self.name}")
                try:
                    self._start()
                    break
                except DaemonError as error:
                    if not left:
                        raise
                    note(f"{error}\n  trying again")

    def stop(self) -> None:
        """End it and everything it started; nothing happens when it is down."""
        with self._locked():
            self._stop()

    def reset(self) -> None:
        """Stop it and forget its images, containers and caches."""
        with self._locked():
            self._stop()
            shutil.rmtree(self.state, ignore_errors=True)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.daemon.folder.with_name(f".{self.name}.lock"))

    def _start(self) -> None:
        self._stop()
        self.daemon.folder.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(parents=True, exist_ok=True)
        command = self.prepare(self.daemon, self.state)
        self.daemon.start(command, ready=self.answers)

    def _stop(self) -> None:
        self.daemon.stop()
        self.clean()
        for file in self.daemon.folder.glob("*.sock"):
            file.unlink()


def docker(name: str, tree: Tree, subnet: int, *, containerd_store: bool) -> Engine:
    """A Docker daemon out of a tree.

    Args:
        name: of the engine.
        tree: where its programs come from.
        subnet: the third number of its bridge's address; also names the bridge.
        containerd_store: False for the image store Docker had before.
    """
    daemon = Daemon(name)
    bridge = f"nixbk{subnet}"
    host = f"unix://{daemon.folder}/docker.sock"

    def prepare(daemon: Daemon, state: Path) -> Sequence[str | Path]:
        need_root(f"starting {name}")
        folder = tree.make()
        tools()
        # nothing here may change the machine's firewall or routes
        off = ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy")
        settings = {
            "hosts": ["unix:///run/engine/docker.sock"],
            "containerd": "/run/containerd/containerd.sock",
            "features": {"containerd-snapshotter": containerd_store},
            "bridge": _add_bridge(bridge, f"10.213.{subnet}.1/24"),
            "cgroup-parent": f"/nixbk-{name}",
            **dict.fromkeys(off, False),
        }
        write_atomically(daemon.folder / "daemon.json", json.dumps(settings, indent=1) + "\n")
        write_atomically(daemon.folder / "containerd.toml", CONTAINERD_TOML)
        binds = [f"{daemon.folder}:run/engine", f"{state}:var/lib/docker"]
        command = ["sh", "-c", WITH_CONTAINERD, "sh", "/run/engine/containerd.toml"]
        command += ["dockerd", "--config-file", "/run/engine/daemon.json"]
        return [INSIDE, "ro", folder, *binds, "--", *supervised(*command)]

    def clean() -> None:
        _remove_bridge(bridge)
        _remove_cgroups(f"nixbk-{name}")

    store = "containerd" if containerd_store else "classic"
    return Engine(
        name=name,
        about=f"Docker of Debian {tree.release}, {store} image store",
        environment={"DOCKER_HOST": host},
        prepare=prepare,
        answers=lambda: docker_version(host) is not None,
        clean=clean,
    )


def buildkitd() -> Engine:
    """A BuildKit daemon of its own."""
    daemon = Daemon("buildkitd")
    socket_file = daemon.folder / "buildkitd.sock"

    def prepare(daemon: Daemon, state: Path) -> Sequence[str | Path]:
        need_root("starting buildkitd")
        need("runc")
        folder = buildkit()
        config = daemon.folder / "buildkitd.toml"
        write_atomically(config, '[worker.oci]\ndefaultCgroupParent = "/nixbk-buildkitd"\n')
        options = ["--config", str(config), "--root", str(state), "--addr", f"unix://{socket_file}"]
        options += ["--oci-worker-snapshotter=overlayfs", "--containerd-worker=false"]
        # a PID namespace wants its own /proc: runc looks itself up there
        proc = ["sh", "-c", 'mount -t proc proc /proc && exec "$@"', "sh"]
        return [*proc, *supervised(folder / "buildkitd", *options)]

    return Engine(
        name="buildkitd",
        about="standalone buildkitd, overlayfs, default network is the machine's",
        environment={"BUILDKIT_HOST": f"unix://{socket_file}"},
        prepare=prepare,
        answers=lambda: _accepts(str(socket_file)),
        clean=lambda: _remove_cgroups("nixbk-buildkitd"),
    )


def registry() -> Engine:
    """The distribution registry, without TLS or passwords, on loopback."""
    address = "{}:{}".format(*REGISTRY)

    def prepare(daemon: Daemon, state: Path) -> Sequence[str | Path]:
        tools()
        # JSON is YAML
        settings = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(state)}, "delete": {"enabled": True}},
            "http": {"addr": address},
        }
        config = daemon.folder / "config.yml"
        write_atomically(config, json.dumps(settings) + "\n")
        serve = [*FORKY.loader("usr/bin/docker-registry"), "serve", str(config)]
        return supervised(*serve)

    return Engine(
        name="registry",
        about="a registry on loopback, plain HTTP",
        environment={"NIXBK_TEST_REGISTRY": address},
        prepare=prepare,
        answers=lambda: _accepts(REGISTRY),
    )


def mirror() -> Engine:
    """The server that minipkgs' derivations fetch their sources from."""

    def prepare(daemon: Daemon, state: Path) -> Sequence[str | Path]:
        del daemon, state
        prepare_minipkgs()
        serve = Path(__file__).with_name("serve.py")
        return supervised(sys.executable, serve, *map(str, MIRROR), MINIPKGS)

    return Engine(
        name="mirror",
        about="sources of examples/minipkgs over HTTP",
        environment={"NIXBK_TEST_MIRROR": "http://{}:{}".format(*MIRROR)},
        prepare=prepare,
        answers=lambda: _accepts(MIRROR),
        lay_out=lambda: prepare_minipkgs("--seed-only"),
    )


def s3() -> Engine:
    """A server of S3, plain HTTP: what it keeps are files of a folder."""
    address = "{}:{}".format(*S3)

    def prepare(daemon: Daemon, state: Path) -> Sequence[str | Path]:
        del daemon
        keys = f"env ROOT_ACCESS_KEY={S3_KEY} ROOT_SECRET_KEY={S3_SECRET}".split()
        options = f"--port {address} --keep-alive --quiet posix".split()
        return supervised(*keys, s3_server(), *options, state)

    return Engine(
        name="s3",
        about="a server of S3 on loopback, plain HTTP",
        environment={
            "NIXBK_TEST_S3": address,
            "NIXBK_TEST_S3_KEY": S3_KEY,
            "NIXBK_TEST_S3_SECRET": S3_SECRET,
        },
        prepare=prepare,
        answers=lambda: _accepts(S3),
    )


ENGINES = {
    engine.name: engine
    for engine in (
        docker("docker-28", FORKY, 28, containerd_store=True),
        docker("docker-28-classic", FORKY, 128, containerd_store=False),
        docker("docker-26", TRIXIE, 26, containerd_store=True),
        docker("docker-26-classic", TRIXIE, 126, containerd_store=False),
        buildkitd(),
        registry(),
        mirror(),
        s3(),
    )
}


def machine_docker() -> str | None:
    """The DOCKER_HOST of a Docker that this machine has anyway, or None."""
    for host in filter(None, (os.environ.get("DOCKER_HOST"), "unix:///var/run/docker.sock")):
        version = docker_version(host)
        if version and int(version.partition(".")[0]) >= OLDEST_DOCKER:
            return host
    return None


def machine_buildkitd() -> str | None:
    """The BUILDKIT_HOST of a buildkitd that this machine has anyway, or None.

    Only unix and plain TCP addresses are tried.
    """
    for host in (os.environ.get("BUILDKIT_HOST", ""), "unix:///run/buildkit/buildkitd.sock"):
        parts = urlsplit(host)
        if parts.scheme == "unix" and _accepts(parts.path):
            return host
        if parts.scheme == "tcp" and _accepts((parts.hostname or "", parts.port or 0)):
            return host
    return None


def docker_version(host: str) -> str | None:
    """The version of the daemon at *host*, or None when it does not answer.

    Anything but a unix socket is left to the docker client, which knows about TLS.

    Source: Docker's API, ``GET /version``.
    """
    try:
        if not host.startswith("unix://"):
            command = ["docker", "--host", host, "version", "--format", "{{.Server.Version}}"]
            said = subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=PING_TIMEOUT_S
            )
            return said.stdout.strip()
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.settimeout(PING_TIMEOUT_S)
            connection.sock.connect(host.removeprefix("unix://"))
            connection.request("GET", "/version")
            return str(json.loads(connection.getresponse().read())["Version"])
    except (OSError, ValueError, KeyError, http.client.HTTPException, subprocess.SubprocessError):
        return None


def _accepts(address: str | tuple[str, int]) -> bool:
    """Whether somebody listens at *address*."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as client:
        client.settimeout(PING_TIMEOUT_S)
        return client.connect_ex(address) == 0


def _add_bridge(name: str, address: str) -> str:
    """A network interface for containers; ``none`` where the kernel has no bridges."""
    need("ip")
    if Path("/sys/class/net", name).exists():
        return name
    commands = (
        ["ip", "link", "add", name, "type", "bridge"],
        ["ip", "address", "add", address, "dev", name],
        ["ip", "link", "set", name, "up"],
    )
    for command in commands:
        if subprocess.run(command, check=False, capture_output=True).returncode:
            _remove_bridge(name)
            return "none"
    return name


def _remove_bridge(name: str) -> None:
    if Path("/sys/class/net", name).exists():
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def _remove_cgroups(name: str) -> None:
    """Remove the empty control groups that an engine's containers leave, v1 or v2."""
    for pattern in (name, f"*/{name}"):
        for top in CGROUPS.glob(pattern):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
