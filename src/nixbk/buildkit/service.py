"""What a session serves to the builder: named methods, and nothing else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus

from nixbk.buildkit.rpc import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Service(NamedTuple):
    """One gRPC service of a session.

    Attributes:
        name: with its package.
        handlers: by method name.
    """

    name: str
    handlers: Mapping[str, grpc.RpcMethodHandler[bytes, bytes]]

    @property
    def paths(self) -> tuple[str, ...]:
        """The full path of every method."""
        return tuple(f"/{self.name}/{method}" for method in self.handlers)


def unary(
    answer: Callable[[bytes, grpc.ServicerContext], bytes],
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Serve a method with one request and one response, both as bytes."""
    return grpc.unary_unary_rpc_method_handler(answer, None, None)


def server_stream(
    answer: Callable[[bytes, grpc.ServicerContext], Iterable[bytes]],
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Serve a method with one request and many responses, all as bytes."""
    return grpc.unary_stream_rpc_method_handler(answer, None, None)


def both_streams(
    answer: Callable[[Iterator[bytes], grpc.ServicerContext], Iterable[bytes]],
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Serve a method with many requests and many responses, all as bytes."""
    return grpc.stream_stream_rpc_method_handler(answer, None, None)


def metadata(context: grpc.ServicerContext) -> dict[str, tuple[str, ...]]:
    """Return a call's metadata, decoded as BuildKit encodes what is not ASCII.

    Source: ``decodeOpts``, BuildKit ``session/filesync/filesync.go``.
    """
    found: dict[str, list[str]] = {}
    for key, value in context.invocation_metadata() or ():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        found.setdefault(key, []).append(text)
    return {
        key: tuple(unquote_plus(value) for value in values)
        if found.get(f"{key}-encoded") == ["1"]
        else tuple(values)
        for key, values in found.items()
    }
