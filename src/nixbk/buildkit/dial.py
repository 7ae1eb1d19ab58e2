"""Opened byte streams to a builder or to Docker's API, all of them as sockets.

A program that carries the stream (ssh, docker, kubectl) gets one end of a socket pair as its
standard input and output. Opens sockets and starts processes.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.handshake import reason, tls_fault, wrap
from nixbk.buildkit.tls import DOCKER_HINT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from urllib.parse import SplitResult

    from nixbk.buildkit.docker_context import DockerEndpoint
    from nixbk.buildkit.tls import TlsFiles

TIMEOUT_S: Final = 20.0
_DOCKER_PORT: Final = 2375
_DOCKER_TLS_PORT: Final = 2376
_HEAD_LIMIT_BYTES: Final = 64 * 1024
_TCP: Final = ("tcp", "http", "https")


class Connection:
    """A connected socket, and the process at its other side if there is one."""

    def __init__(
        self,
        sock: socket.socket,
        process: subprocess.Popen[bytes] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        self.sock = sock
        self._process = process
        self._stderr = stderr

    def close(self) -> None:
        """Close the socket and end the process."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._stderr is not None:
            self._stderr.close()

    def complaint(self) -> str:
        """Return the last line the process wrote to its standard error, or an empty text."""
        if self._stderr is None or self._process is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        try:
            self._stderr.seek(0)
            lines = self._stderr.read().decode(errors="replace").split("\n")
        except ValueError:  # closed meanwhile, by who wants to hear nothing more
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def dial_unix(path: str) -> Connection:
    """Connect to a unix socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(TIMEOUT_S)
        sock.connect(path)
        sock.settimeout(None)
    except OSError as error:
        sock.close()
        raise ConnectError(f"cannot connect to the socket: {reason(error)}", where=path) from error
    return Connection(sock)


def dial_tcp(host: str, port: int, tls: TlsFiles) -> Connection:
    """Connect to a host, with TLS when there are certificates; as Docker's API is reached."""
    where = f"{host}:{port}"
    tls.check()
    try:
        sock = socket.create_connection((host, port), TIMEOUT_S)
    except OSError as error:
        raise ConnectError(f"cannot connect: {reason(error)}", where=where) from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            sock = wrap(sock, host, tls)
        sock.settimeout(None)
    except OSError as error:  # ssl.SSLError is one
        sock.close()
        message = f"cannot connect: {reason(error)}"
        raise ConnectError(message, where=where, hint=DOCKER_HINT) from error
    return Connection(sock)


def dial_command(command: Sequence[str]) -> Connection:
    """Start *command*, which carries the stream over its standard input and output."""
    ours, theirs = socket.socketpair()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the connection
    try:
        process = subprocess.Popen(
            list(command),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        stderr.close()
        raise ConnectError(
            f"cannot start {command[0]!r}: {reason(error)}",
            hint=f"the address needs the program {command[0]!r} on PATH",
        ) from error
    finally:
        theirs.close()
    return Connection(ours, process, stderr)


def dial_docker(endpoint: DockerEndpoint) -> Connection:
    """Connect to Docker's API."""
    parts = urlsplit(endpoint.host)
    if parts.scheme == "unix":
        return dial_unix(parts.netloc + parts.path)
    if parts.scheme in _TCP and parts.hostname:
        return dial_tcp(parts.hostname, _port(parts, endpoint), endpoint.tls)
    if parts.scheme == "ssh" and parts.hostname and not parts.hostname.startswith("-"):
        return dial_command([*_over_ssh(parts), "system", "dial-stdio"])
    raise ConnectError(
        f"{endpoint.host!r} is no address of Docker's API",
        where=endpoint.origin,
        hint="unix://, tcp:// and ssh:// are",
    )


def docker_fault(endpoint: DockerEndpoint, connection: Connection, said: str) -> ConnectError:
    """Close *connection* and tell why Docker did not talk over it, by what it *said* at least."""
    complaint = connection.complaint()
    connection.close()
    parts, hint = urlsplit(endpoint.host), None
    if parts.scheme == "ssh":
        hint = f"see what this says: {shlex.join([*_over_ssh(parts), 'version'])}"
    elif parts.scheme in _TCP:
        fault = tls_fault(parts.hostname or "", _port(parts, endpoint), endpoint.tls)
        complaint, hint = fault or "", DOCKER_HINT if fault else None
    return ConnectError(
        f"docker does not answer: {complaint or said}", where=str(endpoint), hint=hint
    )


def _port(parts: SplitResult, endpoint: DockerEndpoint) -> int:
    return parts.port or (_DOCKER_TLS_PORT if endpoint.tls else _DOCKER_PORT)


def _over_ssh(parts: SplitResult) -> list[str]:
    command = ["ssh"]
    command += ["-l", parts.username] if parts.username else []
    command += ["-p", str(parts.port)] if parts.port else []
    command += ["-o", "ConnectTimeout=30", "-T", "--", parts.hostname or "", "docker"]
    return [*command, *(["--host", f"unix://{parts.path}"] if parts.path.strip("/") else [])]


def dial_docker_buildkit(endpoint: DockerEndpoint) -> Connection:
    """Connect to the BuildKit inside Docker: ``POST /grpc``, upgraded to HTTP/2.

    Source: moby ``client/hijack.go`` and ``api/server/router/grpc``.
    """
    connection = dial_docker(endpoint)
    request = (
        b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n"
        b"Upgrade: h2c\r\nContent-Length: 0\r\n\r\n"
    )
    try:
        connection.sock.settimeout(TIMEOUT_S * 3)
        connection.sock.sendall(request)
        head = _read_head(connection.sock)
        connection.sock.settimeout(None)
    except OSError as error:
        raise docker_fault(endpoint, connection, reason(error)) from error
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    # a server of HTTPS tells a client of HTTP by HTTP/1.0
    if not status.startswith("HTTP/1.1"):
        raise docker_fault(endpoint, connection, status or "it closed the connection")
    if not status.startswith("HTTP/1.1 101"):
        connection.close()
        raise ConnectError(
            f"docker does not open its BuildKit: {status}",
            where=str(endpoint),
            hint="Docker 18.09 and later have one; a proxy in between may refuse /grpc",
        )
    return connection


def _read_head(sock: socket.socket) -> bytes:
    """Read an HTTP response's head and not one byte more, for the next are HTTP/2."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n") and len(head) < _HEAD_LIMIT_BYTES:
        byte = sock.recv(1)
        if not byte:
            break
        head += byte
    return bytes(head)
