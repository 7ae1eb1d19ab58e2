"""``nixbk init``: writes a manifest to start from. Effect: writes a file."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from nixbk.cli import options

STARTER = """\
# What this image is made of. `nixbk lock` pins it, `nixbk plan` says what would be built,
# `nixbk apply` builds it.

# Sources of Nix code; installables such as "nixpkgs#hello" name them. Binary caches are not
# used yet: all of it is built from source, which takes long for nixpkgs.
[inputs]
nixpkgs = "github:NixOS/nixpkgs/nixos-26.05"

# Builds find a /bin/sh only when you give them one: a static shell beside this file, or a path
# in an installable ("nixpkgs#pkgsStatic.busybox/bin/sh").
# [sandbox]
# shell = "seed/bin/busybox"

[images.{name}]
# Attributes of flakes ("nixpkgs#hello", ".#web"), of Nix files ("./default.nix#hello"),
# or derivations ("/nix/store/….drv").
installables = ["nixpkgs#hello"]
# What runs. ${{…}} with an installable as listed above is its store path.
entrypoint = ["${{nixpkgs#hello}}/bin/hello"]
# name = "{name}:latest"
# platforms = ["linux/amd64"]
# cmd = []
# env = {{ LANG = "C.UTF-8" }}
# workdir = "/"
# user = "65534:65534"
# labels = {{}}
# ports = ["8080/tcp"]

# Where the image goes. By default into the Docker daemon that builds it.
# [[images.{name}.outputs]]
# type = "oci"
# path = "{name}.tar"
"""


def init(
    manifest: options.Manifest = Path("nixbk.toml"),
) -> None:
    """Write a commented manifest to start from."""
    from nixbk.schema.files import FileError

    folder = manifest.absolute().parent.name.lower()
    name = re.sub(r"[^a-z0-9]+", "-", folder).strip("-") or "app"
    try:
        with manifest.open("x", encoding="utf-8") as file:
            file.write(STARTER.format(name=name))
    except FileExistsError as error:
        raise FileError("the file exists already", where=str(manifest)) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileError(f"cannot write the file: {reason}", where=str(manifest)) from error
    typer.echo(f"{manifest} written; next: nixbk lock")
