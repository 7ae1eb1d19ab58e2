"""The gRPC methods nixbk calls on a builder, each with its types.

Source: the services of ``proto/control.proto`` and ``proto/gateway.proto``. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from nixbk.proto import control_pb2, gateway_pb2

if TYPE_CHECKING:
    import grpc

_Request = TypeVar("_Request", bound="control_pb2.SolveRequest | object")
_Response = TypeVar("_Response", bound="control_pb2.SolveResponse | object")

_CONTROL: Final = "/moby.buildkit.v1.Control/"
_BRIDGE: Final = "/moby.buildkit.v1.frontend.LLBBridge/"


class Method(NamedTuple, Generic[_Request, _Response]):
    """One method of a service.

    Attributes:
        path: what HTTP/2 calls it, ``/package.Service/Method``.
        request: message type sent.
        response: message type received.
    """

    path: str
    request: type[_Request]
    response: type[_Response]

    def unary(self, channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[_Request, _Response]:
        """Bind a method with one request and one response to *channel*."""
        return channel.unary_unary(
            self.path,
            request_serializer=self.request.SerializeToString,  # type: ignore[attr-defined]
            response_deserializer=self.response.FromString,  # type: ignore[attr-defined]
        )

    def server_stream(
        self, channel: grpc.Channel
    ) -> grpc.UnaryStreamMultiCallable[_Request, _Response]:
        """Bind a method with one request and many responses to *channel*."""
        return channel.unary_stream(
            self.path,
            request_serializer=self.request.SerializeToString,  # type: ignore[attr-defined]
            response_deserializer=self.response.FromString,  # type: ignore[attr-defined]
        )

    def both_streams(
        self, channel: grpc.Channel
    ) -> grpc.StreamStreamMultiCallable[_Request, _Response]:
        """Bind a method with many requests and many responses to *channel*."""
        return channel.stream_stream(
            self.path,
            request_serializer=self.request.SerializeToString,  # type: ignore[attr-defined]
            response_deserializer=self.response.FromString,  # type: ignore[attr-defined]
        )


DISK_USAGE: Final = Method(
    f"{_CONTROL}DiskUsage", control_pb2.DiskUsageRequest, control_pb2.DiskUsageResponse
)
PRUNE: Final = Method(f"{_CONTROL}Prune", control_pb2.PruneRequest, control_pb2.UsageRecord)
SOLVE: Final = Method(f"{_CONTROL}Solve", control_pb2.SolveRequest, control_pb2.SolveResponse)
STATUS: Final = Method(f"{_CONTROL}Status", control_pb2.StatusRequest, control_pb2.StatusResponse)
SESSION: Final = Method(f"{_CONTROL}Session", control_pb2.BytesMessage, control_pb2.BytesMessage)
LIST_WORKERS: Final = Method(
    f"{_CONTROL}ListWorkers", control_pb2.ListWorkersRequest, control_pb2.ListWorkersResponse
)
INFO: Final = Method(f"{_CONTROL}Info", control_pb2.InfoRequest, control_pb2.InfoResponse)

BRIDGE_RESOLVE_IMAGE: Final = Method(
    f"{_BRIDGE}ResolveImageConfig",
    gateway_pb2.ResolveImageConfigRequest,
    gateway_pb2.ResolveImageConfigResponse,
)
BRIDGE_SOLVE: Final = Method(f"{_BRIDGE}Solve", gateway_pb2.SolveRequest, gateway_pb2.SolveResponse)
BRIDGE_READ_FILE: Final = Method(
    f"{_BRIDGE}ReadFile", gateway_pb2.ReadFileRequest, gateway_pb2.ReadFileResponse
)
BRIDGE_READ_DIR: Final = Method(
    f"{_BRIDGE}ReadDir", gateway_pb2.ReadDirRequest, gateway_pb2.ReadDirResponse
)
BRIDGE_STAT_FILE: Final = Method(
    f"{_BRIDGE}StatFile", gateway_pb2.StatFileRequest, gateway_pb2.StatFileResponse
)
BRIDGE_PING: Final = Method(f"{_BRIDGE}Ping", gateway_pb2.PingRequest, gateway_pb2.PongResponse)
BRIDGE_RETURN: Final = Method(
    f"{_BRIDGE}Return", gateway_pb2.ReturnRequest, gateway_pb2.ReturnResponse
)
