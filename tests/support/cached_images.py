"""Images of paths from binary caches, on an engine. Effects: files, processes, the engine."""

from __future__ import annotations

import secrets
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cached_projects import CachedProject
from image_files import image_files, image_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from projects import Done, Engines


@dataclass(frozen=True)
class CachedImages:
    """A project whose images go to an engine's Docker, or else to files beside the manifest.

    Attributes:
        project: where it is; its user has no Nix.
        engines: what it is built on.
        salt: part of the images' names.
        layers: the most that an image has; few are quicker to load.
        made: the keys of the images that were applied.
    """

    project: CachedProject
    engines: Engines
    salt: str = field(default_factory=lambda: secrets.token_hex(4))
    layers: int = 100
    made: set[str] = field(default_factory=set)

    @classmethod
    def make(cls, place: Path, engines: Engines, layers: int = 100) -> CachedImages:
        """Make one below *place*."""
        project = CachedProject.make(place, NIXBK_BUILDER=engines.builder)
        return cls(project, engines, layers=layers)

    def with_nix(self) -> CachedImages:
        """The same, of a user with Nix."""
        path = f"{self.engines.tools}:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {**self.project.variables, "PATH": path}
        return replace(self, project=replace(self.project, variables=variables))

    def write(
        self,
        caches: Mapping[str, Mapping[str, object]],
        images: Mapping[str, Sequence[str]],
        top: str = "",
    ) -> None:
        """Write the manifest; images are given by key with their installables."""
        more = {key: f'name = "{self.name(key)}"\nlayers.max = {self.layers}' for key in images}
        if not self.engines.is_docker:
            for key in images:
                more[key] += f'\n[[images.{key}.outputs]]\ntype = "oci"\npath = "{key}.tar"'
        self.project.write(caches, images, more, top)

    def name(self, key: str) -> str:
        """The reference of an image."""
        return f"nixbk-test-{self.salt}-{key}:latest"

    def lock(self, *options: str) -> Done:
        """Lock."""
        return self.project.nixbk("lock", *options)

    def apply(self, *keys: str, code: int | None = 0) -> Done:
        """Apply images, all if none is named."""
        done = self.project.nixbk("apply", *keys, code=code)
        if not done.code:
            self.made.update(keys or tomllib.loads(self.project.manifest.read_text())["images"])
        return done

    def plan(self) -> Any:
        """The document of the plan."""
        return self.project.nixbk("plan", "--json").document

    def is_delivered(self, key: str) -> bool:
        """Whether the image is where it goes."""
        if not self.engines.is_docker:
            return (self.project.folder / f"{key}.tar").exists()
        return self.engines.docker("image", "inspect", self.name(key)).code == 0

    def files(self, key: str) -> dict[str, str | bytes]:
        """What is in the image, below the store."""
        return image_files(self._archive(key))

    def layer_bytes(self, key: str) -> list[bytes]:
        """The layers of the image, the lowest first, uncompressed."""
        return image_layers(self._archive(key))

    def _archive(self, key: str) -> Path:
        if not self.engines.is_docker:
            return self.project.folder / f"{key}.tar"
        archive = self.project.home / f"{key}.tar"
        saved = self.engines.docker("save", "--output", str(archive), self.name(key))
        assert saved.code == 0, saved
        return archive

    def clean(self) -> None:
        """Remove the images from Docker."""
        if self.engines.is_docker and self.made:
            self.engines.docker("rmi", "--force", *map(self.name, sorted(self.made)))
