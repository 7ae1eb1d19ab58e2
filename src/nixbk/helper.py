"""The helper programs that travel with the package: where they are and what they hash to.

The wheel's build hook (``hatch_build.py``) compiles ``helper/`` into ``_helper/`` beside this
module, together with ``SHA256SUMS``, so that no start has to hash them.

Effect: reads two small facts of the package's own files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from nixbk.errors import NixbkError

HelperKind = Literal["build", "builtin", "unpack"]
"""``build`` runs the step kinds build and fetch, ``builtin`` the same ones and knows the builders
that are part of Nix; ``unpack`` runs unpack, collect, assemble and compare."""

_FOLDER: Final = Path(__file__).with_name("_helper")


@dataclass(frozen=True, slots=True)
class HelperBinary:
    """One program for one architecture.

    Attributes:
        path: where the program is on this machine.
        sha256_hex: what it hashes to, 64 hexadecimal characters.
        size_bytes: its length.
    """

    path: Path
    sha256_hex: str
    size_bytes: int


def helper_binary(
    kind: HelperKind, architecture: str = "amd64", *, folder: Path = _FOLDER
) -> HelperBinary:
    """The helper program for steps of *kind* on Linux of *architecture*.

    The hash is the one recorded when the program was built; the bytes are not checked here.

    Args:
        kind: which of the programs.
        architecture: as OCI platforms have it: ``amd64`` or ``arm64``.
        folder: where the programs are; only tests change it.

    Raises:
        NixbkError: there is no such program, or the package came without.
    """
    name = f"linux-{architecture}/{kind}"
    try:
        lines = (folder / "SHA256SUMS").read_text(encoding="ascii").splitlines()
        size_bytes = (folder / name).stat().st_size
    except FileNotFoundError as error:
        if (folder / "SHA256SUMS").exists():
            message = f"there is no helper program for linux/{architecture}"
            hint = "nixbk builds on linux/amd64 and linux/arm64"
        else:
            message = "this installation of nixbk has no helper programs"
            hint = "install it with Go on PATH, or run 'python hatch_build.py --ensure'"
        raise NixbkError(message, hint=hint) from error
    digests = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    return HelperBinary(folder / name, digests[name], size_bytes)
