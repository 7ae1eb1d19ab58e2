"""Secrets of this client, handed to a builder by id. Source: BuildKit ``session/secrets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.service import Service, unary
from nixbk.proto import secrets_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def secrets_service(secrets: Mapping[str, bytes | Callable[[], bytes]]) -> Service:
    """Serve *secrets* by id; a function is called each time its secret is asked for."""

    def get(raw: bytes, context: grpc.ServicerContext) -> bytes:
        name = secrets_pb2.GetSecretRequest.FromString(raw).ID
        value = secrets.get(name)
        if value is None:
            # the code tells the builder that an optional secret may be left out
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no secret {name!r}")
        try:
            data = value if isinstance(value, bytes) else value()
        except OSError as error:
            context.abort(grpc.StatusCode.INTERNAL, f"cannot read {name!r}: {error.strerror}")
        return secrets_pb2.GetSecretResponse(data=data).SerializeToString()

    return Service("moby.buildkit.secrets.v1.Secrets", {"GetSecret": unary(get)})
