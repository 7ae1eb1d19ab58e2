"""The platform of an operation, ``os/architecture[/variant]``. Pure.

Source: ``pb.Platform``; ``Parse`` and ``Normalize`` of containerd's ``platforms``.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

from nixbk.llb.errors import LlbError
from nixbk.proto import ops_pb2 as pb

_ARCHITECTURES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i686": "386"}


class Platform(NamedTuple):
    """What a step runs on; equal platforms are spelled equally.

    Attributes:
        os: ``linux``.
        architecture: Go's name: ``amd64``, ``arm64``.
        variant: of the architecture (``v7``), or nothing.
    """

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``linux/amd64`` or ``linux/arm/v7``; inverse of ``str``.

        Raises:
            LlbError: it has not two or three parts.
        """
        parts = text.lower().split("/")
        if len(parts) not in {2, 3} or not all(parts):
            raise LlbError(f"{text!r} is no platform", hint="write it as linux/amd64")
        system, architecture, variant = (*parts, "")[:3]
        architecture = _ARCHITECTURES.get(architecture, architecture)
        if (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        return cls(system, architecture, variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def to_proto(self) -> pb.Platform:
        """The message of the protocol."""
        return pb.Platform(OS=self.os, Architecture=self.architecture, Variant=self.variant)


LINUX_AMD64: Final = Platform("linux", "amd64")
LINUX_ARM64: Final = Platform("linux", "arm64")
