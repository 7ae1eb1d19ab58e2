"""Single files of caches on real sockets: read, cut, encoded, led elsewhere, and written."""

from __future__ import annotations

import base64
import gzip
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from far_engines import Certificates
from http_server import Answer, Request, Server
from memory_caches import KEYS, cache, files_of, nar_info

from nixbk.errors import NixbkError
from nixbk.resolve.caches.faults import CacheError, NotInCacheError
from nixbk.resolve.caches.query import Caches
from nixbk.resolve.caches.transport import CacheClient
from nixbk.resolve.caches.wire import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixbk.resolve.caches.cache import Cache

QUICK = Timeouts(connect_s=0.5, answer_s=0.5, idle_s=1)
HUSH = "hush"
DATA = bytes(range(256)) * 4000
CHAIN = [nar_info(f"p{n}", *(f"p{m}" for m in range(n + 1, min(n + 4, 60)))) for n in range(60)]
HTTP2_SERVER = Path(__file__).parents[2] / "support" / "http2_server.go"


def _client(one: Cache) -> CacheClient:
    return CacheClient(one, environ={}, timeouts=QUICK, wait=lambda event, _: event.is_set())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A private authority, a certificate of it for loopback, and the key of that."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    folder = tmp_path_factory.mktemp("tls")
    _, made, key = Certificates(folder).server
    return folder / "ca.pem", Path(made), Path(key)


# What comes in parts


def test_a_file_that_is_cut() -> None:
    """It goes on by a range."""
    ranges: list[str] = []

    def answer(request: Request) -> Answer:
        ranges.append(request.headers.get("range", ""))
        start = int(ranges[-1].removeprefix("bytes=").rstrip("-") or 0)
        headers = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
        cut = 400_000 if len(ranges) < 3 else None
        return Answer(206 if start else 200, DATA[start:], headers, cut=cut)

    with Server(answer) as server, _client(cache(url=server.url)) as client:
        assert client.read("nar/x", 1 << 21) == DATA
    assert ranges == ["", "bytes=400000-", "bytes=800000-"]


RANGES: dict[str, Answer] = {
    "no ranges": Answer(200, DATA),
    "another part": Answer(206, DATA[7:], {"Content-Range": f"bytes 7-{len(DATA) - 1}/*"}),
    "nobody knows which part": Answer(206, DATA),
}


@pytest.mark.parametrize("name", RANGES)
def test_not_the_range_that_was_asked_for(name: str) -> None:
    """The file is read from its beginning again, and nothing of it is told twice."""
    met: list[str] = []

    def answer(request: Request) -> Answer:
        met.append(request.headers.get("range", ""))
        if len(met) == 1:
            return Answer(200, DATA, cut=300_000)
        return RANGES[name] if met[-1] else Answer(200, DATA)

    with Server(answer) as server, _client(cache(url=server.url)) as client:
        assert client.read("nar/x", 1 << 21) == DATA
    assert met == ["", "bytes=300000-", ""]


def test_gone_meanwhile() -> None:
    """A refusal is no part of a file."""

    def answer(request: Request) -> Answer:
        return Answer(404, b"no") if "range" in request.headers else Answer(200, DATA, cut=999)

    with (
        Server(answer) as server,
        _client(cache(url=server.url)) as client,
        pytest.raises(NotInCacheError, match="HTTP 404"),
    ):
        client.read("nar/x", 1 << 21)


def test_silence_in_the_middle() -> None:
    """Who says nothing for too long is not waited for."""
    slow = Answer(200, DATA, pieces=3, pause_s=4.0)
    with Server(lambda _: slow) as server, _client(cache(url=server.url)) as client:
        began_s = time.monotonic()
        with pytest.raises(CacheError, match=r"no answer in time \(2 tries\)"):
            list(client.open("nar/x"))
    assert time.monotonic() - began_s < 8


def test_connections_are_kept() -> None:
    """One after the other, files come over one connection."""
    with Server(lambda _: Answer(200, DATA)) as server, _client(cache(url=server.url)) as client:
        for _ in range(5):
            assert client.read("nar/x", 1 << 21) == DATA
            assert client.exists("nar/x")
        client.put("nar/y", DATA)
        assert server.connections == 1
        next(client.open("nar/x")).startswith(DATA[:10])
        assert client.read("nar/x", 1 << 21) == DATA
        assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}
        assert server.requests[1].method == "HEAD"


