"""What a builder's exporters send to this client: archives, and folders.

Source: BuildKit ``session/filesync``, the service FileSend. Writes what was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.service import Service, both_streams, metadata
from nixbk.proto import filesync_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

Writer: TypeAlias = Callable[[bytes], object]
"""Takes the next chunk of an archive, as a file's ``write`` does."""


class Outputs:
    """Where the exporters of a session's builds put their bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_number: dict[int, Path | Writer] = {}
        self._fault: Exception | None = None

    def claim(self, outputs: dict[int, Path | Writer]) -> None:
        """Register *outputs* by exporter number.

        Raises:
            ValueError: another build of the session has outputs now.
        """
        with self._lock:
            if outputs and self._by_number:
                raise ValueError("one build with outputs at a time in a session")
            self._by_number.update(outputs)
            self._fault = None

    def release(self, outputs: dict[int, Path | Writer]) -> None:
        """Forget *outputs*."""
        with self._lock:
            for number in outputs:
                self._by_number.pop(number, None)

    @property
    def fault(self) -> Exception | None:
        """What went wrong on this side since the last claim."""
        return self._fault

    def service(self) -> Service:
        """Serve what is registered."""
        return Service("moby.filesync.v1.FileSend", {"DiffCopy": both_streams(self._receive)})

    def _receive(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        from nixbk.buildkit.receive import (  # noqa: PLC0415  few builds send anything
            ReceiveError,
            receive_folder,
        )

        text = (metadata(context).get("buildkit-attachable-exporter-id") or ("0",))[0]
        output = self._by_number.get(int(text) if text.isdecimal() else 0)
        if output is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"exporter {text!r} has no output here")
        try:
            if isinstance(output, Path):
                yield from receive_folder(output, requests)
                return
            for raw in requests:
                output(filesync_pb2.BytesMessage.FromString(raw).data)
        except (OSError, ReceiveError) as error:
            self._fault = error
            context.abort(grpc.StatusCode.INTERNAL, f"the client cannot write: {error}")
