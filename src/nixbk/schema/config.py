"""The configuration of an image: the manifest's, with output paths in their places. Pure.

Source: ``ImageConfig`` of the OCI image specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixbk.schema.expand import expand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import LockedImage, LockedInstallable
    from nixbk.schema.manifest import Image


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How a container of the image runs; every text is final.

    Attributes:
        entrypoint: the program and its first arguments.
        cmd: the arguments of the entrypoint when the user gives none.
        env: the environment, by name.
        workdir: the working directory, or empty.
        user: ``user[:group]``, or empty.
        labels: by name.
        ports: with their protocols, sorted.
        volumes: sorted.
        stop_signal: or empty.
    """

    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    user: str
    labels: Mapping[str, str]
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    stop_signal: str


def image_config(image: Image, locked: LockedImage) -> ImageConfig:
    """The configuration of *image*, whose installables are *locked*."""
    paths = {i.text: str(main_path(i) or "") for i in locked.installables}

    def full(text: str) -> str:
        return expand(text, paths.__getitem__)

    folders = [
        f"{i.paths[name]}/bin" for i in locked.installables for name in i.outputs if name in i.paths
    ]
    env = {"PATH": ":".join(dict.fromkeys(folders)), **image.env}
    return ImageConfig(
        entrypoint=tuple(map(full, image.entrypoint)),
        cmd=tuple(map(full, image.cmd)),
        env={name: full(env[name]) for name in sorted(env)},
        workdir=full(image.workdir or ""),
        user=image.user or "",
        labels={name: full(image.labels[name]) for name in sorted(image.labels)},
        ports=tuple(sorted({p if "/" in p else f"{p}/tcp" for p in image.ports})),
        volumes=tuple(sorted(set(image.volumes))),
        stop_signal=image.stop_signal or "",
    )


def main_path(installable: LockedInstallable) -> StorePath | None:
    """The path that ``${installable}`` stands for: of ``out``, or else of the first output."""
    name = "out" if "out" in installable.outputs else installable.outputs[0]
    return installable.paths.get(name)
