"""A build that this client drives through the gateway.

``Control/Solve`` without a definition runs for as long as the build does. Meanwhile LLBBridge
answers calls that carry the build's id; ``Return`` ends it. A ``Return`` that has neither result
nor error crashes the daemon, so none is ever sent.

Source: BuildKit ``client/build.go``, ``control/gateway``. Starts threads.
"""

from __future__ import annotations

import json
import secrets
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from nixbk.buildkit import methods
from nixbk.buildkit.convert import capabilities_of, file_stat, platform_message, result_message
from nixbk.buildkit.errors import BuildCancelledError, BuilderError, BuildFailed, from_rpc
from nixbk.buildkit.protocols import Capabilities, Ref, Result
from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.status import StatusReader
from nixbk.proto import control_pb2, gateway_pb2, ops_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from nixbk.buildkit.methods import Method
    from nixbk.buildkit.outputs import Writer
    from nixbk.buildkit.protocols import CacheOption, Exporter, FileStat
    from nixbk.buildkit.session import Session
    from nixbk.buildkit.status import OnStatus

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

BUILD_ID_KEY: Final = "buildkit-controlapi-buildid"
_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.25
_LOG_WAIT_S: Final = 1.0
_END_WAIT_S: Final = 15.0
# a step that somebody else builds as well goes on, and nobody tells which those are
_STEPS_WAIT_S: Final = 3.0
# registries that tell nobody what they have say the second
_NO_IMAGE: Final = ("not found", "repository does not exist")
_CANCELLED: Final = "the build was cancelled"


