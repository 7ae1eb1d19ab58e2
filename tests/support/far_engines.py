"""Engines of a test's own, reached as those of other machines are: by TLS, ssh, in a container.

Each runs in namespaces of its own: the kernel ends what it started when it ends.
Effect: processes, ports on loopback, containers, all gone when the block is left.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from engines import ROOT

from nixbk.buildkit.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# the first ends with this process, however that ends; the second takes all the others with it
APART: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
)
START_TIMEOUT_S: Final = 60.0

# sshd wants a user and a folder below /run; the builder is found where it is on its own machine
SSHD: Final = """
set -eu
mount -t proc proc /proc
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mkdir -p run
mount --rbind /run run
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd /run/buildkit
ln -s "$1" "$2"
shift 2
exec "$@"
"""


@cache
def parts() -> dict[str, str]:
    """Where the parts of engines lie, see ``dev/kit/parts.py``; only root may start them."""
    if os.geteuid() != 0:
        pytest.skip("starting engines needs root")
    command = [sys.executable, "-m", "dev.kit.parts"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, str] = json.loads(done.stdout)
    return found


class Certificates:
    """A root, and certificates of a server on loopback and of a client, made by openssl.

    Args:
        folder: for all files.
        address: a further address of the server.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder = folder
        ca = "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=root"
        self._run(ca)
        (folder / "ext").write_text(
            f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{address},DNS:buildkitd.test\n"
        )
        for name, stem in (("server", "server-"), ("client", "")):
            new = f"req -newkey rsa:2048 -nodes -keyout {stem}key.pem -out {name}.csr"
            self._run(f"{new} -subj /CN={name}")
            self._run(
                f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
                f"-out {stem}cert.pem -days 2 -extfile ext"
            )

    @property
    def client(self) -> TlsFiles:
        """What a client has."""
        return TlsFiles.from_folder(self.folder)

    @property
    def server(self) -> tuple[str, str, str]:
        """Root, certificate and key of a server that asks its clients for theirs."""
        names = ("ca.pem", "server-cert.pem", "server-key.pem")
        ca, certificate, key = (str(self.folder / name) for name in names)
        return ca, certificate, key

    def _run(self, arguments: str) -> None:
        command = ["openssl", *arguments.split()]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens at *port* of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, ready: Callable[[], bool], **environ: str
) -> Iterator[None]:
    """Run *command* in namespaces of its own, from *ready* on until the block is left."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*APART, "--", *command],
            cwd=folder,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"it did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def tcp_buildkitd(
    folder: Path,
    certificates: Certificates | None,
    size_mb: int | None = None,
    options: Sequence[str] = (),
) -> Iterator[int]:
    """A buildkitd at a port; the port.

    Args:
        folder: for its files; what it builds is below ``root``.
        certificates: its own; it then asks its clients for theirs.
        size_mb: of a disk for ``root``, which nobody else sees; None for that of *folder*.
        options: further ones of its command line.
    """
    port, group = free_port(), f"nixbk-test-{secrets.token_hex(4)}"
    config, root = folder / "buildkitd.toml", folder / "root"
    config.write_text(f'[worker.oci]\ndefaultCgroupParent = "/{group}"\n')
    script = "mount -t proc proc /proc"
    if size_mb is not None:
        root.mkdir()
        script += f' && mount -t tmpfs -o mode=711,size={size_mb}m tmpfs "$0"'
    command: list[str | Path] = [
        *("sh", "-c", f'{script} && exec "$@"', root),
        f"{parts()['buildkit']}/buildkitd",
        *("--config", config, "--root", root, "--addr", f"tcp://127.0.0.1:{port}"),
        *("--oci-worker-snapshotter=overlayfs", "--containerd-worker=false"),
        *options,
    ]
    if certificates is not None:
        ca, certificate, key = certificates.server
        command += ["--tlscacert", ca, "--tlscert", certificate, "--tlskey", key]
    with running(command, folder, lambda: listens(port)):
        yield port
    remove_cgroups(group)


@contextlib.contextmanager
def tls_dockerd(folder: Path, certificates: Certificates) -> Iterator[int]:
    """A dockerd that listens with ``--tlsverify``; its port."""
    port, group = free_port(), f"nixbk-test-{secrets.token_hex(4)}"
    inner = Path("/run/engine")
    ca, certificate, key = (str(inner / Path(path).name) for path in certificates.server)
    off = ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy")
    settings = {
        "hosts": [f"tcp://127.0.0.1:{port}"],
        "tlsverify": True,
        "tlscacert": ca,
        "tlscert": certificate,
        "tlskey": key,
        "bridge": "none",
        "cgroup-parent": f"/{group}",
        **dict.fromkeys(off, False),
    }
    engine, state = folder / "engine", folder / "state"
    shutil.copytree(certificates.folder, engine)
    state.mkdir()
    (engine / "daemon.json").write_text(json.dumps(settings))
    command = [parts()["inside"], "ro", parts()["tree"]]
    command += [f"{engine}:run/engine", f"{state}:var/lib/docker"]
    command += ["--", "dockerd", "--config-file", str(inner / "daemon.json")]
    with running(command, folder, lambda: listens(port)):
        yield port
    remove_cgroups(group)


@contextlib.contextmanager
def ssh_server(folder: Path, builder: str, path: str) -> Iterator[int]:
    """An sshd, on a machine with one builder, that lets root in by a key; its port.

    Args:
        folder: for its files and the client's: ``bin/ssh`` has the key and knows the machine
            from ``known``; ``stranger.pub`` is the key of nobody.
        builder: the address of the builder, which is found at the usual socket over there.
        path: what PATH is over there.
    """
    port = free_port()
    for name in ("host", "user", "stranger"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name]
        subprocess.run(key, cwd=folder, check=True)
    host = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host}")
    shutil.copy(folder / "user.pub", folder / "authorized")
    users = "root:x:0:0:root:/root:/bin/sh\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(users)
    (folder / "shadow").write_text("root:*:1::::::\nsshd:*:1::::::\n")
    server = (
        ("ListenAddress", f"127.0.0.1:{port}"),
        ("HostKey", folder / "host"),
        ("AuthorizedKeysFile", folder / "authorized"),
        ("AuthenticationMethods", "publickey"),
        ("StrictModes", "no"),
        ("UsePAM", "no"),
        ("UseDNS", "no"),
        ("PermitUserRC", "no"),
        ("PidFile", "none"),
        ("SetEnv", f'PATH="{path}"'),
    )
    client = (
        ("IdentityFile", folder / "user"),
        ("IdentitiesOnly", "yes"),
        ("IdentityAgent", "none"),
        ("UserKnownHostsFile", folder / "known"),
        ("GlobalKnownHostsFile", "/dev/null"),
        ("StrictHostKeyChecking", "yes"),
        ("BatchMode", "yes"),
    )
    for name, lines in (("sshd_config", server), ("config", client)):
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in lines))
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
    usual = "docker.sock" if builder.startswith("docker+") else "buildkit/buildkitd.sock"
    target = Path(os.path.relpath(Path(builder.partition("unix://")[2]).resolve(), "/run"))
    where: list[str | Path] = [folder / "run" / target, f"/run/{usual}"]
    server_config = folder / "sshd_config"
    command = ["sh", "-c", SSHD, "sh", *where, parts()["sshd"], "-D", "-e", "-f", server_config]
    libraries = {"LD_LIBRARY_PATH": parts()["libraries"]} if parts()["libraries"] else {}
    with running(command, folder, lambda: listens(port), **libraries):
        yield port


def _with_libraries(program: str) -> set[str]:
    """The files that *program* is run from."""
    said = subprocess.run(["ldd", program], check=False, capture_output=True, text=True).stdout
    return {program, *re.findall(r"(?:=> |^\s+)(/\S+) \(", said, re.MULTILINE)}


def buildkit_image() -> bytes:
    """The files of an image with buildkitd, buildctl and runc, and nothing else, as a tarball."""
    files = {
        f"/usr/bin/{name}": f"{parts()['buildkit']}/{name}" for name in ("buildkitd", "buildctl")
    }
    files |= {path: path for path in _with_libraries(parts()["runc"])}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in ("tmp", "run", "var/lib/buildkit"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, path in files.items():
            archive.add(Path(path).resolve(), name.removeprefix("/"))
    return data.getvalue()


@contextlib.contextmanager
def buildkit_container() -> Iterator[str]:
    """A container in which buildkitd runs, in the Docker of DOCKER_HOST; its name."""
    name = f"nixbk-test-{secrets.token_hex(4)}"
    image = ["docker", "import", "-", name]
    subprocess.run(image, input=buildkit_image(), check=True, capture_output=True)
    container = ["docker", "run", "--detach", "--privileged", "--name", name]
    container += ["--volume", "/var/lib/buildkit", name, "/usr/bin/buildkitd"]
    try:
        subprocess.run(container, check=True, capture_output=True)
        workers = ["docker", "exec", name, "buildctl", "debug", "workers"]
        end = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(workers, check=False, capture_output=True).returncode:
            if time.monotonic() > end:
                log = subprocess.run(["docker", "logs", name], check=False, capture_output=True)
                pytest.fail(f"it did not start:\n{log.stderr.decode(errors='replace')}")
            time.sleep(0.1)
        yield name
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", name], check=False, capture_output=True)
        subprocess.run(["docker", "rmi", "-f", name], check=False, capture_output=True)


def remove_cgroups(name: str) -> None:
    """Remove the empty control groups that the containers of an engine leave, v1 or v2."""
    for pattern in (name, f"*/{name}"):
        for top in Path("/sys/fs/cgroup").glob(pattern):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
