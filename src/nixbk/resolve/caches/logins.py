"""Who the user is to a binary cache: a token, or a login of a netrc file. Effect: reads the file.

Source: ``netrc-file``, Nix ``src/libstore/include/nix/store/filetransfer.hh``.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping


def netrc_file(chosen: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The user's file of logins: *chosen*, else ``$NETRC``, else ``~/.netrc`` if it is there.

    Raises:
        NixbkError: there is no file where the user named one.
    """
    if chosen is not None:
        return _existing(chosen, "--netrc-file")
    if named := environ.get("NETRC"):
        return _existing(Path(named), "NETRC")
    home = environ.get("HOME")
    usual = Path(home) / ".netrc" if home else None
    return usual if usual is not None and usual.is_file() else None


def _existing(file: Path, chosen_by: str) -> Path:
    if not file.is_file():
        raise NixbkError(f"there is no file {str(file)!r}", where=chosen_by)
    return file


def authorization(host: str, token: str | None, netrc: Path | None) -> str | None:
    """The value of the header that logs in at *host*; None without a login.

    Args:
        host: without a port.
        token: comes before the file.
        netrc: a file that cannot be read has no login; the server says that it wants one.
    """
    if token is not None:
        return f"Bearer {token.strip()}"
    if netrc is None:
        return None
    from netrc import NetrcParseError  # noqa: PLC0415 - rarely needed
    from netrc import netrc as read  # noqa: PLC0415

    found = None
    with suppress(OSError, NetrcParseError, UnicodeDecodeError):
        found = read(netrc).authenticators(host)
    if found is None:
        return None
    name, _, password = found
    return "Basic " + base64.b64encode(f"{name or ''}:{password or ''}".encode()).decode("ascii")
