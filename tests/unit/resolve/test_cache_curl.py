"""What libcurl is told of the user's environment, and what its faults mean; without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pycurl
import pytest

from nixbk.errors import NixbkError
from nixbk.resolve.caches import tls
from nixbk.resolve.caches.curl import fault, proxy
from nixbk.resolve.caches.wire import NoRangeError

if TYPE_CHECKING:
    from pathlib import Path

PROXIES: dict[str, tuple[dict[str, str], str, str]] = {
    "none": ({}, "", ""),
    "each its own": ({"http_proxy": "a", "https_proxy": "b", "all_proxy": "c"}, "a", "b"),
    "one for all": ({"ALL_PROXY": "c"}, "c", "c"),
    "empty": ({"http_proxy": "", "all_proxy": "c", "HTTPS_PROXY": "b"}, "c", "b"),
    "a header of a CGI program": ({"HTTP_PROXY": "a"}, "", ""),
}


@pytest.mark.parametrize("name", PROXIES)
def test_proxies(name: str) -> None:
    """They are those of libcurl's manual."""
    environ, http, https = PROXIES[name]
    assert (proxy("http", environ), proxy("https", environ)) == (http, https)


FAULTS: dict[str, tuple[int, str, str, bool, bool]] = {
    "cut": (pycurl.E_PARTIAL_FILE, "transfer closed", "the connection ended", False, False),
    "silence": (
        pycurl.E_OPERATION_TIMEDOUT,
        "Operation timed out after 9 milliseconds",
        "no answer in time",
        True,
        False,
    ),
    "no way": (
        pycurl.E_OPERATION_TIMEDOUT,
        "Connection timed out after 9 milliseconds",
        "no connection in time",
        True,
        False,
    ),
    "unknown": (
        pycurl.E_COULDNT_RESOLVE_HOST,
        "Could not resolve host: c.example",
        "no connection: could not resolve host: c.example",
        False,
        False,
    ),
    "a stranger": (
        pycurl.E_PEER_FAILED_VERIFICATION,
        "SSL certificate problem: self-signed certificate",
        "its certificate is not to be trusted: self-signed certificate",
        False,
        True,
    ),
    "no certificates": (
        pycurl.E_SSL_CACERT_BADFILE,
        "error adding trust anchors from file: x",
        "the certificates cannot be read: error adding trust anchors from file: x",
        False,
        True,
    ),
    "what has no name": (pycurl.E_HTTP2, "", "libcurl's error 16", False, False),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(name: str) -> None:
    """It is told in words, and as what is to be done about it."""
    code, message, reason, slow, final = FAULTS[name]
    found = fault(pycurl.Curl(), code, message)
    assert (found.reason, found.slow, found.final) == (reason, slow, final)


def test_no_range() -> None:
    """It is told apart from other faults."""
    assert isinstance(fault(pycurl.Curl(), pycurl.E_RANGE_ERROR, ""), NoRangeError)


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable comes before the machine's, and those of a cache are further ones."""
    one, two, empty = (tmp_path / name for name in ("one.pem", "two.pem", "empty.pem"))
    one.write_bytes(b"-----BEGIN one")
    two.write_bytes(b"-----BEGIN two")
    empty.write_bytes(b"")
    monkeypatch.setattr(tls, "BUNDLES", (str(tmp_path / "none"), str(one)))
    assert tls.bundle({}) == one
    assert tls.bundle({"SSL_CERT_FILE": str(two)}) == two
    assert tls.bundle({"SSL_CERT_FILE": str(two), "NIX_SSL_CERT_FILE": str(one)}) == one
    assert tls.bundle({"SSL_CERT_FILE": str(tmp_path / "none")}) == one
    assert tls.certificates(two, {}) == b"-----BEGIN two\n-----BEGIN one"
    monkeypatch.setattr(tls, "BUNDLES", ())
    assert tls.bundle({}) is None
    assert tls.certificates(two, {}) == b"-----BEGIN two"
    with pytest.raises(NixbkError, match="it holds no certificates"):
        tls.certificates(empty, {})
