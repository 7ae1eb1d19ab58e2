"""Platforms as OCI names them, and the systems Nix has for them. Pure.

Source: ``GOOS``/``GOARCH`` of the OCI image index; ``system`` of ``nix.conf``.
"""

from __future__ import annotations

SYSTEMS = {
    "linux/386": "i686-linux",
    "linux/amd64": "x86_64-linux",
    "linux/arm/v6": "armv6l-linux",
    "linux/arm/v7": "armv7l-linux",
    "linux/arm64": "aarch64-linux",
    "linux/ppc64le": "powerpc64le-linux",
    "linux/riscv64": "riscv64-linux",
    "linux/s390x": "s390x-linux",
}
"""The platforms an image can have, each with Nix's name for it."""

MACHINES = {
    "aarch64": "linux/arm64",
    "amd64": "linux/amd64",
    "arm64": "linux/arm64",
    "armv6l": "linux/arm/v6",
    "armv7l": "linux/arm/v7",
    "i686": "linux/386",
    "ppc64le": "linux/ppc64le",
    "riscv64": "linux/riscv64",
    "s390x": "linux/s390x",
    "x86_64": "linux/amd64",
}
"""The platform of containers for each machine name of ``uname -m``."""