def test_closing_wakes_who_reads() -> None:
    """A read that hangs ends when the client is closed by another thread."""
    slow = Answer(200, DATA, pieces=2, pause_s=3.0)
    with Server(lambda _: slow) as server:
        client = CacheClient(cache(url=server.url), environ={})
        timer = threading.Timer(0.2, client.close)
        timer.start()
        began_s = time.monotonic()
        with pytest.raises(CacheError, match="it was not waited for"):
            list(client.open("nar/x"))
        assert time.monotonic() - began_s < 1.5
        timer.join()


def test_cancelling_questions() -> None:
    """Questions that hang end when another thread says so."""
    with (
        Server(lambda _: Answer(200, b"x", pause_s=3.0)) as server,
        Caches([cache(url=server.url)], KEYS, environ={}) as caches,
    ):
        timer = threading.Timer(0.2, caches.cancel)
        timer.start()
        began_s = time.monotonic()
        with pytest.raises(CacheError, match="it was not waited for"):
            caches.ask_closure([CHAIN[0].store_path])
        assert time.monotonic() - began_s < 1.5
        timer.join()


# What leads elsewhere


def _asked(answer: Callable[[Request], Answer], netrc: Path | None = None) -> tuple[str, Server]:
    """What a client gets, or why it does not."""
    with Server(answer) as server, _client(cache(url=server.url, netrc=netrc)) as client:
        try:
            return client.read("nar/x", 1 << 21).decode("latin-1"), server
        except CacheError as error:
            return error.message.replace(server.url, "URL"), server


LEADS: dict[str, tuple[str, str]] = {
    "to a file": ("file:///etc/passwd", "'URL/nar/x': it is redirected to what is neither http"),
    "to itself": ("/nar/x", "'URL/nar/x': it is redirected more than 5 times"),
    "to nonsense": ("http://", "'URL/nar/x': it is redirected to what is no address"),
}


@pytest.mark.parametrize("name", LEADS)
def test_a_bad_redirect(name: str) -> None:
    """It is not followed, nor asked for again."""
    location, message = LEADS[name]
    found, server = _asked(lambda _: Answer(302, b"", {"Location": location}))
    assert found.startswith(message)
    assert len(server.requests) <= 6


def test_a_redirect_without_an_address() -> None:
    """It is an answer like others that are of no use."""
    assert _asked(lambda _: Answer(302))[0] == "HTTP 302 from 'URL/nar/x'"


