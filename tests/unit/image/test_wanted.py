"""The configuration that a manifest wants."""

from __future__ import annotations

from proven import graph

from nixbk.image.config import ImageConfig
from nixbk.image.wanted import image_config
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.nix.store_path import StorePath
from nixbk.schema.lock import LockedImage, LockedInstallable
from nixbk.schema.manifest import Image

NAMED = graph({"hello": [], "web": []})


def _locked(name: str) -> LockedInstallable:
    drv_path, derivation = NAMED[name]
    path = StorePath.parse(derivation.outputs["out"].path)
    return LockedInstallable(f".#{name}", drv_path, ("out",), {"out": path})


LOCKED = LockedImage(("linux/amd64",), (_locked("hello"), _locked("web")))
HELLO, WEB = (str(row.paths["out"]) for row in LOCKED.installables)


def test_everything_is_expanded_and_in_order() -> None:
    """Output paths stand where installables stood, and sets are sorted."""
    image = Image(
        installables=(".#hello", ".#web"),
        entrypoint=("${.#hello}/bin/hello",),
        cmd=("costs 3 $$",),
        env={"WEB": "${.#web}/share", "A": "b"},
        workdir="${.#web}",
        user="1:2",
        labels={"z": "${.#hello}", "a": "b"},
        ports=("80", "53/udp", "80/tcp"),
        volumes=("/b", "/a"),
        stop_signal="SIGINT",
    )
    assert image_config(image, LOCKED, LINUX_AMD64) == ImageConfig(
        os="linux",
        architecture="amd64",
        entrypoint=(f"{HELLO}/bin/hello",),
        cmd=("costs 3 $",),
        env=(("A", "b"), ("PATH", f"{HELLO}/bin:{WEB}/bin"), ("WEB", f"{WEB}/share")),
        working_dir=WEB,
        user="1:2",
        labels=(("a", "b"), ("z", HELLO)),
        exposed_ports=("53/udp", "80/tcp"),
        volumes=("/a", "/b"),
        stop_signal="SIGINT",
    )


def test_the_users_path_wins() -> None:
    """PATH is only a default."""
    image = Image(installables=(".#hello",), env={"PATH": "/bin"})
    assert image_config(image, LOCKED, LINUX_AMD64).env == (("PATH", "/bin"),)
