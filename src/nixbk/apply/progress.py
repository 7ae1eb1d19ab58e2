"""What a build is doing, told as it happens. Effect: calls a function with lines of text.

BuildKit reports vertices; this keeps those that are steps of ours, by digest, and says when one
starts, ends or fails. It also counts what ran, which is the truth that a plan is held against.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixbk.nix.store_path import StorePath
    from nixbk.proto.control_pb2 import StatusResponse

LOG_LINES: Final = 20
_NANOSECONDS: Final = 1_000_000_000


@dataclass(slots=True)
class _Vertex:
    step: StorePath
    started_s: float = 0.0
    said_start: bool = False
    ended: bool = False
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    partial: str = ""


class Progress:
    """Follows the steps of one apply.

    Attributes:
        ran: steps that BuildKit executed, whether or not they succeeded.
    """

    def __init__(self, say: Callable[[str], None], *, logs: bool = False) -> None:
        """Tell through *say*; with *logs* every line that builders print, too."""
        self.ran: dict[StorePath, float] = {}
        self._say = say
        self._logs = logs
        self._vertices: dict[str, _Vertex] = {}
        self._lock = Lock()

    def watch(self, digest: str, step: StorePath) -> None:
        """Follow the vertex *digest*, which is *step*."""
        with self._lock:
            self._vertices.setdefault(digest, _Vertex(step))

    def on_status(self, status: StatusResponse) -> None:
        """Take one message of BuildKit's status stream."""
        with self._lock:
            for vertex in status.vertexes:
                known = self._vertices.get(vertex.digest)
                if known is None or vertex.cached:
                    continue
                if vertex.HasField("started") and not known.said_start:
                    known.said_start = True
                    known.started_s = _seconds(vertex.started)
                    self.ran[known.step] = 0.0
                    self._say(f"building {_name(known.step)}")
                if vertex.HasField("completed") and known.said_start and not known.ended:
                    known.ended = True
                    duration_s = _seconds(vertex.completed) - known.started_s
                    self.ran[known.step] = duration_s
                    word = "failed" if vertex.error else "built"
                    self._say(f"{word} {_name(known.step)} in {duration_s:.1f} s")
            for entry in status.logs:
                known = self._vertices.get(entry.vertex)
                if known is not None:
                    self._take_log(known, entry.msg.decode("utf-8", "replace"))

    def log(self, step: StorePath) -> tuple[str, ...]:
        """The last lines that a step printed."""
        with self._lock:
            for vertex in self._vertices.values():
                if vertex.step == step:
                    rest = (vertex.partial,) if vertex.partial else ()
                    return (*vertex.log, *rest)
        return ()

    def _take_log(self, vertex: _Vertex, text: str) -> None:
        *lines, vertex.partial = (vertex.partial + text).split("\n")
        for line in lines:
            vertex.log.append(line.rstrip("\r"))
            if self._logs:
                self._say(f"{_name(vertex.step)}> {vertex.log[-1]}")


def _name(step: StorePath) -> str:
    return step.name.removesuffix(".drv")


def _seconds(timestamp: object) -> float:
    seconds = getattr(timestamp, "seconds", 0)
    nanos = getattr(timestamp, "nanos", 0)
    return float(seconds) + float(nanos) / _NANOSECONDS
