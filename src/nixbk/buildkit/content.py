"""Folders of blobs that the builder reads cache from and writes it to, over the session.

Which folder is meant stands in the metadata of each call. A write answers every request with how
far it is; a write that ends early leaves nothing.

Source: containerd ``plugins/services/content/contentserver``, BuildKit ``session/content``.
Effect: the files of :mod:`nixbk.buildkit.content_folder`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from google.protobuf.empty_pb2 import Empty

from nixbk.buildkit.content_folder import ContentError
from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.service import Service, both_streams, metadata, server_stream, unary
from nixbk.proto import content_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.timestamp_pb2 import Timestamp

    from nixbk.buildkit.content_folder import Blob, ContentFolder, Reason, Writing

STORE_KEY: Final = "buildkit-attachable-store-id"
_CHUNK_BYTES: Final = 1024 * 1024
_LISTED: Final = 100
_CODES: Final[Mapping[Reason, grpc.StatusCode]] = {
    "absent": grpc.StatusCode.NOT_FOUND,
    "busy": grpc.StatusCode.UNAVAILABLE,
    "exists": grpc.StatusCode.ALREADY_EXISTS,
    "malformed": grpc.StatusCode.INVALID_ARGUMENT,
    "mismatch": grpc.StatusCode.FAILED_PRECONDITION,
}


def content_service(stores: Mapping[str, ContentFolder]) -> Service:
    """Serve *stores*, by the ids that the builder knows them by."""
    served = _Content(stores)
    return Service(
        "containerd.services.content.v1.Content",
        {
            "Info": unary(served.info),
            "Update": unary(served.update),
            "List": server_stream(served.list),
            "Read": server_stream(served.read),
            "Status": unary(served.status),
            "ListStatuses": unary(served.list_statuses),
            "Write": both_streams(served.write),
            "Abort": unary(served.abort),
        },
    )


class _Content:
    """The methods, each for the folder that the call names."""

    def __init__(self, stores: Mapping[str, ContentFolder]) -> None:
        self._stores = stores

    def info(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        """Describe a blob."""
        with _telling(context):
            blob = self._store(context).find(pb.InfoRequest.FromString(raw).digest)
        return pb.InfoResponse(info=_info(blob)).SerializeToString()

    def update(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        """Refuse labels: blobs have none here."""
        del raw
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "labels are not kept here")

    def list(self, raw: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Describe all blobs."""
        if pb.ListContentRequest.FromString(raw).filters:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "blobs are not filtered here")
        with _telling(context):
            found = [_info(blob) for blob in self._store(context).blobs()]
        for start in range(0, len(found), _LISTED):
            page = found[start : start + _LISTED]
            yield pb.ListContentResponse(info=page).SerializeToString()

    def read(self, raw: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Send a blob, or a part of it."""
        request = pb.ReadContentRequest.FromString(raw)
        with _telling(context):
            store = self._store(context)
            size = store.find(request.digest).size
            start = max(request.offset, 0)
            if start > size:
                context.abort(grpc.StatusCode.OUT_OF_RANGE, f"the blob has {size} bytes")
            rest = size - start
            if 0 < request.size < rest:
                rest = request.size
            sent = 0
            with store.open(request.digest) as file:
                file.seek(start)
                while sent < rest and (data := file.read(min(_CHUNK_BYTES, rest - sent))):
                    yield pb.ReadContentResponse(offset=sent, data=data).SerializeToString()
                    sent += len(data)

    def status(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        """Describe one write under way."""
        with _telling(context):
            found = self._store(context).written(pb.StatusRequest.FromString(raw).ref)
        return pb.StatusResponse(status=_status(found)).SerializeToString()

    def list_statuses(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        """Describe all writes under way."""
        del raw
        with _telling(context):
            found = self._store(context).all_written()
        return pb.ListStatusesResponse(statuses=map(_status, found)).SerializeToString()

    def abort(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        """Nothing is left of a write that ended, and one under way goes on."""
        with _telling(context):
            self._store(context).written(pb.AbortRequest.FromString(raw).ref)
        return Empty().SerializeToString()

    def write(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Take a blob, piece by piece."""
        with _telling(context):
            first = pb.WriteContentRequest.FromString(next(requests, b""))
            if not first.ref:
                raise ContentError("malformed", "the first request names no write")
            store = self._store(context)
            with store.writing(first.ref) as writing:
                yield _written(store, writing, first)
                ended = first.action == pb.COMMIT
                for raw in () if ended else requests:
                    request = pb.WriteContentRequest.FromString(raw)
                    yield _written(store, writing, request)
                    if request.action == pb.COMMIT:
                        break

    def _store(self, context: grpc.ServicerContext) -> ContentFolder:
        ids = metadata(context).get(STORE_KEY) or ("",)
        if ids[0] not in self._stores:
            raise ContentError("absent", f"there is no folder {ids[0]!r}")
        return self._stores[ids[0]]


def _written(store: ContentFolder, writing: Writing, request: pb.WriteContentRequest) -> bytes:
    """Carry one request of a write out."""
    if request.expected:
        writing.expected = request.expected
        _refuse_again(store, request.expected)
    writing.total = request.total or writing.total
    if request.action != pb.STAT:
        if request.offset > 0 and request.offset != writing.offset:
            raise ContentError("mismatch", f"the write is at {writing.offset}")
        if request.offset == 0 and writing.offset > 0:
            writing.truncate()
        writing.write(request.data)
        if request.action == pb.COMMIT:
            store.commit(writing)
    response = pb.WriteContentResponse(
        action=request.action, offset=writing.offset, total=writing.total, digest=writing.digest
    )
    _set(response.started_at, writing.started_s)
    _set(response.updated_at, writing.updated_s)
    return response.SerializeToString()


def _refuse_again(store: ContentFolder, digest: str) -> None:
    try:
        store.find(digest)
    except ContentError as error:
        if error.reason != "absent":
            raise
        return
    raise ContentError("exists", f"the blob {digest} is there")


@contextmanager
def _telling(context: grpc.ServicerContext) -> Iterator[None]:
    """Tell the builder what goes wrong in the block."""
    try:
        yield
    except ContentError as error:
        context.abort(_CODES[error.reason], str(error))
    except OSError as error:
        context.abort(grpc.StatusCode.INTERNAL, f"the client's folder: {error}")


def _info(blob: Blob) -> pb.Info:
    info = pb.Info(digest=blob.digest, size=blob.size)
    _set(info.created_at, blob.mtime_s)
    _set(info.updated_at, blob.mtime_s)
    return info


def _status(writing: Writing) -> pb.Status:
    status = pb.Status(
        ref=writing.ref, offset=writing.offset, total=writing.total, expected=writing.expected
    )
    _set(status.started_at, writing.started_s)
    _set(status.updated_at, writing.updated_s)
    return status


def _set(timestamp: Timestamp, time_s: float) -> None:
    timestamp.FromNanoseconds(int(time_s * 1_000_000_000))
