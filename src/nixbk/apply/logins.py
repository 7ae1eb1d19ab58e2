"""What downloads may need beside their address: logins and certificates. Effect: reads files.

They are handed to a builder as secrets of the session, when it asks, and are part of no
definition and no cache key. Who asks: BuildKit itself, by host, for what it downloads; and the
steps with a ``builtin:`` builder that downloads, for whole files.

Source: ``newHTTPRequest``, BuildKit ``source/http/source.go``; ``netrc-file`` and
``ssl-cert-file``, Nix ``src/libstore/include/nix/store/filetransfer.hh``.
"""

from __future__ import annotations

import base64
import netrc
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.planner.compiler import CA_SECRET, NETRC_SECRET

if TYPE_CHECKING:
    from typing import Any

SYSTEM_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
HEADER_PREFIX: Final = "HTTP_AUTH_HEADER_"


class Logins(Mapping[str, "bytes | Callable[[], bytes]"]):
    """The secrets of a session, looked for when they are asked for.

    Args:
        netrc_file: the user's choice; None for ``$NETRC``, then ``~/.netrc``.
        environ: the user's environment.

    Raises:
        NixbkError: there is no file where the user named one.
    """

    def __init__(self, netrc_file: Path | None, environ: Mapping[str, str]) -> None:
        self._netrc = _netrc_file(netrc_file, environ)
        self._certificates = _certificates(environ)

    def __getitem__(self, name: str) -> bytes | Callable[[], bytes]:
        if name == NETRC_SECRET and self._netrc is not None:
            return partial(_read, self._netrc)
        if name == CA_SECRET and self._certificates is not None:
            return partial(_read, self._certificates)
        if name.startswith(HEADER_PREFIX) and self._netrc is not None:
            login = _login(self._netrc, name.removeprefix(HEADER_PREFIX))
            if login is not None:
                return login
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        if self._netrc is not None:
            yield NETRC_SECRET
        if self._certificates is not None:
            yield CA_SECRET

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _netrc_file(chosen: Path | None, environ: Mapping[str, str]) -> Path | None:
    if chosen is not None:
        return _existing(chosen, "--netrc-file")
    named = environ.get("NETRC")
    if named:
        return _existing(Path(named), "NETRC")
    home = environ.get("HOME")
    usual = Path(home) / ".netrc" if home else None
    return usual if usual is not None and usual.is_file() else None


def _certificates(environ: Mapping[str, str]) -> Path | None:
    """Source: ``getDefaultSSLCertFile``, Nix ``src/libstore/filetransfer.cc``."""
    texts = (environ.get(name, "") for name in ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE"))
    files = [*(Path(text) for text in texts if text), SYSTEM_CERTIFICATES]
    return next((file for file in files if file.is_file()), None)


def _existing(file: Path, chosen_by: str) -> Path:
    if not file.is_file():
        raise NixbkError(f"there is no file {str(file)!r}", where=chosen_by)
    return file


def _read(file: Path) -> bytes:
    return file.read_bytes()


def _login(file: Path, host: str) -> bytes | None:
    """The header that logs in at *host*; None when the file has no login for it."""
    found: Any = None
    # a file that cannot be read has no login; the server says that it wants one
    with suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
        found = netrc.netrc(file).authenticators(host)
    if found is None:
        return None
    name, _, password = found
    return b"Basic " + base64.b64encode(f"{name or ''}:{password or ''}".encode())
