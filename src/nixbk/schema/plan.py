"""The plan: what an apply would do, as ``nixbk plan --json`` prints it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

PLAN_VERSION = 1
"""The version of the document that this nixbk prints."""

TargetAction = Literal["none", "load", "write", "push"]


@dataclass(frozen=True, slots=True)
class PlannedBuild:
    """A derivation that BuildKit would have to build.

    Attributes:
        derivation: its derivation path.
        name: of the derivation, for people.
        outputs: its store paths.
        url: what is downloaded, empty when a builder runs.
    """

    derivation: str
    name: str
    outputs: tuple[str, ...]
    url: str = ""


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """A source that would be sent to BuildKit.

    Attributes:
        path: its store path.
        nar_size: bytes that travel.
    """

    path: str
    nar_size: int


@dataclass(frozen=True, slots=True)
class PlannedFetch:
    """A store path that BuildKit would fetch from a binary cache.

    Attributes:
        path: its store path.
        size: bytes that travel; of its archive before compression where no cache tells.
        substituters: names of the caches that have it, in the order they are asked.
    """

    path: str
    size: int
    substituters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """A place the image goes to.

    Attributes:
        type: ``docker``, ``oci`` or ``registry``.
        name: image reference, or file.
        action: what would be done there.
        reasons: why, one each.
    """

    type: str
    name: str
    action: TargetAction
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image of the plan.

    Attributes:
        cached: number of steps that are in BuildKit's cache and are needed.
        build: derivations to build, inputs first.
        send: sources to send, sorted.
        targets: where the image goes.
        fetch: store paths to fetch from binary caches, sorted.
    """

    cached: int
    build: tuple[PlannedBuild, ...]
    send: tuple[PlannedSource, ...]
    targets: tuple[PlannedTarget, ...]
    fetch: tuple[PlannedFetch, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether an apply would do anything for this image."""
        missing = self.build or self.send or self.fetch
        return bool(missing or any(target.action != "none" for target in self.targets))


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply would do.

    Attributes:
        builder: address of the builder that was asked.
        images: by their key in the manifest.
        version: of this document.
    """

    builder: str
    images: dict[str, PlannedImage]
    version: int = PLAN_VERSION

    @property
    def changes(self) -> bool:
        """Whether an apply would do anything."""
        return any(image.changes for image in self.images.values())

    @property
    def builds(self) -> tuple[PlannedBuild, ...]:
        """Every derivation to build, each once."""
        found = {build.derivation: build for image in self.images.values() for build in image.build}
        return tuple(found.values())

    @property
    def fetches(self) -> tuple[PlannedFetch, ...]:
        """Every store path to fetch, each once."""
        found = {fetch.path: fetch for image in self.images.values() for fetch in image.fetch}
        return tuple(found.values())

    def to_json(self) -> dict[str, object]:
        """The document of ``nixbk plan --json``."""
        return {**asdict(self), "changes": self.changes}
