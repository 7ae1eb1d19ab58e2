"""What happens in a running build, as its builder tells it.

Source: ``Control/Status``. Starts one thread, which calls back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from nixbk.buildkit import methods
from nixbk.buildkit.rpc import grpc
from nixbk.proto import control_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

OnStatus: TypeAlias = Callable[[control_pb2.StatusResponse], object]

LOG_LINES: Final = 25
_TAIL_BYTES: Final = 16 * 1024
_PAUSE_BYTES: Final = 2 * _TAIL_BYTES


class LogTails:
    """What runs, and the last output of every operation that does or has failed; bounded in size.

    An operation's lines are forgotten when it ends well.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tails: dict[str, bytearray] = {}
        self._failed: dict[str, str] = {}
        self._running: set[str] = set()
        self._closed = False

    def add(self, status: control_pb2.StatusResponse) -> None:
        """Take note of what happened."""
        with self._changed:
            for log in status.logs:
                tail = self._tails.setdefault(log.vertex, bytearray())
                tail += log.msg
                if len(tail) > _PAUSE_BYTES:
                    del tail[:-_TAIL_BYTES]
            for vertex in status.vertexes:
                if vertex.HasField("completed"):
                    self._running.discard(vertex.digest)
                elif vertex.HasField("started"):
                    self._running.add(vertex.digest)
                if vertex.error:
                    self._failed[vertex.digest] = vertex.name
                elif vertex.HasField("completed"):
                    self._tails.pop(vertex.digest, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be added."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def settle(self, wait_s: float) -> bool:
        """Wait until no operation runs, and tell whether none does."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or not self._running, wait_s)

    def lines(self, vertex: str, *, wait_s: float) -> tuple[str, tuple[str, ...]]:
        """Return the name and the last lines of *vertex*, once its failure is known here too.

        An error overtakes the status stream, so this waits for the latter up to *wait_s*.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or vertex in self._failed, wait_s)
            name = self._failed.get(vertex, "")
            text = bytes(self._tails.get(vertex, b"")).decode("utf-8", "replace")
        lines = text.rstrip("\n").split("\n") if text else []
        return name, tuple(line.rstrip("\r") for line in lines[-LOG_LINES:])


class StatusReader:
    """Reads the status of one build to its end, in a thread of its own."""

    def __init__(self, channel: grpc.Channel, ref: str, on_status: OnStatus | None) -> None:
        self.tails = LogTails()
        self._on_status = on_status
        self._fault: Exception | None = None
        self._call: Iterable[control_pb2.StatusResponse] = methods.STATUS.server_stream(channel)(
            control_pb2.StatusRequest(Ref=ref)
        )
        self._thread = threading.Thread(target=self._read, name="nixbk-status", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> Exception | None:
        """What the callback raised first; it is not called again after that."""
        return self._fault

    def wait(self, timeout_s: float) -> bool:
        """Wait until the builder has told everything; tell whether it has."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def settle(self, wait_s: float) -> bool:
        """Wait until nothing of the build runs on the builder, and tell whether nothing does."""
        return threading.current_thread() is self._thread or self.tails.settle(wait_s)

    def stop(self) -> None:
        """Read no further."""
        self._call.cancel()  # type: ignore[attr-defined]

    def _read(self) -> None:
        try:
            for status in self._call:
                self.tails.add(status)
                if self._on_status is not None and self._fault is None:
                    try:
                        self._on_status(status)
                    except Exception as error:  # noqa: BLE001  raised again by the build
                        self._fault = error
        except grpc.RpcError:
            pass  # the build itself fails with the reason
        finally:
            self.tails.close()
