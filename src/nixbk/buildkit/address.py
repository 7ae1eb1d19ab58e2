"""Where a builder listens: the addresses nixbk accepts, and which of them is used.

    builder  = "docker" ["://" context]          Docker as its own client would reach it
             | "docker+" ( "unix://" path | "tcp://" host | "ssh://" host )
             | "unix://" path
             | "tcp://" host [":" port]
             | "ssh://" [user "@"] host [":" port] [socket path]
             | "docker-container://" container ["?context=" context]
             | "kube-pod://" pod ["?context=" … "&namespace=" … "&container=" …]

Source: BuildKit ``client/connhelper`` and ``cmd/buildctl``. Reads the files that hold Docker's
contexts; connects to a unix socket to see whether somebody listens.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit

from nixbk.buildkit.docker_context import DockerEndpoint, docker_endpoint
from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.tls import NO_TLS, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BUILDKIT: Final = "unix:///run/buildkit/buildkitd.sock"
DEFAULT_TCP_PORT: Final = 1234

SCHEMES: Final = ("docker", "unix", "tcp", "ssh", "docker-container", "kube-pod")
HINT: Final = (
    "start Docker (systemctl start docker), or buildkitd (docker run -d --name buildkitd "
    "--privileged moby/buildkit) and set NIXBK_BUILDER=docker-container://buildkitd"
)

_KUBERNETES_NAME: Final = re.compile(r"[-a-z0-9.]+")


class BuilderAddress(NamedTuple):
    """One builder to talk to.

    Attributes:
        text: the address as written.
        scheme: one of ``SCHEMES``.
        path: of a unix socket; for ssh of the socket on the other side, else empty.
        host: host, container or pod.
        port: of tcp and ssh, 0 for the usual one.
        user: of ssh, else empty.
        query: further options of a container or pod.
        docker: the engine's API for the scheme ``docker``, else None.
        tls: certificates for tcp.
        chosen_by: what named it: ``--builder``, a variable, or ``the default``.
    """

    text: str
    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    query: tuple[tuple[str, str], ...] = ()
    docker: DockerEndpoint | None = None
    tls: TlsFiles = NO_TLS
    chosen_by: str = "--builder"

    def __str__(self) -> str:
        return self.text

    def option(self, name: str) -> str:
        """Return one of the query's options, or an empty text."""
        return dict(self.query).get(name, "")


def parse_address(
    text: str,
    environ: Mapping[str, str],
    *,
    chosen_by: str = "--builder",
    tls: TlsFiles = NO_TLS,
) -> BuilderAddress:
    """Parse a builder's address.

    Raises:
        ConnectError: *text* is no address, or names a Docker context that is not there.
    """
    if text == "docker" or text.startswith(("docker://", "docker+")):
        return _docker(text, environ, chosen_by)
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ConnectError(
            f"{text!r} is no address of a builder", where=chosen_by, hint=f"write one of {known}"
        )
    address = BuilderAddress(text, parts.scheme, chosen_by=chosen_by)
    if parts.scheme == "unix":
        path = parts.netloc + parts.path
        if not path:
            raise ConnectError(f"{text!r} has no path", where=chosen_by)
        if path.endswith("/docker.sock"):
            raise ConnectError(
                f"{text!r} is Docker's API, and not BuildKit's",
                where=chosen_by,
                hint=f"write 'docker', or 'docker+{text}'",
            )
        return address._replace(path=path)
    return _remote(address, parts, tls)


def _docker(text: str, environ: Mapping[str, str], chosen_by: str) -> BuilderAddress:
    if text.startswith("docker+"):
        endpoint = DockerEndpoint(host=text.removeprefix("docker+"))
        if not endpoint.host.startswith(("unix://", "tcp://", "ssh://")):
            raise ConnectError(f"{text!r} is no address of Docker's API", where=chosen_by)
        if endpoint.host.startswith("tcp://"):
            endpoint = endpoint._replace(tls=docker_endpoint({**environ, "DOCKER_HOST": "x"}).tls)
    else:
        context = text.removeprefix("docker").removeprefix("://")
        endpoint = docker_endpoint(environ, context=context)
    return BuilderAddress(text, "docker", docker=endpoint, chosen_by=chosen_by)


