"""The places an image goes to: Docker, an OCI archive, a registry. Effects.

A target knows what is there now, which the plan tells, and how BuildKit is to deliver. An image
that is there is known again by its configuration, whose key label covers all of its content; no
note of ours decides. What was there stays until the new image is whole.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from nixbk.apply.archive import archive_config
from nixbk.apply.meanwhile import Meanwhile
from nixbk.buildkit.errors import BuilderError
from nixbk.errors import NixbkError
from nixbk.image.config import config_matches
from nixbk.image.errors import ImageError
from nixbk.schema.files import replacing
from nixbk.schema.plan import PlannedTarget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from nixbk.buildkit.client import Client
    from nixbk.buildkit.docker import DockerApi
    from nixbk.buildkit.protocols import Build
    from nixbk.planner.images import ImageBlueprint
    from nixbk.schema.manifest import Image
    from nixbk.schema.plan import TargetAction

from nixbk.buildkit.protocols import Exporter

# An archive has these media types alone; so one image has one digest wherever it goes.
OCI: Final = {"oci-mediatypes": "true"}
UNCOMPRESSED: Final = "uncompressed"
COMPRESSED: Final = "gzip"

Look: TypeAlias = Meanwhile[object]
"""What Docker has under a name, once somebody has looked."""
NO_LOOKS: Final[Mapping[str, Look]] = MappingProxyType({})


class Target(Protocol):
    """One place an image goes to."""

    @property
    def type(self) -> str:
        """``docker``, ``oci`` or ``registry``."""
        ...

    @property
    def name(self) -> str:
        """Image reference or file."""
        ...

    @property
    def action(self) -> TargetAction:
        """What delivering is called."""
        ...

    def differences(self, image: ImageBlueprint, build: Build) -> tuple[str, ...]:
        """How what is there differs from *image*; empty when it is the same."""
        ...

    @contextmanager
    def exporter(self) -> Iterator[Exporter]:
        """How BuildKit is to deliver; what it sent takes its place when the block ends well."""
        ...


def planned(target: Target, reasons: tuple[str, ...]) -> PlannedTarget:
    """What the plan says of a target that has *reasons* to be written."""
    return PlannedTarget(target.type, target.name, target.action if reasons else "none", reasons)


class DockerEngine(NamedTuple):
    """The image store of the Docker engine that builds.

    Attributes:
        name: image reference.
        docker: the engine.
        compression: of layers that are new to it.
        look: what it has under the name, where somebody is looking already.
    """

    name: str
    docker: DockerApi
    compression: str = UNCOMPRESSED
    look: Look | None = None
    type: str = "docker"
    action: TargetAction = "load"

    def differences(self, image: ImageBlueprint, build: Build) -> tuple[str, ...]:
        """Compare with what the engine has under the name."""
        del build
        found = self.look.result() if self.look else self.docker.inspect_image(self.name)
        return _differences(image, found, "Docker has no such image")

    @contextmanager
    def exporter(self) -> Iterator[Exporter]:
        """Docker's own exporter, which replaces the tag last."""
        yield Exporter("moby", {"name": self.name, "compression": self.compression, **OCI})


class OciArchive(NamedTuple):
    """A file in the OCI image layout.

    Attributes:
        file: where it is written.
        reference: the image reference that it carries.
    """

    file: Path
    reference: str
    type: str = "oci"
    action: TargetAction = "write"

    @property
    def name(self) -> str:
        """The file as the user knows it."""
        return str(self.file)

    def differences(self, image: ImageBlueprint, build: Build) -> tuple[str, ...]:
        """Compare with the archive that is there."""
        del build
        return _differences(image, archive_config(self.file), "there is no such file")

    @contextmanager
    def exporter(self) -> Iterator[Exporter]:
        """Write beside the file and put it in its place at the end."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.file) as archive:
            yield Exporter("oci", {"name": self.reference}, archive.write)


class Registry(NamedTuple):
    """A repository of a registry, reached by BuildKit with the credentials of this session.

    Attributes:
        name: image reference.
        insecure: whether plain HTTP and unverified certificates are accepted.
    """

    name: str
    insecure: bool = False
    type: str = "registry"
    action: TargetAction = "push"

    def differences(self, image: ImageBlueprint, build: Build) -> tuple[str, ...]:
        """Compare with what the registry has, as BuildKit sees it."""
        try:
            found = build.resolve_image_config(self.name)
        except BuilderError as error:
            raise NixbkError(
                f"the registry cannot be asked about {self.name!r}: {error.message}",
                where=f"images.{image.key}.outputs",
                hint="see that the builder reaches it; 'insecure = true' allows plain HTTP",
            ) from error
        return _differences(image, found, "the registry has no such image")

    @contextmanager
    def exporter(self) -> Iterator[Exporter]:
        """Push; the tag is written last."""
        attrs = {"name": self.name, "push": "true", "store": "false", **OCI}
        if self.insecure:
            attrs["registry.insecure"] = "true"
        yield Exporter("image", attrs)


def looks(names: Iterable[str], client: Client) -> Mapping[str, Look]:
    """Begin to look what Docker has under *names*; it takes its time for images of many layers."""
    if not client.is_docker:
        return {}
    found = {name: Meanwhile(partial(_look, client, name)) for name in names}
    for look in found.values():
        look.begin()
    return found


def _look(client: Client, name: str) -> object:
    return client.docker.inspect_image(name)


def targets(
    key: str, image: Image, client: Client, folder: Path, begun: Mapping[str, Look] = NO_LOOKS
) -> tuple[Target, ...]:
    """Where the image *key* goes.

    Args:
        key: its table in the manifest.
        image: that table.
        client: the builder.
        folder: the manifest's, which file names are relative to.
        begun: what is looked for in Docker already, by name.

    Raises:
        NixbkError: it is to go into Docker, and the builder is not Docker's.
    """
    reference = image.reference(key)
    if not image.outputs:
        return (_docker(key, reference, client, UNCOMPRESSED, begun),)
    usual = UNCOMPRESSED if len(image.outputs) == 1 else COMPRESSED  # one digest everywhere
    found: list[Target] = []
    for output in image.outputs:
        if output.type == "oci":
            found.append(OciArchive(folder / output.path, reference))
        elif output.type == "registry":
            found.append(Registry(output.name or reference, output.insecure))
        else:
            compression = output.compression or usual
            found.append(_docker(key, reference, client, compression, begun))
    return tuple(found)


def _docker(
    key: str, reference: str, client: Client, compression: str, begun: Mapping[str, Look]
) -> DockerEngine:
    if not client.is_docker:
        raise NixbkError(
            f"the builder {str(client.address)!r} is not Docker's, so the image cannot be "
            "loaded into it",
            where=f"images.{key}.outputs",
            hint=f'add [[images.{key}.outputs]] with type = "oci" or type = "registry"',
        )
    return DockerEngine(reference, client.docker, compression, begun.get(reference))


def _differences(image: ImageBlueprint, found: object, absent: str) -> tuple[str, ...]:
    if found is None:
        return (absent,)
    try:
        return tuple(config_matches(image.config, found, len(image.layers)))
    except ImageError as error:
        return (f"what is there is not understood: {error.message}",)
