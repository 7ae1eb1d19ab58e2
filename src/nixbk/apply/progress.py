"""What a build is doing, told as it happens. Effect: calls a function with lines of text.

BuildKit reports vertices; this keeps those that are steps of ours, by digest, and says when one
starts, ends or fails. It also counts what ran, which is the truth that a plan is held against.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from nixbk.apply.failures import REPORT
from nixbk.apply.prober import is_miss_text
from nixbk.apply.sizes import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nixbk.apply.logs import StepLogs
    from nixbk.nix.store_path import StorePath
    from nixbk.proto.control_pb2 import StatusResponse, Vertex

LOG_LINES: Final = 20
TOLD_FETCHES: Final = 30
"""Of more than these, what is fetched is told in so many lines as there are tenths."""
TENTHS: Final = 10
STDOUT: Final = 1
"""The ``stream`` that in a step of ours the helper alone writes, its result."""
_NANOSECONDS: Final = 1_000_000_000
_BUILD: Final = ("building", "built")
_DOWNLOAD: Final = ("fetching", "fetched")


Told: TypeAlias = "Callable[[bytes], object]"
"""Takes the result file of a step that is about to end."""


class Running(NamedTuple):
    """A step that is being built.

    Attributes:
        name: for people.
        elapsed_s: since it began, as far as this client saw.
        line: the last line it printed.
    """

    name: str
    elapsed_s: float
    line: str


@dataclass(slots=True)
class _Vertex:
    step: StorePath
    verbs: tuple[str, str]
    started_s: float = 0.0
    seen_s: float = 0.0
    said_start: bool = False
    ended: bool = False
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    partial: str = ""
    told: Told | None = None
    result: bytes = b""


@dataclass(slots=True)
class _Fetches:
    """What is fetched from binary caches.

    Attributes:
        count: store paths to fetch.
        size_bytes: of all of them.
        running: since when each step is fetched, with its paths.
    """

    count: int
    size_bytes: int
    running: dict[StorePath, tuple[float, Sequence[StorePath]]] = field(default_factory=dict)
    done: int = 0
    done_bytes: int = 0
    told: int = 0


class Progress:
    """Follows the steps of one apply.

    Attributes:
        ran: steps that BuildKit executed, whether or not they succeeded.
        fetched_paths: store paths that it has from binary caches now.
        say: takes one line for the user.
        keep: where the logs of steps are kept.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        logs: bool = False,
        starts: bool = True,
        keep: StepLogs | None = None,
    ) -> None:
        """Tell through *say*.

        Args:
            say: takes one line.
            logs: whether every line of every builder is told.
            starts: whether it is told when a step begins.
            keep: keeps the logs of steps.
        """
        self.keep = keep
        self.ran: dict[StorePath, float] = {}
        self.fetched_paths: set[StorePath] = set()
        self.say = say
        self._logs = logs
        self._starts = starts
        self._vertices: dict[str, _Vertex] = {}
        self._fetches = _Fetches(0, 0)
        self._lock = Lock()

    def watch(
        self, digest: str, step: StorePath, *, download: bool = False, told: Told | None = None
    ) -> None:
        """Follow the vertex *digest*, which is *step*.

        Args:
            digest: of the vertex.
            step: what it makes.
            download: whether it is fetched and not built.
            told: given the result file as the helper tells it, before BuildKit has ended the step.
        """
        verbs = _DOWNLOAD if download else _BUILD
        with self._lock:
            vertex = self._vertices.setdefault(digest, _Vertex(step, verbs))
            vertex.told, vertex.result = told, b""

    def on_status(self, status: StatusResponse) -> None:
        """Take one message of BuildKit's status stream."""
        with self._lock:
            ours = [
                (known, vertex)
                for vertex in status.vertexes
                if (known := self._vertices.get(vertex.digest)) and not vertex.cached
            ]
            for known, vertex in ours:
                if vertex.HasField("started") and not known.said_start:
                    self._begin(known, vertex)
            # what a step printed last comes with its end
            for entry in status.logs:
                logging = self._vertices.get(entry.vertex)
                if logging is not None and entry.stream == STDOUT:
                    _take_result(logging, entry.msg)
                elif logging is not None:
                    if self.keep is not None:
                        self.keep.add(logging.step, entry.msg)
                    self._take_log(logging, entry.msg.decode("utf-8", "replace"))
            for known, vertex in ours:
                self._end(known, vertex)

    def _begin(self, known: _Vertex, vertex: Vertex) -> None:
        known.said_start = True
        known.started_s = _seconds(vertex.started)
        known.seen_s = time.monotonic()
        self.ran[known.step] = 0.0
        if self.keep is not None:
            self.keep.begin(known.step)
        if self._starts:
            self.say(f"{known.verbs[0]} {_name(known.step)}")

    def _end(self, known: _Vertex, vertex: Vertex) -> None:
        if vertex.error and is_miss_text(vertex.error):
            known.said_start = False  # it met a probe and did not run
            self.ran.pop(known.step, None)
            if self.keep is not None:
                self.keep.drop(known.step)
        elif vertex.HasField("completed") and known.said_start and not known.ended:
            known.ended = True
            duration_s = _seconds(vertex.completed) - known.started_s
            self.ran[known.step] = duration_s
            if self.keep is not None:
                self.keep.end(known.step, failed=bool(vertex.error))
            word = "failed" if vertex.error else known.verbs[1]
            self.say(f"{word} {_name(known.step)} in {duration_s:.1f} s")

    def running(self) -> tuple[Running, ...]:
        """What is being built now, in the order it began."""
        now_s = time.monotonic()
        with self._lock:
            vertices = [v for v in self._vertices.values() if v.said_start and not v.ended]
            fetches = [
                Running(path.name, now_s - since_s, "fetching")
                for since_s, paths in self._fetches.running.values()
                for path in paths
            ]
            builds = [
                Running(
                    _name(vertex.step), now_s - vertex.seen_s, vertex.log[-1] if vertex.log else ""
                )
                for vertex in sorted(vertices, key=lambda vertex: vertex.seen_s)
            ]
            return (*fetches, *builds)

    def begin_fetches(self, count: int, size_bytes: int) -> None:
        """Take note that so many store paths are to be fetched."""
        with self._lock:
            self._fetches = _Fetches(count, size_bytes)

    def fetching(self, step: StorePath, paths: Sequence[StorePath]) -> None:
        """Take note that a step begins to fetch *paths*."""
        with self._lock:
            self._fetches.running[step] = (time.monotonic(), paths)

    def not_fetched(self, step: StorePath) -> None:
        """Take note that a step failed."""
        with self._lock:
            self._fetches.running.pop(step, None)

    def fetched(self, step: StorePath, size_bytes: int) -> None:
        """Take note that a step has fetched its paths."""
        with self._lock:
            fetches = self._fetches
            _, paths = fetches.running.pop(step)
            self.fetched_paths.update(paths)
            fetches.done += len(paths)
            fetches.done_bytes += size_bytes
            if fetches.count <= TOLD_FETCHES:
                names = ", ".join(path.name for path in paths)
                self.say(f"fetched {names}, {size_text(size_bytes)}")
            elif (tenth := fetches.done * TENTHS // fetches.count) > fetches.told:
                fetches.told = tenth
                self.say(f"fetched {self._fetches_text()}")

    def fetches(self) -> str:
        """How far it is with what is fetched; empty when nothing is."""
        with self._lock:
            return f"fetched {self._fetches_text()}" if self._fetches.running else ""

    def _fetches_text(self) -> str:
        found = self._fetches
        done, size = size_text(found.done_bytes), size_text(found.size_bytes)
        return f"{found.done} of {found.count} paths, {done} of {size}"

    def _take_log(self, vertex: _Vertex, text: str) -> None:
        *lines, vertex.partial = (vertex.partial + text).split("\n")
        for line in lines:
            vertex.log.append(line.rstrip("\r"))
            if self._logs and not line.startswith(REPORT):
                self.say(f"{_name(vertex.step)}> {vertex.log[-1]}")


def _take_result(vertex: _Vertex, data: bytes) -> None:
    """Hand on a result once all of its one line is there."""
    if vertex.told is None:
        return  # nobody asked, or it came before
    vertex.result += data
    if vertex.result.endswith(b"\n"):
        vertex.told(vertex.result)
        vertex.told, vertex.result = None, b""


def _name(step: StorePath) -> str:
    return step.name.removesuffix(".drv")


def _seconds(timestamp: object) -> float:
    seconds = getattr(timestamp, "seconds", 0)
    nanos = getattr(timestamp, "nanos", 0)
    return float(seconds) + float(nanos) / _NANOSECONDS
