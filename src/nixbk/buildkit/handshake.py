"""TLS to a server, and in words what is wrong when the two do not come together.

With TLS 1.3 a server looks at a client's certificate when the client believes to be done, and
gRPC and HTTP clients, who talk at once, hear of it as a connection that broke. So whoever was
failed by a server asks again here, where nothing is said and the server's alert is waited for.

Source: RFC 8446 section 6.2 (alerts), https://docs.python.org/3/library/ssl.html. Opens sockets.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

from nixbk.buildkit.tls import TlsFiles

if TYPE_CHECKING:
    import ssl

# what OpenSSL calls it -> what it means to a client
_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the client's key is not the one of its certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "the file of certificates to trust has none in it",
    "HTTP_REQUEST": "the server does not speak TLS",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server asks for a certificate of the client",
    **dict.fromkeys(
        (
            "SSLV3_ALERT_BAD_CERTIFICATE",
            "SSLV3_ALERT_CERTIFICATE_EXPIRED",
            "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
            "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
            "TLSV1_ALERT_ACCESS_DENIED",
            "TLSV1_ALERT_UNKNOWN_CA",
        ),
        "the server does not trust the client's certificate",
    ),
}
_PROBE_S: Final = 5.0
_ALERT_S: Final = 1.0


def wrap(sock: socket.socket, host: str, tls: TlsFiles, *, http2: bool = False) -> ssl.SSLSocket:
    """Speak TLS over a connected socket.

    Raises:
        OSError: the server, or a file, does not fit; `reason` has words for it.
    """
    import ssl  # noqa: PLC0415  few builders are reached by TLS

    context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    # Python 3.13 asks more of certificates than Docker and BuildKit do, who made them
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if http2:
        context.set_alpn_protocols(["h2"])
    return context.wrap_socket(sock, server_hostname=tls.server_name or host)


def reason(error: OSError) -> str:
    """What *error* means, in a few words."""
    import ssl  # noqa: PLC0415  as above

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        name = error.reason or ""
        known = _REASONS.get(name, name.lower().replace("_", " "))
        return known or "the client's certificate and key are not what they should be"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return (error.strerror or str(error)).lower()


def tls_fault(host: str, port: int, tls: TlsFiles, *, http2: bool = False) -> str | None:
    """What is wrong between us and a server that took a connection and then failed us.

    Args:
        host: the server.
        port: where it listens.
        tls: what was tried; none for a connection without TLS.
        http2: whether gRPC was to be spoken.

    Returns:
        What it is; None when it has nothing to do with TLS.
    """
    tried = tls or TlsFiles(verify=False, wanted=True)
    try:
        with (
            socket.create_connection((host, port), _PROBE_S) as plain,
            wrap(plain, host, tried, http2=http2 and bool(tls)) as sock,
        ):
            if not tls:
                return "the server speaks TLS"
            sock.settimeout(_ALERT_S)
            with contextlib.suppress(TimeoutError):
                sock.recv(1)
    except OSError as error:
        return reason(error) if tls else None
    return None
