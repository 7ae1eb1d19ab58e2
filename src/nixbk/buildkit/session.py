"""A session: a gRPC server of this client, reached by the builder through Control/Session.

The builder is the HTTP/2 client inside the bytes of that stream. grpcio cannot serve a stream, so
the server listens at a private unix socket and two threads carry bytes between the two. Every
session answers health checks: a builder asks every 5 s and ends a session that does not answer.

Source: BuildKit ``session/session.go``, ``session/grpchijack``. Starts threads, listens.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from nixbk.buildkit import methods
from nixbk.buildkit.channel import OPTIONS
from nixbk.buildkit.outputs import Outputs
from nixbk.buildkit.pump import private_folder
from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.secret import secrets_service
from nixbk.buildkit.service import Service, unary
from nixbk.proto import control_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from nixbk.buildkit.content_folder import ContentFolder
    from nixbk.buildkit.credentials import Credentials
    from nixbk.buildkit.folders import Folder
    from nixbk.buildkit.uploads import Uploads

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_CHUNK_BYTES: Final = 128 * 1024
# handlers block while they stream, and a health check must never wait for one of them
_THREADS: Final = 256
# grpc.health.v1.HealthCheckResponse{status: SERVING}
_SERVING: Final = b"\x08\x01"


class Attachables(NamedTuple):
    """What a session offers to the builder.

    Attributes:
        credentials: of registries, or None for none.
        uploads: bytes by their hash, or None.
        folders: by the name of a ``local://`` source.
        secrets: by id.
        stores: folders of blobs, by the id that a builder knows them by.
        shared_key: tells builders that folders of different sessions are the same ones.
    """

    credentials: Credentials | None = None
    uploads: Uploads | None = None
    folders: Mapping[str, Folder] = _NOTHING
    secrets: Mapping[str, bytes | Callable[[], bytes]] = _NOTHING
    stores: Mapping[str, ContentFolder] = _NOTHING
    shared_key: str = ""

    def services(self) -> list[Service]:
        """The services of what is offered."""
        services = [Service("grpc.health.v1.Health", {"Check": unary(lambda *_: _SERVING)})]
        if self.credentials is not None:
            services.append(self.credentials.service())
        if self.uploads is not None:
            services.append(self.uploads.service())
        if self.folders:
            from nixbk.buildkit.folders import folders_service  # noqa: PLC0415  few need it

            services.append(folders_service(self.folders))
        if self.secrets:
            services.append(secrets_service(self.secrets))
        if self.stores:
            from nixbk.buildkit.content import content_service  # noqa: PLC0415  few need it

            services.append(content_service(self.stores))
        return services


class Session:
    """A running session; ends with its ``with`` block, and every build in it too.

    Attributes:
        id: what builds name it by.
        outputs: where exporters' bytes go, by exporter number.
    """

    def __init__(self, channel: grpc.Channel, attachables: Attachables) -> None:
        self.id = secrets.token_hex(13)
        self.outputs = Outputs()
        services = [*attachables.services(), self.outputs.service()]
        self._ended = threading.Event()
        self._server = _serve(services)
        folder = private_folder()
        try:
            path = folder / "s"
            self._server.add_insecure_port(f"unix:{path}")
            self._server.start()
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.connect(str(path))
        finally:
            # connected once, never again
            shutil.rmtree(folder, ignore_errors=True)
        metadata = [
            ("x-docker-expose-session-uuid", self.id),
            ("x-docker-expose-session-name", "nixbk"),
            ("x-docker-expose-session-sharedkey", attachables.shared_key),
        ]
        for service in services:
            metadata += [("x-docker-expose-session-grpc-method", path) for path in service.paths]
        self._call = methods.SESSION.both_streams(channel)(
            self._requests(), metadata=tuple(metadata)
        )
        threading.Thread(target=self._receive, name="nixbk-session", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the session is over, by whichever side."""
        return self._ended.is_set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session at once."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._call.cancel()  # type: ignore[no-untyped-call]
        self._server.stop(None)
        self._socket.close()

    def _requests(self) -> Iterator[control_pb2.BytesMessage]:
        """What the server says, for the builder."""
        while True:
            try:
                data = self._socket.recv(_CHUNK_BYTES)
            except OSError:
                return
            if not data:
                return
            yield control_pb2.BytesMessage(data=data)

    def _receive(self) -> None:
        """What the builder says, for the server."""
        try:
            for message in self._call:
                self._socket.sendall(message.data)
        except (grpc.RpcError, OSError):
            pass  # builds of this session fail with their own error
        finally:
            self._ended.set()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _serve(services: list[Service]) -> grpc.Server:
    pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="nixbk-serve")
    server = grpc.server(pool, options=OPTIONS)
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(service.name, dict(service.handlers))
            for service in services
        )
    )
    return server
