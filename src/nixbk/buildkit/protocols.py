"""What the rest of nixbk knows of a builder: values, and the protocol of one running build.

``nixbk.buildkit.build.GatewayBuild`` is the real one; tests use an in-memory twin. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nixbk.buildkit.outputs import Writer
    from nixbk.proto import ops_pb2

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Ref(NamedTuple):
    """A snapshot that a solve yielded, valid until its build ends.

    Attributes:
        id: the builder's name for it.
    """

    id: str


class FileStat(NamedTuple):
    """What a builder tells of one file of a snapshot.

    Attributes:
        path: relative to what was asked for.
        mode: type and permissions in Go's ``os.FileMode``.
        uid: owner.
        gid: group.
        size_bytes: length of a regular file.
        mtime_ns: nanoseconds since 1970.
        target: of a symbolic link, else empty.
    """

    path: str
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    target: str


class Result(NamedTuple):
    """What a build hands to its exporters.

    Attributes:
        ref: the one snapshot; None is the empty snapshot.
        refs: one snapshot for each platform id, when there are several; then ``ref`` is ignored.
        metadata: exporter metadata: ``containerimage.config`` (with ``/<platform id>`` appended
            when there are several), ``refs.platforms``, …
    """

    ref: Ref | None = None
    refs: Mapping[str, Ref | None] = _NOTHING
    metadata: Mapping[str, bytes] = _NOTHING


class Exporter(NamedTuple):
    """One thing to do with a build's result.

    Attributes:
        type: ``image``, ``oci``, ``docker``, ``tar``, ``local`` or Docker's ``moby``.
        attrs: its options, such as ``name`` and ``push``.
        output: where the client puts what the builder sends: a folder for ``local``; for a
            ``tar``, ``oci`` or ``docker`` archive a function that takes its chunks.
    """

    type: str
    attrs: Mapping[str, str] = _NOTHING
    output: Path | Writer | None = None


@dataclass(frozen=True, slots=True)
class CacheOption:
    """One place that cache is imported from or exported to.

    Attributes:
        type: ``registry``, ``local``, ``inline``, ``gha``, ``s3``, …
        attrs: its options, such as ``ref`` and ``mode``; never shown, since some are secret.
    """

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict, repr=False)


class Worker(NamedTuple):
    """One machine of a builder.

    Attributes:
        id: the builder's name for it.
        labels: what it tells of itself: host name, snapshotter, network mode, …
        platforms: ``os/architecture[/variant]``, its own first.
    """

    id: str
    labels: Mapping[str, str]
    platforms: tuple[str, ...]


class BuilderInfo(NamedTuple):
    """Which BuildKit answers; fields are empty when it does not tell.

    Attributes:
        package: its Go package.
        version: as released, such as ``v0.25.0``; Docker gives its own commit.
        revision: commit.
    """

    package: str
    version: str
    revision: str


class Capabilities(NamedTuple):
    """What a builder can do, by the names in BuildKit's ``solver/pb/caps.go``.

    Attributes:
        llb: enabled capabilities of operations, such as ``mergeop``.
        frontend: enabled capabilities of the gateway, such as ``readdir``.
        workers: the workers a build may use, the default first.
    """

    llb: frozenset[str]
    frontend: frozenset[str]
    workers: tuple[Worker, ...] = ()

    def missing(self, wanted: frozenset[str]) -> tuple[str, ...]:
        """Name the capabilities of *wanted* that operations cannot use here, sorted."""
        return tuple(sorted(wanted - self.llb))


class Build(Protocol):
    """One running build; every method may be called from several threads at once."""

    @property
    def capabilities(self) -> Capabilities:
        """What the builder of this build can do."""
        ...

    def solve(
        self,
        definition: ops_pb2.Definition,
        *,
        evaluate: bool = True,
        limit_s: float | None = None,
    ) -> Ref | None:
        """Build *definition*, or only load it when *evaluate* is false; None is empty.

        Raises:
            BuildFailed: an operation failed.
            BuilderError: with the code ``DEADLINE_EXCEEDED``, it took longer than *limit_s*.
        """
        ...

    def read_file(self, ref: Ref, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Read a file of *ref*; a *length* of 0 is all of it."""
        ...

    def read_dir(self, ref: Ref, path: str, pattern: str = "") -> tuple[FileStat, ...]:
        """List a folder of *ref*, by name."""
        ...

    def stat_file(self, ref: Ref, path: str) -> FileStat:
        """Describe a file of *ref*."""
        ...

    def resolve_image_config(self, name: str, platform: str = "") -> dict[str, Any] | None:
        """Return the configuration of an image in a registry, None when it has none."""
        ...

    def finish(self, result: Result) -> dict[str, str]:
        """End the build with *result* and return what its exporters answered."""
        ...

    def abandon(self) -> None:
        """End all calls that wait, from any thread; the build fails when its block is left."""
        ...

    def cancel(self) -> None:
        """End the build at once, from whatever thread."""
        ...
