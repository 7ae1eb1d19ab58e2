"""How libcurl is told what to do, and what its faults mean. Effect: reads files of certificates.

Source: ``TransferItem``, Nix ``src/libstore/filetransfer.cc``.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import pycurl

from nixbk.errors import NixbkError
from nixbk.resolve.caches.tls import bundle, certificates
from nixbk.resolve.caches.wire import MAX_REDIRECTS, USER_AGENT, NoRangeError, Reply, WireError
from nixbk.schema.s3_url import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.wire import Timeouts

MAX_CONNECTIONS: Final = 25
_NOTHING_TO_WAIT_FOR_S: Final = 0.002
_OK: Final = 200
_BROKEN: Final = frozenset(
    {pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_PARTIAL_FILE}
)
_NO_CONNECTION: Final = frozenset(
    {
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_COULDNT_RESOLVE_HOST,
        pycurl.E_COULDNT_RESOLVE_PROXY,
        pycurl.E_SSL_CONNECT_ERROR,
    }
)
_NO_WAY: Final = ("connection timed out", "connection timeout", "failed to connect", "resolving")
_FINAL: Final = {
    pycurl.E_TOO_MANY_REDIRECTS: f"it is redirected more than {MAX_REDIRECTS} times",
    pycurl.E_UNSUPPORTED_PROTOCOL: "it is redirected to what is neither http nor as safe as https",
    pycurl.E_URL_MALFORMAT: "it is redirected to what is no address",
    pycurl.E_BAD_CONTENT_ENCODING: "it is encoded, which nobody asked for",
    pycurl.E_FILESIZE_EXCEEDED: "the file is longer than it may be",
}


def multi_handle() -> pycurl.CurlMulti:
    """What carries transfers, and keeps their connections."""
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, MAX_CONNECTIONS)
    multi.setopt(pycurl.M_MAXCONNECTS, 4 * MAX_CONNECTIONS)
    return multi


def trust(cache: Cache, environ: Mapping[str, str]) -> Callable[[pycurl.Curl], None]:
    """What tells handles whose certificates count for a cache; they are looked for once.

    Raises:
        NixbkError: the certificates of the cache cannot be read.
    """
    if cache.ca_file is not None:
        data = certificates(cache.ca_file, environ)
        return lambda easy: easy.setopt(pycurl.CAINFO_BLOB, data)
    machine = bundle(environ)
    if machine is None:
        return lambda _: None
    return lambda easy: easy.setopt(pycurl.CAINFO, str(machine))


def prepare(easy: pycurl.Curl, timeouts: Timeouts, environ: Mapping[str, str]) -> None:
    """Tell a new handle what is the same for all questions."""
    easy.setopt(pycurl.NOSIGNAL, 1)
    easy.setopt(pycurl.USERAGENT, USER_AGENT)
    easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    easy.setopt(pycurl.FOLLOWLOCATION, 1)
    easy.setopt(pycurl.MAXREDIRS, MAX_REDIRECTS)
    easy.setopt(pycurl.ACCEPT_ENCODING, "identity")  # what is encoded nonetheless is decoded
    easy.setopt(pycurl.CONNECTTIMEOUT_MS, int(timeouts.connect_s * 1000))
    easy.setopt(pycurl.NOPROXY, environ.get("no_proxy") or environ.get("NO_PROXY") or "")


def aim(easy: pycurl.Curl, cache: Cache, url: str, environ: Mapping[str, str]) -> list[str]:
    """Tell a handle where to ask.

    Returns:
        The headers to send: the login, if it is for that place. Behind a redirect to another
        host libcurl leaves it out.

    Raises:
        NixbkError: this libcurl cannot sign, and it has to.
    """
    secure = url.startswith("https:")
    easy.setopt(pycurl.URL, url)
    easy.setopt(pycurl.PIPEWAIT, int(secure))
    allowed = pycurl.PROTO_HTTPS if secure else pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
    easy.setopt(pycurl.REDIR_PROTOCOLS, allowed)
    easy.setopt(pycurl.PROXY, proxy("https" if secure else "http", environ))
    headers = [f"{name}: {value}" for name, value in cache.headers(url).items()]
    if cache.credentials is not None:
        headers += _sign(easy, cache, url)
    return headers


def _sign(easy: pycurl.Curl, cache: Cache, url: str) -> list[str]:
    """Have a question to a bucket signed, if it is for that place.

    No redirect is followed then: it would be signed for the wrong region, and take the token along.

    Source: ``FileTransferRequest::setupForS3``; CURLOPT_AWS_SIGV4(3).
    """
    by = cache.signer(url)
    easy.setopt(pycurl.FOLLOWLOCATION, int(by is None))
    if by is None:
        easy.setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_NONE)
        easy.unsetopt(pycurl.USERPWD)
        return []
    if not hasattr(pycurl, "AWS_SIGV4"):
        raise NixbkError(
            f"it takes a newer libcurl to sign requests than {pycurl.version.split()[1]}",
            where=cache.name,
            hint="install pycurl 7.45.4 or later, whose wheels have one",
        )
    bucket = cache.address.bucket
    region = bucket.region if bucket is not None else DEFAULT_REGION
    easy.setopt(pycurl.AWS_SIGV4, f"aws:amz:{region}:s3")
    easy.setopt(pycurl.USERNAME, by.key_id)
    easy.setopt(pycurl.PASSWORD, by.secret)
    return [f"x-amz-security-token: {by.token}"] if by.token else []


def proxy(scheme: str, environ: Mapping[str, str]) -> str:
    """What is between; empty for nothing. As libcurl reads the environment of its process."""
    names = [f"{scheme}_proxy", "all_proxy", "ALL_PROXY"]
    if scheme == "https":  # anybody may set HTTP_PROXY by a header, where this is a CGI program
        names.insert(1, "HTTPS_PROXY")
    return next((environ[name] for name in names if environ.get(name)), "")


def select(multi: pycurl.CurlMulti, within_s: float) -> None:
    """Wait until there is something to do."""
    due_ms = multi.timeout()
    if due_ms >= 0:
        within_s = min(within_s, due_ms / 1000)
    began_s = time.monotonic()
    if multi.select(max(within_s, 0.0)) <= 0 and time.monotonic() - began_s < within_s / 2:
        time.sleep(min(within_s, _NOTHING_TO_WAIT_FOR_S))  # there is no socket yet


def reply(easy: pycurl.Curl, body: bytes) -> Reply:
    """The answer that came."""
    status = easy.getinfo(pycurl.RESPONSE_CODE)
    after_s = 0 if status == _OK else easy.getinfo(pycurl.RETRY_AFTER)
    return Reply(status, easy.getinfo(pycurl.EFFECTIVE_URL), body, after_s)


def fault(easy: pycurl.Curl, code: int, message: str) -> WireError:
    """What an error code of libcurl means.

    Args:
        easy: the transfer that failed.
        code: the error.
        message: about it.
    """
    text = message.strip().lower() or f"libcurl's error {code}"
    if code in _FINAL:
        return WireError(_FINAL[code], final=True)
    if code == pycurl.E_RANGE_ERROR:
        return NoRangeError("it is another part of the file than was asked for")
    slow = final = False
    if code in _BROKEN:
        reason = "the connection ended"
    elif code == pycurl.E_OPERATION_TIMEDOUT:
        reason = f"no {'connection' if text.startswith(_NO_WAY) else 'answer'} in time"
        slow = True
    elif code == pycurl.E_PEER_FAILED_VERIFICATION:
        text = text.removeprefix("ssl certificate problem: ")
        reason = f"its certificate is not to be trusted: {text}"
        final = True
    elif code == pycurl.E_SSL_CACERT_BADFILE:
        reason = f"the certificates cannot be read: {text}"
        final = True
    elif code == pycurl.E_COULDNT_CONNECT and (number := easy.getinfo(pycurl.OS_ERRNO)):
        reason = f"no connection: {os.strerror(number).lower()}"
    elif code in _NO_CONNECTION:
        reason = f"no connection: {text}"
    else:
        reason = text
    return WireError(reason, slow=slow, final=final)
