"""Caches on real sockets, with real faults; real Nix is the oracle of what a closure is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from http_server import Answer, Request, Server
from memory_caches import KEYS, cache, files_of, nar_info

from nixbk.resolve.caches.answers import Answers
from nixbk.resolve.caches.faults import CacheError, CacheUnreachableError
from nixbk.resolve.caches.query import Caches, ask, ask_closure
from nixbk.resolve.caches.transport import CacheClient
from nixbk.resolve.caches.wire import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixbk.resolve.caches.cache import Cache

QUICK = Timeouts(connect_s=0.5, answer_s=0.5, idle_s=1)
CHAIN = [nar_info(f"p{number}", *(f"p{n}" for n in range(number + 1, min(number + 4, 60))))
         for number in range(60)]  # fmt: skip
FILES = files_of(*CHAIN)
ROOT = CHAIN[0].store_path
HUSH = "hush"


def _files(request: Request) -> Answer:
    data = FILES.get(request.path)
    return Answer(404, b"no") if data is None else Answer(200, data)


def _statuses(one: Cache, timeouts: Timeouts = QUICK) -> tuple[set[str], str]:
    with Caches([one], KEYS, environ={}, timeouts=timeouts) as caches:
        found = ask_closure(caches, [ROOT])
    answers = [answer for answers in found.values() for answer in answers]
    errors = [str(answer.error) for answer in answers if answer.error is not None]
    return {answer.status for answer in answers}, errors[0] if errors else ""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=cache", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", *curve, *subject, "-keyout", key, "-out", made],
        check=True,
        capture_output=True,
    )
    return made, key


@pytest.mark.parametrize("tls", [False, True])
def test_a_closure(tls: bool, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """It is what Nix says it is, over kept-alive connections, with TLS and without."""
    with Server(_files, certificate if tls else None) as server:
        one = cache(url=server.url, ca_file=certificate[0] if tls else None)
        with Caches([one], KEYS, environ={}) as caches:
            found = ask_closure(caches, [ROOT])
        assert server.connections <= 25
        command = ["nix", "path-info", "-r", "--store", server.url, str(ROOT)]
        environ = {
            **os.environ,
            "NIX_CONFIG": "extra-experimental-features = nix-command",
            "NIX_SSL_CERT_FILE": str(certificate[0]),
            "XDG_CACHE_HOME": str(tmp_path),
        }
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert sorted(map(str, found)) == sorted(done.stdout.split())
    assert {answer.status for answers in found.values() for answer in answers} == {"accepted"}


def _first(count: int, fault: Answer) -> Callable[[Request], Answer]:
    """Meet the first *count* requests of each of three paths with a fault."""
    met: dict[str, int] = {}

    def answer(request: Request) -> Answer:
        met[request.path] = met.get(request.path, 0) + 1
        return fault if met[request.path] <= count and len(met) <= 3 else _files(request)

    return answer


PASSING: dict[str, Callable[[], Callable[[Request], Answer]]] = {
    "hangs up twice": lambda: _first(2, Answer(0)),
    "500 twice": lambda: _first(2, Answer(500, b"sorry")),
    "429": lambda: _first(1, Answer(429, b"", {"Retry-After": "1"})),
    "cut": lambda: _first(1, Answer(200, b"x" * 100, cut=50)),
    "in pieces": lambda: lambda request: Answer(200, _files(request).body, pieces=3, pause_s=0.01),
    "without keeping connections": lambda: (
        lambda request: Answer(200, _files(request).body, {"Connection": "close"})
    ),
    "by a redirect": lambda: (
        lambda request: (
            _files(Request("GET", request.path.removeprefix("/to")))
            if request.path.startswith("/to")
            else Answer(302, b"", {"Location": f"/to{request.path}"})
        )
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes(name: str) -> None:
    """It is asked again, and all is well."""
    with Server(PASSING[name]()) as server:
        assert _statuses(cache(url=server.url)) == ({"accepted"}, "")


LASTING: dict[str, tuple[Answer, str, str]] = {
    "hangs up": (Answer(0), "failed", "the connection ended"),
    "503": (Answer(503), "failed", "HTTP 503"),
    "silence": (Answer(200, b"x", pause_s=5.0), "failed", "no answer in time"),
    "a trickle": (Answer(200, b"x" * 100, pieces=100, pause_s=0.1), "failed", "no answer in time"),
    "cut": (Answer(200, b"x" * 100, cut=50), "failed", "the connection ended"),
    "a loop": (Answer(302, b"", {"Location": "/"}), "failed", "redirected more than 5 times"),
    "huge": (Answer(200, bytes((1 << 20) + 1)), "failed", "longer than 1048576 bytes"),
    "a page": (Answer(200, b"<html>\n"), "refused", "the narinfo of 'main' is refused"),
    "come back tomorrow": (
        Answer(429, b"", {"Retry-After": "86400"}), "failed", "asks to wait for more than 60 s"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts(name: str) -> None:
    """It is told as what it is, within some seconds."""
    answer, status, message = LASTING[name]
    began_s = time.monotonic()
    with Server(lambda _: answer) as server:
        statuses, error = _statuses(cache(url=server.url))
    assert statuses == {status}
    assert message in error
    assert time.monotonic() - began_s < 8


def test_nobody_listens() -> None:
    """It takes four tries to believe it, and they are for all paths together."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    paths = [info.store_path for info in CHAIN]
    with Caches([cache(url=f"http://127.0.0.1:{port}")], KEYS, environ={}) as caches:
        found = ask(caches, paths)
    errors = [answers[0].error for answers in found.values()]
    assert all(isinstance(error, CacheUnreachableError) for error in errors)
    assert "no connection: connection refused (4 tries)" in str(errors[0])


