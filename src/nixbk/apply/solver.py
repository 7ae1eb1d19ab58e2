"""Solves outputs in builds of BuildKit's. Effect: calls to BuildKit, from any thread.

BuildKit keeps every definition that a build was sent until the build ends, and the definitions of
a large graph grow with every step. So a build that was sent much is followed by another: steps
under way end where they began, and new ones begin in the new build.

A step that ran in a build which has not ended looks to another build of BuildKit before 0.32 as if
it had no cache key: all that needs it would run again. There new steps wait until the build before
theirs has ended.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Final, Self

from nixbk.buildkit.errors import BuildCancelledError, BuildFailed
from nixbk.buildkit.uploads import URL_PREFIX
from nixbk.errors import NixbkError
from nixbk.llb.marshal import MAX_DEFINITION_BYTES, Marshaller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from nixbk.buildkit.protocols import Build, Ref
    from nixbk.llb.vertex import Output
    from nixbk.proto import ops_pb2

BUILD_BYTES: Final = 64 * 1024 * 1024
PIECE_BYTES: Final = 4 * 1024 * 1024
NEW_IN_0_32: Final = "passthroughop"
_NO_SESSION: Final = "no active session"
"""BuildKit could ask no client. Source: its ``session/group.go`` and ``session/manager.go``."""
_LEFT: Final = frozenset({"CANCELLED", "UNAVAILABLE"})
"""Codes of an upload whose client leaves; one that cannot give its bytes says so by another."""


class MetError(NixbkError):
    """What another client does was under way, and BuildKit let both share its fate.

    Nothing is wrong: the same in a new build of BuildKit's goes well.
    """


class SessionMetError(MetError):
    """BuildKit asked another client for what this one offers as well, and that client had left."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "the builder asked another client for it, which had left",
            where=name,
            hint="run the same again",
        )


def _has_left(error: BuildFailed) -> bool:
    """Whether the client that the builder asked had left, or did before it gave all."""
    asked = str(error.failure.op.get("source", {}).get("identifier", ""))
    is_upload = asked.startswith(URL_PREFIX)
    return _NO_SESSION in error.message or (is_upload and error.code in _LEFT)


class Definitions:
    """Marshals outputs of one growing graph, from any thread.

    Attributes:
        largest_bytes: of the definitions so far.
    """

    def __init__(self) -> None:
        self.largest_bytes = 0
        self._marshaller = Marshaller()
        self._lock = Lock()

    def marshal(self, output: Output) -> tuple[ops_pb2.Definition, int]:
        """The definition that makes *output*, and its size in bytes.

        Raises:
            NixbkError: it is longer than BuildKit takes.
        """
        with self._lock:
            definition, size_bytes = self._marshaller.marshal(output)
            self.largest_bytes = max(self.largest_bytes, size_bytes)
        if size_bytes > MAX_DEFINITION_BYTES:
            raise NixbkError(
                f"its definition has {size_bytes:,} bytes; BuildKit takes "
                f"{MAX_DEFINITION_BYTES:,} at most",
                where=output.vertex.name,
            )
        return definition, size_bytes


