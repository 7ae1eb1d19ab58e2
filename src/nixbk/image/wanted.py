"""The configuration that a manifest wants, with output paths in their places. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.image.config import ImageConfig
from nixbk.schema.expand import expand

if TYPE_CHECKING:
    from nixbk.llb.platforms import Platform
    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import LockedImage, LockedInstallable
    from nixbk.schema.manifest import Image


def image_config(image: Image, locked: LockedImage, platform: Platform) -> ImageConfig:
    """The configuration of *image*, whose installables are *locked*, on *platform*."""
    paths = {i.text: str(main_path(i) or "") for i in locked.installables}

    def full(text: str) -> str:
        return expand(text, paths.__getitem__)

    folders = [
        f"{i.paths[name]}/bin" for i in locked.installables for name in i.outputs if name in i.paths
    ]
    env = {"PATH": ":".join(dict.fromkeys(folders)), **image.env}
    return ImageConfig(
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        entrypoint=tuple(map(full, image.entrypoint)),
        cmd=tuple(map(full, image.cmd)),
        env=tuple((name, full(env[name])) for name in sorted(env)),
        working_dir=full(image.workdir or ""),
        user=image.user or "",
        labels=tuple((name, full(text)) for name, text in image.labels.items()),
        exposed_ports=image.ports,
        volumes=image.volumes,
        stop_signal=image.stop_signal or "",
    )


def main_path(installable: LockedInstallable) -> StorePath | None:
    """The path that ``${installable}`` stands for: of ``out``, or else of the first output."""
    name = "out" if "out" in installable.outputs else installable.outputs[0]
    return installable.paths.get(name)
