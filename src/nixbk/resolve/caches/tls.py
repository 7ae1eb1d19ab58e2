"""Whom to trust over TLS. Effect: reads files of certificates.

Source: ``ssl-cert-file``, Nix ``src/libstore/include/nix/store/filetransfer.hh``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES: Final = ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE")
BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # NixOS, Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
    "/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt",
)


def bundle(environ: Mapping[str, str]) -> Path | None:
    """The certificates that the user trusts: the file of a variable, else the machine's."""
    named = [environ.get(name, "") for name in VARIABLES]
    return next((Path(file) for file in (*named, *BUNDLES) if file and Path(file).is_file()), None)


def certificates(ca_file: Path, environ: Mapping[str, str]) -> bytes:
    """Those of a private authority, and all that the user trusts.

    Raises:
        NixbkError: a file cannot be read, or holds no certificates.
    """
    found = _read(ca_file)
    machine = bundle(environ)
    return found if machine is None else found + b"\n" + _read(machine)


def _read(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NixbkError(f"cannot read the certificates: {reason}", where=str(file)) from error
    if b"-----BEGIN " not in data:
        raise NixbkError("cannot read the certificates: it holds no certificates", where=str(file))
    return data
