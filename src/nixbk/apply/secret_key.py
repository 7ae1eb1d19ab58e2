"""The key that store paths are signed with. Effect: reads its file."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.nix.signatures import PublicKey, SecretKey, SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_KEY: Final = "there is no secret key in the file; Nix writes one as 'NAME:BASE64'"

_MAX_BYTES: Final = 4096
_MAKE: Final = "make one with 'nix-store --generate-binary-cache-key NAME FILE PUBLIC-FILE'"


class SecretKeyError(NixbkError):
    """A file that has no secret key in it."""


def read_secret_key(file: Path, say: Callable[[str], None]) -> SecretKey:
    """The key in *file*; told of when others may read it, too.

    Args:
        file: of the form of Nix's ``secret-key-files``.
        say: takes a line for the user.

    Raises:
        SecretKeyError: the file cannot be read, or has none in it. What it has is never told.
    """
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(file.stat().st_mode)
            data = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SecretKeyError(f"cannot read the file: {reason}", where=str(file)) from error
    try:
        key = SecretKey.parse(data.decode("ascii") if len(data) <= _MAX_BYTES else "")
    except (UnicodeDecodeError, SignatureError):  # whose text may have parts of the file
        hint = "it is the public key; the secret one is wanted" if _is_public(data) else _MAKE
        raise SecretKeyError(NO_KEY, where=str(file), hint=hint) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        say(f"others may read or change the secret key {str(file)!r}; 'chmod 600' keeps it secret")
    return key


def _is_public(data: bytes) -> bool:
    try:
        PublicKey.parse(data.decode("ascii"))
    except (UnicodeDecodeError, SignatureError):
        return False
    return True
