"""Bytes the builder may pull from this client, as HTTP sources pinned by their hash.

Source: BuildKit ``session/upload``. Reads what is registered.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.service import Service, both_streams, metadata
from nixbk.proto import upload_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

URL_PREFIX: Final = "http://buildkit-session/"
_CHUNK_BYTES: Final = 1024 * 1024


class Upload(NamedTuple):
    """Bytes known beforehand.

    Attributes:
        sha256: of the bytes, in hexadecimal; the builder checks it, nixbk does not.
        size: how many there are.
        open: opens them at their start, every time it is called.
    """

    sha256: str
    size: int
    open: Callable[[], BinaryIO]

    @property
    def url(self) -> str:
        """The address a definition names them by."""
        return URL_PREFIX + self.sha256


class Uploads:
    """The uploads of a session; more may be added while it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Upload] = {}
        self._pulled_bytes = 0

    @property
    def pulled_bytes(self) -> int:
        """How many bytes builders have pulled so far."""
        return self._pulled_bytes

    def add(self, upload: Upload) -> str:
        """Register *upload* and return its URL; the same bytes have the same one."""
        with self._lock:
            self._by_id[upload.sha256] = upload
        return upload.url

    def service(self) -> Service:
        """Serve what is registered."""
        return Service("moby.upload.v1.Upload", {"Pull": both_streams(self._pull)})

    def _pull(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        del requests  # the builder sends none
        path = (metadata(context).get("urlpath") or ("",))[0]
        upload = self._by_id.get(path.removeprefix("/"))
        if upload is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"nothing is registered as {path!r}")
        try:
            with upload.open() as file:
                while chunk := file.read(_CHUNK_BYTES):
                    self._pulled_bytes += len(chunk)
                    yield upload_pb2.BytesMessage(data=chunk).SerializeToString()
        except OSError as error:
            context.abort(grpc.StatusCode.INTERNAL, f"cannot read {path!r}: {error.strerror}")