def test_from_https_to_http(certificate: tuple[Path, Path, Path]) -> None:
    """What was asked for in private is not asked for in public."""
    with Server(lambda _: Answer(200, b"no")) as other:
        there = Answer(302, b"", {"Location": other.url})
        with (
            Server(lambda _: there, certificate[1:]) as server,
            _client(cache(url=server.url, ca_file=certificate[0], token=HUSH)) as client,
            pytest.raises(CacheError, match="nor as safe as https"),
        ):
            client.read("nar/x", 9)
        assert not other.requests


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_login_stays_at_home(host: str, tmp_path: Path) -> None:
    """It goes to the cache alone: not to another host, and not to another port."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {HUSH}\n")
    basic = "Basic " + base64.b64encode(f"me:{HUSH}".encode()).decode()
    with Server(lambda _: Answer(200, b"yes")) as other:
        url = other.url.replace("127.0.0.1", host)
        found, server = _asked(lambda _: Answer(307, b"", {"Location": f"{url}/x"}), netrc=netrc)
        assert found == "yes"
        assert [r.headers.get("authorization") for r in server.requests] == [basic]
        assert [r.headers.get("authorization") for r in other.requests] == [None]


def test_what_is_encoded() -> None:
    """It is decoded, though nobody asked for it."""
    packed = Answer(200, gzip.compress(b"text"), {"Content-Encoding": "gzip"})
    assert _asked(lambda _: packed)[0] == "text"
    unknown = Answer(200, b"text", {"Content-Encoding": "unheard-of"})
    assert _asked(lambda _: unknown)[0].endswith("it is encoded, which nobody asked for")


ENCODED: dict[str, tuple[bytes, str]] = {
    "gzip": (gzip.compress(CHAIN[-1].to_bytes()), "accepted"),
    "a bomb": (gzip.compress(bytes(1 << 26)), "failed"),
    "cut": (gzip.compress(CHAIN[-1].to_bytes())[:-30], "refused"),
    "no gzip": (b"x", "refused"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_narinfos_that_are_encoded(name: str) -> None:
    """They are decoded, within their limit."""
    body, expected = ENCODED[name]
    files = files_of()

    def answer(request: Request) -> Answer:
        if request.path in files:
            return Answer(200, files[request.path])
        return Answer(200, body, {"Content-Encoding": "gzip"})

    with Server(answer) as server, Caches([cache(url=server.url)], KEYS, environ={}) as caches:
        (answers,) = caches.ask([CHAIN[-1].store_path]).values()
    assert answers[0].status == expected


# What is written


def test_writing(tmp_path: Path) -> None:
    """A file is put whole, and again where it led elsewhere or the server stumbled."""
    (tmp_path / "file").write_bytes(DATA)
    met: list[Request] = []

    def answer(request: Request) -> Answer:
        met.append(request)
        if len(met) == 1:
            return Answer(503, b"")
        return Answer(307, b"", {"Location": "/there"}) if request.path == "/x" else Answer(201)

    with Server(answer) as server, _client(cache(url=server.url, token=HUSH)) as client:
        client.put("x", tmp_path / "file")
        client.put("y", b"text", "text/x-nix-narinfo")
    assert [(r.path, r.body) for r in met[1:]] == [("/x", DATA), ("/there", DATA), ("/y", b"text")]
    assert [r.method for r in met] == ["PUT"] * 4
    assert {r.headers["authorization"] for r in met} == {f"Bearer {HUSH}"}
    assert met[-1].headers["content-type"] == "text/x-nix-narinfo"
    assert not {"expect", "transfer-encoding"} & set(met[-1].headers)


def test_writing_to_what_is_elsewhere_to_be_read() -> None:
    """A redirect that makes a question of it has written nothing."""

    def answer(request: Request) -> Answer:
        return Answer(303, b"", {"Location": "/y"}) if request.method == "PUT" else Answer(200)

    with (
        Server(answer) as server,
        _client(cache(url=server.url)) as client,
        pytest.raises(CacheError, match="where nothing is written"),
    ):
        client.put("x", b"text")


# HTTP/2, certificates


def test_http2(certificate: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A closure, a stream and a question for presence share a connection where HTTP/2 is."""
    if shutil.which("go") is None:
        pytest.skip("there is no go")
    program = tmp_path / "server"
    subprocess.run(["go", "build", "-o", program, HTTP2_SERVER], check=True)
    folder = tmp_path / "cache"
    folder.mkdir()
    for path, data in files_of(*CHAIN).items():
        (folder / path[1:]).write_bytes(data)
    (folder / "nar").write_bytes(DATA)
    process = subprocess.Popen(
        [program, folder, *certificate[1:]], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        one = cache(url=f"https://{process.stdout.readline().strip()}", ca_file=certificate[0])
        with Caches([one], KEYS, environ={}) as caches:
            found = caches.ask_closure([CHAIN[0].store_path])
        with CacheClient(one, environ={}) as client:
            assert client.read("nar", 1 << 21) == DATA
            assert client.exists("nar")
            assert b"".join(client.open("nar", 1000)) == DATA[1000:]
        process.terminate()
        said = [line.split() for line in process.stdout]
    assert {answers[0].status for answers in found.values()} == {"accepted"}
    assert {row[0] for row in said} == {"HTTP/2.0"}
    assert len({row[1] for row in said}) == 2  # of the questions, and of the client
    assert len(said) == len(CHAIN) + 1 + 3


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "empty.pem").write_text("")
    for name, reason in (("no.pem", "no such file"), ("empty.pem", "it holds no certificates")):
        one = cache(ca_file=tmp_path / name)
        with _client(one) as client, pytest.raises(NixbkError, match=reason) as caught:
            client.exists("x")
        assert caught.value.where == str(tmp_path / name)
        with Caches([one], KEYS, environ={}) as caches, pytest.raises(NixbkError, match=reason):
            caches.ask([CHAIN[0].store_path])
