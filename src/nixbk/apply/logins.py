"""What downloads may need beside their address: logins and certificates. Effect: reads files.

They are handed to a builder as secrets of the session, when it asks, and are part of no
definition and no cache key. Who asks: BuildKit itself, by host, for what it downloads; and the
steps with a ``builtin:`` builder that downloads, for whole files.

Source: ``newHTTPRequest``, BuildKit ``source/http/source.go``; ``netrc-file`` and
``ssl-cert-file``, Nix ``src/libstore/include/nix/store/filetransfer.hh``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from nixbk.planner.compiler import CA_SECRET, NETRC_SECRET
from nixbk.resolve.caches.logins import authorization, netrc_file

SYSTEM_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
HEADER_PREFIX: Final = "HTTP_AUTH_HEADER_"


class Logins(Mapping[str, "bytes | Callable[[], bytes]"]):
    """The secrets of a session, looked for when they are asked for.

    Attributes:
        netrc: the file of logins, if there is one.

    Args:
        chosen: the user's netrc file; None for ``$NETRC``, then ``~/.netrc``.
        environ: the user's environment.

    Raises:
        NixbkError: there is no file where the user named one.
    """

    def __init__(self, chosen: Path | None, environ: Mapping[str, str]) -> None:
        self.netrc = netrc_file(chosen, environ)
        self._certificates = _certificates(environ)

    def __getitem__(self, name: str) -> bytes | Callable[[], bytes]:
        if name == NETRC_SECRET and self.netrc is not None:
            return partial(_read, self.netrc)
        if name == CA_SECRET and self._certificates is not None:
            return partial(_read, self._certificates)
        if name.startswith(HEADER_PREFIX) and self.netrc is not None:
            login = authorization(name.removeprefix(HEADER_PREFIX), None, self.netrc)
            if login is not None:
                return login.encode()
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        if self.netrc is not None:
            yield NETRC_SECRET
        if self._certificates is not None:
            yield CA_SECRET

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _certificates(environ: Mapping[str, str]) -> Path | None:
    """Source: ``getDefaultSSLCertFile``, Nix ``src/libstore/filetransfer.cc``."""
    texts = (environ.get(name, "") for name in ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE"))
    files = [*(Path(text) for text in texts if text), SYSTEM_CERTIFICATES]
    return next((file for file in files if file.is_file()), None)


def _read(file: Path) -> bytes:
    return file.read_bytes()
