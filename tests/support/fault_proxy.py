"""Stands before a server and makes faults by rule. Effects: sockets, threads."""

from __future__ import annotations

import base64
import http.client
import re
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from binary_caches import with_field
from http_server import Answer, Request, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Onward = Callable[[Request], Answer]
    Fault = Callable[[Request, Onward], Answer]
    """What becomes of a request; the second argument asks the server behind."""

_HOPS: Final = frozenset({"connection", "content-length", "date", "host", "keep-alive", "server"})
_SIGNATURE: Final = re.compile(rb"^Sig: ([^:\n]+):(\S+)$", re.MULTILINE)


# Faults


def down(request: Request, onward: Onward) -> Answer:
    """Hang up without a word."""
    return Answer(0)


def slow(pieces: int = 10, pause_s: float = 0.1) -> Fault:
    """Send the body in *pieces*, each after a pause."""
    return lambda request, onward: replace(onward(request), pieces=pieces, pause_s=pause_s)


def cut(after: int, *, resumable: bool = False) -> Fault:
    """Break off after so many bytes of the body; without ranges unless *resumable*."""

    def fault(request: Request, onward: Onward) -> Answer:
        return replace(onward(request if resumable else _without_range(request)), cut=after)

    return fault


def edited(edit: Callable[[bytes], bytes]) -> Fault:
    """Send something else; of the same length or not."""

    def fault(request: Request, onward: Onward) -> Answer:
        answer = onward(_without_range(request))
        return replace(answer, body=edit(answer.body)) if answer.status == 200 else answer

    return fault


def _without_range(request: Request) -> Request:
    return replace(request, headers={k: v for k, v in request.headers.items() if k != "range"})


def wrong_bytes(at: int = -1) -> Fault:
    """Flip one bit of the body."""

    def flip(data: bytes) -> bytes:
        found = bytearray(data)
        found[at] ^= 1
        return bytes(found)

    return edited(flip)


def status(code: int, **headers: str) -> Fault:
    """Answer with *code*, and with headers whose names are written with ``_``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request, _onward: Answer(code, f"fault {code}\n".encode(), named)


def redirect(to: str, query: str = "") -> Fault:
    """Send everybody to the same path below another address, or with a query."""
    return lambda request, _onward: Answer(302, b"", {"Location": to + request.path + query})


def redirect_loop(request: Request, onward: Onward) -> Answer:
    """Send everybody back to where they are."""
    return Answer(302, b"", {"Location": request.path})


def narinfo_field(name: str, value: str | None) -> Fault:
    """Set a field of a narinfo, or take it away."""
    return edited(with_field(name, value))


def wrong_signature(data: bytes) -> bytes:
    """A narinfo with signatures of the right keys that are of something else."""

    def flip(found: re.Match[bytes]) -> bytes:
        signature = bytearray(base64.b64decode(found[2]))
        signature[0] ^= 1
        return b"Sig: %s:%s" % (found[1], base64.b64encode(signature))

    return _SIGNATURE.sub(flip, data)


# The proxy


@dataclass(slots=True)
class Rule:
    """Which requests meet a fault.

    Attributes:
        pattern: found in their paths.
        fault: what becomes of them.
        times: how many requests of each path; None for all.
        met: how many did, by path.
    """

    pattern: re.Pattern[str]
    fault: Fault
    times: int | None = None
    met: dict[str, int] = field(default_factory=dict)


class FaultProxy(Server):
    """Passes requests on to a server, but for those that meet a rule; the first rule counts.

    Args:
        upstream: the address of the server behind, without TLS.
        certificate: and its key; None to serve without TLS.

    Attributes:
        rules: in their order; may be changed at any time.
    """

    def __init__(self, upstream: str, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__(self._treat, certificate)
        self.upstream = urlsplit(upstream).netloc
        self.rules: list[Rule] = []
        self._counting = threading.Lock()

    def on(self, pattern: str, fault: Fault, times: int | None = None) -> Rule:
        """Add a rule, and return it."""
        rule = Rule(re.compile(pattern), fault, times)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Pass everything on."""
        self.rules.clear()

    def _treat(self, request: Request) -> Answer:
        for rule in list(self.rules):
            if rule.pattern.search(request.path) is None:
                continue
            with self._counting:
                met = rule.met.get(request.path, 0)
                if rule.times is not None and met >= rule.times:
                    continue
                rule.met[request.path] = met + 1
            return rule.fault(request, self._onward)
        return self._onward(request)

    def _onward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        try:
            headers = {k: v for k, v in request.headers.items() if k not in _HOPS}
            body: Any = request.body or None
            connection.request(request.method, request.path, body=body, headers=headers)
            found = connection.getresponse()
            kept = {k: v for k, v in found.getheaders() if k.lower() not in _HOPS}
            return Answer(found.status, found.read(), kept)
        finally:
            connection.close()