class GatewayBuild:
    """One build; made by ``Client.build`` and running within its ``with`` block.

    Leaving the block without ``finish`` ends the build on the builder and waits until nothing of it
    is left there: BuildKit hands what failed in a build to every other that asks for the same as
    long as it is not gone.

    Attributes:
        ref: the build's id on the builder.
        capabilities: what the builder can do.
    """

    def __init__(  # noqa: PLR0913  the parts of one request
        self,
        channel: grpc.Channel,
        session: Session,
        *,
        exporters: Sequence[Exporter] = (),
        cache_imports: Sequence[CacheOption] = (),
        cache_exports: Sequence[CacheOption] = (),
        entitlements: Sequence[str] = (),
        internal: bool = False,
        on_status: OnStatus | None = None,
        on_wait: Callable[[], object] | None = None,
    ) -> None:
        self.ref = secrets.token_hex(13)
        self.capabilities = Capabilities(frozenset(), frozenset())
        self._channel = channel
        self._session = session
        self._lock = threading.RLock()  # cancel may run in a signal handler
        self._calls: set[grpc.Future[Any]] = set()
        self._abandoned = False
        self._cancelled = False
        self._begun = False
        self._driven = False  # the builder does what is called for, and nothing else
        self._cache_imports = [
            gateway_pb2.CacheOptionsEntry(Type=option.type, Attrs=option.attrs)
            for option in cache_imports
        ]
        self._finished = False
        self._outputs: dict[int, Path | Writer] = {
            number: exporter.output
            for number, exporter in enumerate(exporters)
            if exporter.output is not None
        }
        self._request = control_pb2.SolveRequest(
            Ref=self.ref,
            Session=session.id,
            Entitlements=entitlements,
            Internal=internal,
            Exporters=[
                control_pb2.Exporter(Type=exporter.type, Attrs=exporter.attrs)
                for exporter in exporters
            ],
            # what daemons before 0.13 read
            ExporterDeprecated=exporters[0].type if exporters else "",
            ExporterAttrsDeprecated=exporters[0].attrs if exporters else {},
            Cache=control_pb2.CacheOptions(
                Exports=[
                    control_pb2.CacheOptionsEntry(Type=option.type, Attrs=option.attrs)
                    for option in cache_exports
                ],
                Imports=[
                    control_pb2.CacheOptionsEntry(Type=option.type, Attrs=option.attrs)
                    for option in cache_imports
                ],
            ),
        )
        self._on_status = on_status
        self._on_wait = on_wait

    def __enter__(self) -> Self:
        self._session.outputs.claim(self._outputs)
        self._solve: grpc.Future[control_pb2.SolveResponse] = methods.SOLVE.unary(
            self._channel
        ).future(self._request)
        with self._lock:
            self._begun = True
            cancelled = self._cancelled
        if cancelled:
            self._solve.cancel()  # type: ignore[no-untyped-call]
        self._solve_ended = threading.Event()
        self._solve.add_done_callback(lambda _: self._solve_ended.set())
        self._status = StatusReader(self._channel, self.ref, self._on_status)
        try:
            self.capabilities = self._await_bridge()
        except BaseException:
            self.cancel()
            self._end("")
            raise
        with self._lock:
            self._driven = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(str(error) if error is not None else "the client left")

    def solve(
        self,
        definition: ops_pb2.Definition,
        *,
        evaluate: bool = True,
        limit_s: float | None = None,
    ) -> Ref | None:
        """Build *definition*, or only load it when *evaluate* is false.

        Args:
            definition: what is built.
            evaluate: whether it is.
            limit_s: how long it may take; None for ever.

        Returns:
            The snapshot; None when it is empty.

        Raises:
            BuildFailed: an operation failed.
            BuilderError: with the code ``DEADLINE_EXCEEDED``, its time was over.
        """
        request = gateway_pb2.SolveRequest(
            Definition=definition,
            allowResultReturn=True,
            allowResultArrayRef=True,
            # those of Control/Solve are for frontends to look up
            CacheImports=self._cache_imports,
            Evaluate=evaluate,
        )
        response = self._bridge(
            methods.BRIDGE_SOLVE, request, limit_s=limit_s, on_wait=self._on_wait
        )
        name = response.result.ref.id or response.result.refDeprecated or response.ref
        return Ref(name) if name else None

    def read_file(self, ref: Ref, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Read a file of *ref*, from *offset* on; a *length* of 0 is all the rest.

        Raises:
            BuilderError: there is no such file, or *ref* is not built and fails.
        """
        request = gateway_pb2.ReadFileRequest(Ref=ref.id, FilePath=path)
        if offset or length:
            request.Range.Offset = offset
            request.Range.Length = length
        return self._bridge(methods.BRIDGE_READ_FILE, request).Data

    def read_dir(self, ref: Ref, path: str, pattern: str = "") -> tuple[FileStat, ...]:
        """List a folder of *ref*; *pattern* is one for names, empty for all."""
        request = gateway_pb2.ReadDirRequest(Ref=ref.id, DirPath=path, IncludePattern=pattern)
        entries = self._bridge(methods.BRIDGE_READ_DIR, request).entries
        return tuple(file_stat(entry) for entry in entries)

    def stat_file(self, ref: Ref, path: str) -> FileStat:
        """Describe a file of *ref*."""
        request = gateway_pb2.StatFileRequest(Ref=ref.id, Path=path)
        return file_stat(self._bridge(methods.BRIDGE_STAT_FILE, request).stat)

    def resolve_image_config(self, name: str, platform: str = "") -> dict[str, Any] | None:
        """Return the configuration of an image in a registry, as the builder sees it now.

        Args:
            name: the image's reference, with its registry unless that is Docker Hub.
            platform: ``os/architecture[/variant]``, empty for the builder's own.

        Returns:
            The document of the OCI image specification; None when there is no such image.
        """
        request = gateway_pb2.ResolveImageConfigRequest(
            Ref=name,
            ResolveMode="pull",  # ask the registry, whatever images the engine has
            LogName=f"look for {name}",
            Platform=platform_message(platform) if platform else None,
        )
        try:
            raw = self._bridge(methods.BRIDGE_RESOLVE_IMAGE, request).Config
        except BuilderError as error:
            if any(text in error.message for text in _NO_IMAGE):
                return None
            raise
        try:
            config = json.loads(raw)
        except ValueError as error:
            raise BuilderError("its configuration is no JSON", where=name) from error
        if not isinstance(config, dict):
            raise BuilderError("its configuration is no JSON object", where=name)
        return config

    def finish(self, result: Result) -> dict[str, str]:
        """End the build with *result*, wait for the exporters and return what they answered.

        Raises:
            BuilderError: an exporter failed.
        """
        with self._lock:
            self._driven = False
            if self._cancelled:
                raise BuildCancelledError(_CANCELLED)
        self._return(gateway_pb2.ReturnRequest(result=result_message(result)))
        response = self._await_solve()
        self._finished = True
        self._status.wait(_END_WAIT_S)
        if self._status.fault is not None:
            raise self._status.fault
        return dict(response.ExporterResponse)

    def fail(self, message: str) -> None:
        """End the build as failed, with *message* in the builder's history."""
        request = gateway_pb2.ReturnRequest()
        request.error.code = grpc.StatusCode.UNKNOWN.value[0]
        request.error.message = message
        self._return(request, limit_s=_END_WAIT_S)
        # its answer is the last thing of a build; the steps are gone by then
        self._finished = self._solve_ended.wait(_END_WAIT_S)

    def abandon(self) -> None:
        """End all calls that wait, from any thread; they raise ``BuildCancelledError``.

        The build itself ends as failed when its block is left.
        """
        with self._lock:
            self._abandoned = True
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    def cancel(self) -> None:
        """End the build, from any thread or a signal handler.

        Calls that wait raise ``BuildCancelledError``. The builder has let go of everything when the
        build's block is left.
        """
        self.abandon()
        with self._lock:
            self._cancelled = True
            waits = self._begun and not self._driven
        if waits:
            self._solve.cancel()

    def _return(self, request: gateway_pb2.ReturnRequest, limit_s: float | None = None) -> None:
        if not (request.HasField("result") or request.HasField("error")):
            raise AssertionError("a Return without result or error crashes the daemon")
        try:
            self._bridge(methods.BRIDGE_RETURN, request, last=True, limit_s=limit_s)
        except BuilderError:
            # the build may have ended for a reason of its own, which tells more
            if self._solve_ended.wait(1):
                self._await_solve()
            raise

    def _await_solve(self) -> control_pb2.SolveResponse:
        self._solve_ended.wait()
        try:
            return self._solve.result()
        except grpc.FutureCancelledError as error:
            raise BuildCancelledError(_CANCELLED) from error
        except grpc.RpcError as error:
            raise self._explain(error) from error

    def _await_bridge(self) -> Capabilities:
        """Ping until the builder has registered the build's bridge."""
        pause_s = _FIRST_PAUSE_S
        while True:
            ping: grpc.Future[gateway_pb2.PongResponse] = methods.BRIDGE_PING.unary(
                self._channel
            ).future(gateway_pb2.PingRequest(), metadata=((BUILD_ID_KEY, self.ref),))
            either = threading.Event()
            ping.add_done_callback(lambda _, either=either: either.set())  # type: ignore[misc]
            self._solve.add_done_callback(lambda _, either=either: either.set())  # type: ignore[misc]
            try:
                either.wait()
            except BaseException:
                ping.cancel()
                raise
            if self._solve_ended.is_set():
                ping.cancel()
                self._await_solve()
                raise BuilderError("the builder ended the build before it began")
            try:
                return capabilities_of(ping.result())
            except grpc.RpcError:
                # not registered yet; that a builder is gone is told by the solve
                self._solve_ended.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _bridge(
        self,
        method: Method[_Request, _Response],
        request: _Request,
        *,
        last: bool = False,
        limit_s: float | None = None,
        on_wait: Callable[[], object] | None = None,
    ) -> _Response:
        """Call one method of the bridge, so that ``abandon`` and ``cancel`` end it.

        Args:
            method: of the bridge.
            request: its argument.
            last: whether the call is made for an abandoned or cancelled build, too.
            limit_s: how long it may take; None for ever.
            on_wait: called once the call is under way.
        """
        call: grpc.Future[_Response] = method.unary(self._channel).future(
            request, timeout=limit_s, metadata=((BUILD_ID_KEY, self.ref),)
        )
        with self._lock:
            self._calls.add(call)
            unwanted = self._abandoned and not last
        if unwanted:
            call.cancel()
        done = threading.Event()
        call.add_done_callback(lambda _: done.set())
        try:
            if on_wait is not None:
                on_wait()
            done.wait()
            return call.result()
        except grpc.FutureCancelledError as error:
            raise BuildCancelledError(_CANCELLED) from error
        except grpc.RpcError as error:
            raise self._explain(error) from error
        except BaseException:
            call.cancel()
            raise
        finally:
            with self._lock:
                self._calls.discard(call)

    def _explain(self, error: grpc.RpcError) -> BuilderError:
        if self._cancelled or self._abandoned:
            return BuildCancelledError(_CANCELLED)
        decoded = from_rpc(error)
        if isinstance(decoded, BuildFailed) and self._has_log(decoded):
            name, log = self._status.tails.lines(decoded.failure.vertex, wait_s=_LOG_WAIT_S)
            return decoded.with_log(name, log)
        if self._session.outputs.fault is not None:
            return BuilderError(f"cannot write the result: {self._session.outputs.fault}")
        return decoded

    def _has_log(self, error: BuildFailed) -> bool:
        """Whether there may be more to tell of an error; nobody waits to hear it of a question."""
        failure = error.failure
        ran = failure.exit_code is not None or not self._request.Internal
        return bool(failure.vertex) and (ran or not failure.name)

    def _end(self, why: str) -> None:
        try:
            if self._driven and not self._finished:
                self.abandon()
                self._status.settle(_STEPS_WAIT_S)
                with suppress(BuilderError):
                    self.fail(why)
                self._driven = False
            if not self._finished:
                self.cancel()
                # the stream ends when nothing of the build is left on the builder
                self._status.wait(_END_WAIT_S)
        finally:
            self._status.stop()
            self._session.outputs.release(self._outputs)