def _remote(address: BuilderAddress, parts: SplitResult, tls: TlsFiles) -> BuilderAddress:
    text = address.text
    try:
        port = parts.port or 0
    except ValueError as error:
        raise ConnectError(f"{text!r} has no valid port", where=address.chosen_by) from error
    if not parts.hostname:
        raise ConnectError(f"{text!r} names no host", where=address.chosen_by)
    if parts.password is not None:
        raise ConnectError(f"{text!r} holds a password", where=address.chosen_by)
    # urlsplit lowers a host's letters; containers have letters of both cases
    host = parts.netloc.rpartition("@")[2]
    if address.scheme in {"tcp", "ssh"}:
        host = parts.hostname
    if host.startswith("-"):
        raise ConnectError(f"{text!r} names no host", where=address.chosen_by)
    query = tuple((name, values[-1]) for name, values in parse_qs(parts.query).items())
    address = address._replace(
        host=host, port=port, user=parts.username or "", path=parts.path, query=query
    )
    if address.scheme == "kube-pod":
        for name in (host, address.option("namespace"), address.option("container")):
            if name and not _KUBERNETES_NAME.fullmatch(name):
                raise ConnectError(f"{name!r} is no name of Kubernetes", where=address.chosen_by)
    if parts.scheme == "tcp":
        return address._replace(tls=tls, port=port or DEFAULT_TCP_PORT)
    return address


def resolve_builder(
    option: str | None, environ: Mapping[str, str], *, tls: TlsFiles = NO_TLS
) -> BuilderAddress:
    """Choose the builder: *option*, NIXBK_BUILDER, BUILDKIT_HOST, Docker, a local buildkitd.

    What the user named is returned unseen; of the two defaults the first that somebody listens at.

    Raises:
        ConnectError: an address is wrong, or nobody listens; tells all that was tried.
    """
    tls = tls or TlsFiles.from_environ(environ)
    named = (
        ("--builder", option),
        ("NIXBK_BUILDER", environ.get("NIXBK_BUILDER")),
        ("BUILDKIT_HOST", environ.get("BUILDKIT_HOST")),
    )
    for chosen_by, text in named:
        if text:
            return parse_address(text, environ, chosen_by=chosen_by, tls=tls)
    docker = parse_address("docker", environ, chosen_by="the default")
    local = parse_address(DEFAULT_BUILDKIT, environ, chosen_by="the default")
    endpoint = docker.docker or DockerEndpoint("")
    if endpoint.origin != "the default":
        return docker._replace(chosen_by=endpoint.origin)
    tried = []
    for address, path in (
        (docker, endpoint.host.removeprefix("unix://")),
        (local, local.path),
    ):
        reason = unix_socket_fault(path)
        if reason is None:
            return address
        tried.append(f"{path}: {reason}")
    raise ConnectError(f"no builder answers (tried {'; '.join(tried)})", hint=HINT)


def unix_socket_fault(path: str) -> str | None:
    """Tell why nobody can be reached at the unix socket *path*, or None when somebody can."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(5)
    try:
        probe.connect(path)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    finally:
        probe.close()
    return None


def container_command(address: BuilderAddress) -> list[str]:
    """Return the command whose standard input and output reach a builder without a socket here.

    Source: the ``SpecFromURL`` of each of BuildKit's ``connhelper`` packages.
    """
    dial = ["buildctl", "dial-stdio"]
    if address.scheme == "ssh":
        command = ["ssh"]
        command += ["-l", address.user] if address.user else []
        command += ["-p", str(address.port)] if address.port else []
        command += ["--", address.host, "buildctl"]
        command += ["--addr", f"unix://{address.path}"] if address.path else []
        return [*command, "dial-stdio"]
    if address.scheme == "docker-container":
        context = address.option("context")
        return [
            "docker",
            *([f"--context={context}"] if context else []),
            *("exec", "-i", address.host),
            *dial,
        ]
    command = ["kubectl"]
    for name in ("context", "namespace"):
        command += [f"--{name}={address.option(name)}"] if address.option(name) else []
    command += ["exec"]
    command += [f"--container={address.option('container')}"] if address.option("container") else []
    return [*command, "-i", address.host, "--", *dial]
