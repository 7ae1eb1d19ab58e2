"""Certificates of a TLS connection, by the file names that buildctl and Docker give them.

Source: ``cmd/buildctl/common/common.go``. Looks for files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.buildkit.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILDKIT_HINT: Final = (
    "certificates come from NIXBK_TLS_DIR, or NIXBK_TLS_CACERT, NIXBK_TLS_CERT and NIXBK_TLS_KEY; "
    "the name to prove from NIXBK_TLS_SERVER_NAME"
)
DOCKER_HINT: Final = (
    "certificates come from DOCKER_CERT_PATH, with DOCKER_TLS_VERIFY=1, or from Docker's context"
)

_NAMES: Final = (("ca.pem", "ca.crt"), ("cert.pem", "tls.crt"), ("key.pem", "tls.key"))


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Which certificates to use; false when there are none, which means no TLS.

    Attributes:
        ca: certificates to trust, PEM; None trusts what the system does.
        certificate: the client's own, PEM, or None.
        key: its private key, PEM, or None.
        server_name: name the server must prove, empty for the host of the address.
        verify: whether the server must prove who it is at all.
        wanted: TLS even when no file is named.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    verify: bool = True
    wanted: bool = False

    def __bool__(self) -> bool:
        return self.wanted or any((self.ca, self.certificate, self.key))

    @classmethod
    def from_folder(cls, folder: Path, server_name: str = "") -> TlsFiles:
        """Take the three files of a folder, as ``buildctl --tlsdir`` does.

        Raises:
            ConnectError: one is missing.
        """
        found = []
        for either, other in _NAMES:
            paths = [folder / name for name in (either, other)]
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                raise ConnectError(f"neither {either} nor {other} is there", where=str(folder))
            found.append(path)
        return cls(found[0], found[1], found[2], server_name, wanted=True)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> TlsFiles:
        """Take what NIXBK_TLS_DIR, _CACERT, _CERT, _KEY and _SERVER_NAME say."""
        server_name = environ.get("NIXBK_TLS_SERVER_NAME", "")
        folder = environ.get("NIXBK_TLS_DIR")
        if folder:
            return cls.from_folder(Path(folder), server_name)
        paths = [environ.get(f"NIXBK_TLS_{name}") for name in ("CACERT", "CERT", "KEY")]
        files = [Path(path) if path else None for path in paths]
        return cls(files[0], files[1], files[2], server_name)

    def check(self) -> None:
        """See to it that a certificate comes with its key; gRPC would end the process.

        Raises:
            ConnectError: one of them is alone.
        """
        if (self.certificate is None) != (self.key is None):
            kind, other = ("certificate", "key") if self.certificate else ("key", "certificate")
            raise ConnectError(
                f"the client's {kind} comes without a {other}",
                where=str(self.certificate or self.key),
            )

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return the bytes of CA, certificate and key.

        Raises:
            ConnectError: a file cannot be read, or a certificate or a key is alone.
        """
        self.check()
        contents = []
        for path in (self.ca, self.certificate, self.key):
            try:
                contents.append(path.read_bytes() if path else None)
            except OSError as error:
                raise ConnectError(
                    f"cannot read the certificate: {error.strerror}", where=str(path)
                ) from error
        return contents[0], contents[1], contents[2]


NO_TLS: Final = TlsFiles()