def test_a_certificate_of_nobody(certificate: tuple[Path, Path]) -> None:
    """It is refused at once, unless the manifest names it."""
    with Server(_files, certificate) as server:
        statuses, error = _statuses(cache(url=server.url))
        assert statuses == {"failed"}
        assert "its certificate is not to be trusted" in error
        with (
            CacheClient(cache(url=server.url), environ={}) as client,
            pytest.raises(CacheError, match="its certificate is not to be trusted"),
        ):
            client.read("nix-cache-info", 1000)
        with CacheClient(cache(url=server.url, ca_file=certificate[0]), environ={}) as client:
            assert client.read("nix-cache-info", 1000) == FILES["/nix-cache-info"]


def test_a_login_stays_at_home() -> None:
    """A redirect to another host takes no token along."""
    with Server(_files) as other:
        with Server(lambda r: Answer(302, b"", {"Location": other.url + r.path})) as server:
            one = cache(url=server.url, token=HUSH)
            assert _statuses(one) == ({"accepted"}, "")
            assert {r.headers.get("authorization") for r in server.requests} == {f"Bearer {HUSH}"}
        assert {r.headers.get("authorization") for r in other.requests} == {None}


def test_through_a_proxy() -> None:
    """What the environment names is between."""

    def proxy(request: Request) -> Answer:
        assert request.path.startswith("http://c.example/")
        return _files(Request("GET", request.path.removeprefix("http://c.example")))

    with Server(proxy) as server, pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("http_proxy", server.url)
        with Caches([cache(url="http://c.example")], KEYS) as caches:
            found = ask_closure(caches, [ROOT])
    assert len(found) == len(CHAIN)
    assert {answer.status for answers in found.values() for answer in answers} == {"accepted"}


def test_an_interrupt() -> None:
    """SIGINT ends a question to a cache that hangs, at once and without a word of libcurl."""
    support = Path(__file__).parents[2] / "support"
    program = (
        f"import sys; sys.path.insert(0, {str(support)!r})\n"
        "from memory_caches import KEYS, cache, store_path\n"
        "from nixbk.resolve.caches.query import Caches\n"
        "try:\n"
        "    with Caches([cache(url=sys.argv[1])], KEYS, environ={}) as caches:\n"
        "        caches.ask_closure([store_path(str(n)) for n in range(100)])\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    with Server(lambda _: Answer(200, b"x", pause_s=20.0)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", program, server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while server.connections < 25:
            time.sleep(0.02)
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert time.monotonic() - began_s < 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lock(number: signal.Signals, tmp_path: Path) -> None:
    """It ends at once; the old lock stays, and so does what was answered before."""

    def some(request: Request) -> Answer:
        # the first of the chain come at once, the others never
        data = FILES.get(request.path)
        late = data is not None and any(info.to_bytes() == data for info in CHAIN[3:])
        return Answer(404, b"no") if data is None else Answer(200, data, pause_s=20.0 * late)

    key = next(iter(KEYS.values()))
    with Server(some) as server:
        (tmp_path / "nixbk.toml").write_text(
            f'[substituters.main]\nurl = "{server.url}"\npublic-keys = ["{key}"]\n'
            f'[images.demo]\ninstallables = ["{ROOT}"]\n'
        )
        (tmp_path / "nixbk.lock").write_text("version = 1\n")
        process = subprocess.Popen(
            [Path(sys.executable).with_name("nixbk"), "lock", "--quiet"],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(server.requests) < 5:
            time.sleep(0.02)
        time.sleep(0.2)
        began_s = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=15)
        took_s = time.monotonic() - began_s
    assert (out, process.returncode, err.splitlines()[-1]) == ("", 130, "nixbk: interrupted")
    assert took_s < 2
    assert (tmp_path / "nixbk.lock").read_text() == "version = 1\n"
    with Answers(tmp_path / "cache" / "nixbk" / "narinfos.sqlite") as kept:
        assert kept.get(server.url, ROOT.basename[:32]) is not None
