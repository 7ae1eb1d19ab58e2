"""The gRPC channel to a builder, whatever carries it. Opens sockets, starts processes."""

from __future__ import annotations

import os
import shlex
import threading
from typing import TYPE_CHECKING, Any, Final

from nixbk.buildkit.address import HINT, BuilderAddress, container_command, unix_socket_fault
from nixbk.buildkit.dial import dial_command, dial_docker_buildkit, dial_tcp
from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.handshake import tls_fault
from nixbk.buildkit.pump import Bridge
from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.tls import BUILDKIT_HINT, NO_TLS

if TYPE_CHECKING:
    from nixbk.buildkit.dial import Connection

MESSAGE_LIMIT_BYTES: Final = 16 * 1024 * 1024
METADATA_LIMIT_BYTES: Final = 16 * 1024 * 1024
_CLOSE_S: Final = 1.0

OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    # an error carries its operation in the trailers: 120 kB for 300 mounts
    ("grpc.max_metadata_size", METADATA_LIMIT_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_LIMIT_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.default_authority", "localhost"),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # a bridge cannot be connected to again
    ("grpc.initial_reconnect_backoff_ms", 100),
)


class BuilderChannel:
    """A gRPC channel and what carries it.

    Raises:
        ConnectError: nobody answers at *address*.
    """

    def __init__(self, address: BuilderAddress) -> None:
        self._address = address
        self._bridge: Bridge | None = None
        if address.scheme == "tcp":
            self.grpc = _tcp_channel(address)
            return
        if address.scheme == "unix":
            fault = unix_socket_fault(address.path)
            if fault is not None:
                raise ConnectError(
                    f"no builder answers at {address.text!r}: {fault}",
                    where=address.chosen_by,
                    hint=HINT,
                )
            path = os.path.abspath(address.path)  # noqa: PTH100  a symlink must stay one
        else:
            self._bridge = Bridge(_dial(address))
            path = str(self._bridge.path)
        self.grpc = grpc.insecure_channel(f"unix:{path}", options=OPTIONS)

    def fault(self, said: str) -> ConnectError:
        """Close the channel and tell why nobody answers, by what gRPC *said* at least."""
        address, fault, hint = self._address, "", HINT
        if address.scheme == "tcp":
            fault = tls_fault(address.host, address.port, address.tls, http2=True) or ""
            hint = BUILDKIT_HINT if fault else HINT
        elif self._bridge is not None:
            fault = self._bridge.complaint
            command = container_command(address)[:-1]
            hint = f"see what this says: {shlex.join([*command, 'debug', 'workers'])}"
        self.close()
        return ConnectError(
            f"no builder answers at {address.text!r}: {fault or said}",
            where=address.chosen_by,
            hint=hint,
        )

    def close(self) -> None:
        """Close the channel; calls still running are cancelled.

        An interrupt may hit grpc after it noted a call and before it serves it; closing then
        waits for that call for ever, and so has a limit here.
        """
        closing = threading.Thread(target=self.grpc.close, name="nixbk-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        if self._bridge is not None:
            self._bridge.close()


def _dial(address: BuilderAddress) -> Connection:
    if address.docker is not None:
        return dial_docker_buildkit(address.docker)
    return dial_command(container_command(address))


def _tcp_channel(address: BuilderAddress) -> grpc.Channel:
    host = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{host}:{address.port}"
    # grpcio tells of a host that does not answer by a deadline only
    dial_tcp(address.host, address.port, NO_TLS).close()
    if not address.tls:
        return grpc.insecure_channel(f"dns:{target}", options=OPTIONS)
    ca, certificate, key = address.tls.read()
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    options = tuple(pair for pair in OPTIONS if pair[0] != "grpc.default_authority")
    name = address.tls.server_name
    if name:
        options += (("grpc.ssl_target_name_override", name),)
    return grpc.secure_channel(f"dns:{target}", credentials, options=options)
