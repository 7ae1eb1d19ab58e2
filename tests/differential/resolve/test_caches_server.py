"""What tests of binary caches stand on: real Nix takes these caches, and faults are as they say."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest
from binary_caches import COMPRESSIONS, CacheServer, closure, hash_part, narinfo, nix
from fault_proxy import (
    FaultProxy,
    cut,
    down,
    edited,
    narinfo_field,
    redirect,
    redirect_loop,
    slow,
    status,
    wrong_bytes,
    wrong_signature,
)
from http_server import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_proxy import Fault
    from small_cache import SmallCache


TOKEN = "c"  # noqa: S105  it opens nothing else


def substituted(url: str, keys: str, path: str, store: Path) -> None:
    """Have real Nix take a path from a cache into a store of its own."""
    options = ("--option", "trusted-public-keys", keys, "--option", "netrc-file", "/dev/null")
    nix("nix", "copy", "--from", url, "--to", f"local?root={store}", path, *options)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_real_nix_takes_them(small: SmallCache, tmp_path: Path, compression: str) -> None:
    """A path of each compression goes into an empty store, by way of server and proxy."""
    folder = small.of("app", compression, small.key)
    with CacheServer(folder) as server, FaultProxy(server.url) as proxy:
        substituted(proxy.url, small.key.public, small.paths["app"], tmp_path)
        assert narinfo(folder, small.paths["app"])["Compression"] == compression
        found = {path.name for path in (tmp_path / "nix" / "store").iterdir()} - {".links"}
        wanted = {path.removeprefix("/nix/store/") for path in closure([small.paths["app"]])}
        assert found == wanted
        assert len(proxy.asked("nar/", "GET")) == 2
        assert len(server.requests) == len(proxy.requests)


def test_real_nix_writes_to_it(small: SmallCache, tmp_path: Path) -> None:
    """What is PUT is what is served."""
    with CacheServer(tmp_path, writable=True) as server:
        nix("nix", "copy", "--to", f"{server.url}?compression=zstd", small.paths["app"])
        assert server.asked(hash_part(small.paths["app"]), "PUT")
        again = nix("nix", "path-info", "--recursive", "--store", server.url, small.paths["app"])
        assert sorted(again.split()) == sorted(closure([small.paths["app"]]))


@pytest.fixture
def proxy(server: CacheServer) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(server.url) as started:
        yield started


def get(url: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Ask once."""
    connection = http.client.HTTPConnection(url.partition("//")[2], timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        found = connection.getresponse()
        return found.status, found.read(), dict(found.getheaders())
    finally:
        connection.close()


def test_connections_stay_open(server: CacheServer) -> None:
    """Several requests need one connection; ranges are served."""
    server.forget()
    connection = http.client.HTTPConnection(server.url.partition("//")[2])
    for _ in range(3):
        connection.request("GET", "/nix-cache-info", headers={"Range": "bytes=0-8"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (206, b"StoreDir:")
    connection.close()
    assert server.connections == 1
    assert [request.status for request in server.requests] == [206, 206, 206]


def test_logins(small: SmallCache) -> None:
    """A closed door opens to its login alone."""
    one, two = CacheServer(small.folder, login="a:b"), CacheServer(small.folder, token=TOKEN)
    with one, two:
        assert get(one.url, "/nix-cache-info")[0] == 401
        assert get(one.url, "/nix-cache-info", Authorization="Basic YTpi")[0] == 200
        assert get(two.url, "/nix-cache-info", Authorization="Basic YTpi")[0] == 401
        assert get(two.url, "/nix-cache-info", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_server_that_stopped_starts_at_the_same_place(small: SmallCache) -> None:
    """Nobody listens in between, and open connections end."""
    with CacheServer(small.folder) as server:
        connection = http.client.HTTPConnection(server.url.partition("//")[2])
        connection.request("GET", "/nix-cache-info")
        connection.getresponse().read()
        server.stop()
        assert connection.sock.recv(1) == b""
        connection.close()
        with pytest.raises(ConnectionRefusedError):
            get(server.url, "/nix-cache-info")
        server.start()
        assert get(server.url, "/nix-cache-info")[0] == 200


STATUSES: dict[str, tuple[Fault, int]] = {
    "nothing": (lambda request, onward: onward(request), 200),
    "403": (status(403), 403),
    "429": (status(429, Retry_After="3"), 429),
    "503": (status(503), 503),
    "redirect": (redirect("http://127.0.0.1:1"), 302),
    "redirect-loop": (redirect_loop, 302),
    "slow": (slow(2, 0.01), 200),
}


@pytest.mark.parametrize("name", STATUSES)
def test_faults_by_status(proxy: FaultProxy, name: str) -> None:
    """A status is what it is, for the paths of the rule, as often as it says."""
    fault, expected = STATUSES[name]
    proxy.on(r"cache-info$", fault, times=1)
    code, body, headers = get(proxy.url, "/nix-cache-info")
    assert code == expected
    assert body.startswith(b"StoreDir") is (expected == 200)
    assert headers.get("Retry-After") == ("3" if name == "429" else None)
    if expected == 302:
        host = "http://127.0.0.1:1" if name == "redirect" else ""
        assert headers["Location"] == f"{host}/nix-cache-info"
    assert get(proxy.url, "/nix-cache-info")[0] == 200
    assert get(proxy.url, "/other")[0] == 404
    assert [request.status for request in proxy.requests] == [expected, 200, 404]


def test_faults_of_the_body(small: SmallCache, proxy: FaultProxy) -> None:
    """Broken off, altered in a bit, hung up."""
    path = "/" + small.info("app")["URL"]
    whole = get(proxy.url, path)[1]
    proxy.on(path, cut(100), times=1)
    with pytest.raises(http.client.IncompleteRead) as broken:
        get(proxy.url, path, Range="bytes=5-")
    assert broken.value.partial == whole[:100]
    proxy.on(path, wrong_bytes(7), times=1)
    found = get(proxy.url, path)[1]
    assert [n for n, pair in enumerate(zip(found, whole, strict=True)) if len(set(pair)) == 2] == [
        7
    ]
    proxy.on(path, down, times=1)
    with pytest.raises(http.client.RemoteDisconnected):
        get(proxy.url, path)
    assert get(proxy.url, path)[1] == whole


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (edited(wrong_signature), "signature"),
        (narinfo_field("Sig", None), "signature"),
        (narinfo_field("NarHash", f"sha256:{'0' * 52}"), "signature"),
        (narinfo_field("StorePath", None), "StorePath"),
    ],
)
def test_real_nix_refuses_what_is_wrong(
    small: SmallCache, proxy: FaultProxy, tmp_path: Path, fault: Fault, said: str
) -> None:
    """Faults of narinfos are some."""
    proxy.on(hash_part(small.paths["tiny"]) + r"\.narinfo$", fault)
    with pytest.raises(AssertionError, match=said):
        substituted(proxy.url, small.key.public, small.paths["tiny"], tmp_path)


def test_a_fault_of_the_test_is_seen() -> None:
    """What fails in the server comes out as an answer."""

    def broken(request: Request) -> Answer:
        raise ValueError(request.path)

    server = FaultProxy("http://127.0.0.1:1")
    server.on("x", lambda request, _onward: broken(request))
    answer = server.respond(Request("GET", "/x"))
    assert (answer.status, b"ValueError" in answer.body) == (500, True)