@dataclass(slots=True)
class _Running:
    """One build that was begun.

    Attributes:
        build: the build.
        stack: ends it.
        users: calls under way in it.
        sent_bytes: definitions it was sent.
    """

    build: Build
    stack: ExitStack
    users: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class Solver:
    """Makes outputs exist; a context that ends its builds.

    Attributes:
        begin: begins a build, which ends with its context.
        definitions: marshals what is solved.
        faults: fills with what the builder asked this client for in vain.
        build_bytes: definitions that one build is sent before another follows it.
    """

    begin: Callable[[], AbstractContextManager[Build]]
    definitions: Definitions = field(default_factory=Definitions)
    faults: Sequence[NixbkError] = ()
    build_bytes: int = BUILD_BYTES
    _builds: list[_Running] = field(default_factory=list)
    _abandoned: bool = False
    _changed: Condition = field(default_factory=Condition)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            builds, self._builds = self._builds, []
        ends = ExitStack()
        for running in builds:
            ends.push(running.stack.__exit__)
        ends.__exit__(kind, error, trace)

    @property
    def build(self) -> Build:
        """The build that new calls go to."""
        with self._leased(0) as build:
            return build

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Begin a build beside what is done in the block; its faults are told by the first call."""

        def begin() -> None:
            with suppress(NixbkError):
                _ = self.build

        thread = Thread(target=begin, name="nixbk-opening")
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def solve(self, *outputs: Output, limit_s: float | None = None) -> None:
        """Make *outputs* exist, one after the other in one build.

        Args:
            outputs: what is made. BuildKit keeps those outputs of an operation that it is asked
                for in the build in which it ran.
            limit_s: how long each may take; None for ever.

        Raises:
            BuildFailed: an operation failed.
            BuilderError: with the code ``DEADLINE_EXCEEDED``, its time was over.
            SessionMetError: to be tried again in a new build.
            SourceError: a source that BuildKit asked for is not what was locked.
            NixbkError: its definition is longer than BuildKit takes.
        """
        made = [self.definitions.marshal(output) for output in outputs]
        with self._leased(sum(size_bytes for _, size_bytes in made)) as build:
            for output, (definition, _) in zip(outputs, made, strict=True):
                self._solve(build, definition, output, limit_s)

    def read(self, output: Output, path: str) -> bytes:
        """Make *output* exist and read one of its files."""
        definition, size_bytes = self.definitions.marshal(output)
        with self._leased(size_bytes) as build:
            return build.read_file(self._solve(build, definition, output), path)

    def copy(self, output: Output, path: str, write: Callable[[bytes], object]) -> None:
        """Make *output* exist and hand one of its files to *write*, piece by piece."""
        definition, size_bytes = self.definitions.marshal(output)
        with self._leased(size_bytes) as build:
            ref = self._solve(build, definition, output)
            rest = build.stat_file(ref, path).size_bytes
            offset = 0
            while offset < rest:
                piece = build.read_file(ref, path, offset=offset, length=PIECE_BYTES)
                if not piece:
                    raise NixbkError(f"BuildKit returned {offset:,} of {rest:,} bytes", where=path)
                write(piece)
                offset += len(piece)

    def abandon(self) -> None:
        """Abandon everything under way, for good; calls raise ``BuildCancelledError``."""
        with self._changed:
            self._abandoned = True
            builds = list(self._builds)
            self._changed.notify_all()
        for running in builds:
            running.build.abandon()

    def _solve(
        self,
        build: Build,
        definition: ops_pb2.Definition,
        output: Output,
        limit_s: float | None = None,
    ) -> Ref:
        try:
            ref = build.solve(definition, evaluate=True, limit_s=limit_s)
        except BuildFailed as error:
            if self.faults:
                raise self.faults[0] from error
            if _has_left(error):
                raise SessionMetError(error.failure.name or output.vertex.name) from error
            raise
        if ref is None:
            raise NixbkError("BuildKit returned nothing", where=output.vertex.name)
        return ref

    @contextmanager
    def _leased(self, size_bytes: int) -> Iterator[Build]:
        """A build to send a definition of *size_bytes* to; it does not end before the block."""
        running = self._lease(size_bytes)
        try:
            yield running.build
        finally:
            with self._changed:
                running.users -= 1
                if running.users == 0 and self._is_full(running) and running in self._builds:
                    self._builds.remove(running)
                    self._changed.notify_all()
                    running.stack.close()

    def _lease(self, size_bytes: int) -> _Running:
        with self._changed:
            self._changed.wait_for(self._may_begin)
            if self._abandoned:
                raise BuildCancelledError("the build was cancelled")
            current = self._builds[-1] if self._builds else None
            if current is None or self._is_full(current):
                stack = ExitStack()
                current = _Running(stack.enter_context(self.begin()), stack)
                self._builds.append(current)
            current.users += 1
            current.sent_bytes += size_bytes
            return current

    def _may_begin(self) -> bool:
        """Whether a call finds a build, or may begin one."""
        if self._abandoned or not self._builds:
            return True
        last = self._builds[-1]
        return not self._is_full(last) or NEW_IN_0_32 in last.build.capabilities.llb

    def _is_full(self, running: _Running) -> bool:
        return running.sent_bytes > self.build_bytes
