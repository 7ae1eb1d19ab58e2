"""The client of one builder: connect, open sessions, run builds. Opens sockets.

with connect(resolve_builder(None, os.environ)) as client:
with client.session(Attachables(uploads=uploads)) as session:
with client.build(session, exporters=[...]) as build:
ref = build.solve(definition)
build.finish(Result(ref))
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakSet

from nixbk.buildkit import methods
from nixbk.buildkit.build import GatewayBuild
from nixbk.buildkit.channel import BuilderChannel
from nixbk.buildkit.convert import worker_of
from nixbk.buildkit.errors import BuilderError, ConnectError, from_rpc
from nixbk.buildkit.protocols import BuilderInfo
from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.session import Attachables, Session
from nixbk.proto import control_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from nixbk.buildkit.address import BuilderAddress
    from nixbk.buildkit.docker import DockerApi
    from nixbk.buildkit.methods import Method
    from nixbk.buildkit.protocols import CacheOption, Exporter, Worker
    from nixbk.buildkit.status import OnStatus

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

_TIMEOUT_S = 30.0


class Client:
    """A connection to one builder; may be used by several threads.

    Attributes:
        address: whom it talks to.

    Raises:
        ConnectError: nobody answers there.
    """

    def __init__(self, address: BuilderAddress) -> None:
        self.address = address
        self._channel = BuilderChannel(address)
        self._docker: DockerApi | None = None
        self._lock = threading.Lock()
        self._builds: WeakSet[GatewayBuild] = WeakSet()
        self._cancelled = False
        if address.scheme not in {"unix", "docker"}:  # the others have answered by now
            self._greet()

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
        """Close the connection; what still runs over it is cancelled."""
        self._channel.close()

    def cancel(self) -> None:
        """End every build at once, from any thread; none can begin any more."""
        with self._lock:
            self._cancelled = True
            builds = list(self._builds)
        for build in builds:
            build.cancel()

    @property
    def is_docker(self) -> bool:
        """Whether the builder is the one inside a Docker engine."""
        return self.address.docker is not None

    @property
    def docker(self) -> DockerApi:
        """The API of the Docker engine whose builder this is.

        Raises:
            ConnectError: the builder is not Docker's.
        """
        if self.address.docker is None:
            raise ConnectError(f"the builder {self.address.text!r} is not Docker's")
        if self._docker is None:
            from nixbk.buildkit.docker import DockerApi  # noqa: PLC0415  not every build needs it

            self._docker = DockerApi(self.address.docker)
        return self._docker

    def info(self) -> BuilderInfo:
        """Ask which BuildKit this is; all fields are empty when it is too old to tell."""
        try:
            found = self._call(methods.INFO, control_pb2.InfoRequest()).buildkitVersion
        except BuilderError as error:
            if error.code != "UNIMPLEMENTED":
                raise
            return BuilderInfo("", "", "")
        return BuilderInfo(found.package, found.version, found.revision)

    def workers(self) -> tuple[Worker, ...]:
        """List the machines of the builder, the default first."""
        response = self._call(methods.LIST_WORKERS, control_pb2.ListWorkersRequest())
        return tuple(worker_of(record) for record in response.record)

    def session(self, attachables: Attachables | None = None) -> Session:
        """Open a session that offers *attachables*."""
        return Session(self._channel.grpc, attachables or Attachables())

    def build(  # noqa: PLR0913  the parts of one build
        self,
        session: Session,
        *,
        exporters: Sequence[Exporter] = (),
        cache_imports: Sequence[CacheOption] = (),
        cache_exports: Sequence[CacheOption] = (),
        entitlements: Sequence[str] = (),
        internal: bool = False,
        on_status: OnStatus | None = None,
        on_wait: Callable[[], object] | None = None,
    ) -> GatewayBuild:
        """Prepare a build, which begins with its ``with`` block.

        Args:
            session: what the build may ask of this client.
            exporters: what is done with its result.
            cache_imports: where to look for cache beyond the builder's own.
            cache_exports: where to keep it.
            entitlements: such as ``network.host``.
            internal: leave the build out of the builder's history, which saves the time of
                writing it; for what asks and makes nothing.
            on_status: called from one other thread with everything that happens.
            on_wait: called each time when the builder was asked to solve something, and answers.
        """
        build = GatewayBuild(
            self._channel.grpc,
            session,
            exporters=exporters,
            cache_imports=cache_imports,
            cache_exports=cache_exports,
            entitlements=entitlements,
            internal=internal,
            on_status=on_status,
            on_wait=on_wait,
        )
        with self._lock:
            self._builds.add(build)
            cancelled = self._cancelled
        if cancelled:
            build.cancel()
        return build

    def _greet(self) -> None:
        try:
            self.info()
        except ConnectError as error:
            raise self._channel.fault(error.message) from error
        except BuilderError as error:
            if error.code != "DEADLINE_EXCEEDED":
                raise
            raise self._channel.fault(f"it said nothing for {_TIMEOUT_S:.0f} seconds") from error

    def disk_usage(self, filters: Sequence[str] = ()) -> tuple[control_pb2.UsageRecord, ...]:
        """List the records of the build cache."""
        request = control_pb2.DiskUsageRequest(filter=filters)
        return tuple(self._call(methods.DISK_USAGE, request, timeout_s=None).record)

    def prune(self, filters: Sequence[str] = (), *, everything: bool = False) -> int:
        """Delete unused records of the build cache and return the bytes freed.

        Args:
            filters: which records, as ``buildctl prune --filter`` writes them; none for all.
            everything: internal and shared records, too.
        """
        request = control_pb2.PruneRequest(filter=filters, all=everything)
        try:
            call = methods.PRUNE.server_stream(self._channel.grpc)(request)
            return sum(record.Size for record in call)
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    def _call(
        self,
        method: Method[_Request, _Response],
        request: _Request,
        timeout_s: float | None = _TIMEOUT_S,
    ) -> _Response:
        try:
            return method.unary(self._channel.grpc)(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc(error) from error


def connect(address: BuilderAddress) -> Client:
    """Connect to the builder at *address*.

    Raises:
        ConnectError: nobody answers there.
    """
    return Client(address)
