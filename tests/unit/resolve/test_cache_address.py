"""Addresses of binary caches and of the files in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nixbk.resolve.caches.address import AddressError, CacheAddress, same_place

FOLDER = Path("/project")

ADDRESSES = {
    "a host": ("https://cache.example.org", "https", "https://cache.example.org", 50),
    "a path": ("http://Example.ORG:8080/a/b/", "http", "http://example.org:8080/a/b", 50),
    "a priority": ("https://c.example?priority=30", "https", "https://c.example", 30),
    "no path but a slash": ("https://c.example/?priority=0", "https", "https://c.example", 0),
    "a folder": ("file:///var/cache", "file", "file:///var/cache", 50),
    "a blank in a folder": ("file:///a%20b?priority=7", "file", "file:///a b", 7),
    "beside the manifest": ("file:./cache", "file", "file:///project/cache", 50),
    "above the manifest": ("file:../cache", "file", "file:///cache", 50),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address(name: str) -> None:
    """Kind, base and priority of what a manifest may have."""
    url, kind, base, priority = ADDRESSES[name]
    assert CacheAddress.parse(url, FOLDER) == CacheAddress(kind, base, priority)  # type: ignore[arg-type]


def test_a_bucket() -> None:
    """Its files are had over HTTP; people are told the address that they know."""
    found = CacheAddress.parse("s3://b-1/p?endpoint=http://h:1&priority=3&profile=x", FOLDER)
    assert (found.kind, found.base, found.priority) == ("http", "http://h:1/b-1/p", 3)
    assert found.join("nar/x.nar") == "http://h:1/b-1/p/nar/x.nar"
    assert str(found) == "s3://b-1/p"
    assert CacheAddress.parse("s3://b-1", FOLDER).kind == "https"


NO_ADDRESSES = {
    "a login": (
        "https://me:secret@c.example/x",
        (
            "the address 'https://c.example/x' has a login in it\n"
            "  hint: logins are kept in ~/.netrc or in the file of --netrc-file"
        ),
    ),
    "another scheme": (
        "gs://bucket",
        (
            "nixbk knows no binary caches at 'gs://bucket'\n"
            "  hint: write http://host/path, https://host/path, s3://bucket or file:///folder"
        ),
    ),
    "no bucket": (
        "s3://B/x?region=hidden",
        (
            "'s3://B/x': expected the name of a bucket, found 'B'\n"
            "  hint: write s3://BUCKET/PREFIX; what is no bucket of AWS is named by '?endpoint='"
        ),
    ),
    "a bucket with a parameter of nobody": (
        "s3://bucket?x=1",
        (
            "the address 's3://bucket' has the parameter 'x'\n"
            "  hint: nixbk knows 'priority', 'addressing-style', 'endpoint', 'profile', 'region', "
            "'scheme'"
        ),
    ),
    "a parameter of Nix": (
        "https://c.example?trusted=1",
        (
            "the address 'https://c.example' has the parameter 'trusted'\n"
            "  hint: write 'trust = false' in the table of this substituter"
        ),
    ),
    "a parameter of nobody": (
        "https://c.example?x=1",
        (
            "the address 'https://c.example' has the parameter 'x'\n"
            "  hint: the only parameter that nixbk knows is 'priority'"
        ),
    ),
    "no number": (
        "https://c.example?priority=-1",
        "the priority of 'https://c.example' is '-1', which is no number",
    ),
    "a folder on a host": (
        "file://host/a",
        (
            "the address 'file://host/a' names the host 'host'\n"
            "  hint: write file:///folder, or file:./folder relative to the manifest"
        ),
    ),
    "no host": ("https:///a", "the address 'https:///a' has no host, or a blank in it"),
    "a blank": (
        "https://c.example/a b",
        "the address 'https://c.example/a b' has no host, or a blank in it",
    ),
    "a port of letters": (
        "https://c.example:x",
        "'https://c.example:x' is no address: Port could not be cast to integer value as 'x'",
    ),
}


@pytest.mark.parametrize("name", NO_ADDRESSES)
def test_no_address(name: str) -> None:
    """What is none is refused, without a secret in the message."""
    url, message = NO_ADDRESSES[name]
    with pytest.raises(AddressError) as caught:
        CacheAddress.parse(url, FOLDER)
    assert str(caught.value) == message
    assert "secret" not in str(caught.value)


WEB = CacheAddress.parse("https://c.example/base", FOLDER)
DISK = CacheAddress.parse("file:///cache", FOLDER)
FILES = {
    "an archive": (WEB, "nar/x.nar.xz", "https://c.example/base/nar/x.nar.xz"),
    "a query": (WEB, "nar/x.nar?hash=a", "https://c.example/base/nar/x.nar?hash=a"),
    "of the host": (WEB, "/nar/x", "https://c.example/nar/x"),
    "of another": (WEB, "http://o.example:1/x", "http://o.example:1/x"),
    "up": (WEB, "../x", "https://c.example/x"),
    "in a folder": (DISK, "nar/x.nar", "/cache/nar/x.nar"),
    "escaped": (DISK, "nar/a%2bb", "/cache/nar/a+b"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(name: str) -> None:
    """A narinfo's URL is relative to the cache; one on a host may name another."""
    address, url, expected = FILES[name]
    assert address.join(url) == expected


NO_FILES = {
    "nothing": (WEB, ""),
    "a line feed": (WEB, "nar/x\nHost: y"),
    "a blank": (WEB, "nar/x y"),
    "no ASCII": (WEB, "nar/é"),
    "a fragment": (WEB, "nar/x#y"),
    "a backslash": (WEB, "nar\\x"),
    "another scheme": (WEB, "file:///etc/passwd"),
    "a login": (WEB, "https://a:b@o.example/"),
    "port 0": (WEB, "https://o.example:0/"),
    "a port of letters": (WEB, "https://o.example:x/"),
    "out of the folder": (DISK, "nar/../../etc/passwd"),
    "out of it, escaped": (DISK, "nar/%2e%2e/%2e%2e/etc/passwd"),
    "a slash, escaped": (DISK, "nar/..%2f..%2fetc/passwd"),
    "from the root": (DISK, "/etc/passwd"),
    "the folder": (DISK, "."),
    "an empty name": (DISK, "nar//x"),
    "another place": (DISK, "http://o.example/x"),
    "a nul": (DISK, "nar/%00"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_no_file(name: str) -> None:
    """What is no address of a file, or leads elsewhere, is refused."""
    address, url = NO_FILES[name]
    with pytest.raises(AddressError):
        address.join(url)


PLACES = {
    "the same": ("https://a/x", "https://a/y", True),
    "the same, with its port": ("https://a/x", "https://a:443/y", True),
    "another port": ("https://a/x", "https://a:8443/y", False),
    "another host": ("https://a/x", "https://b/x", False),
    "a longer host": ("https://a/x", "https://a.b/x", False),
    "from http to https": ("http://a/x", "https://a/x", True),
    "from https to http": ("https://a/x", "http://a/x", False),
    "from one http to another https": ("http://a:8080/x", "https://a/x", False),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_a_login_may_go(name: str) -> None:
    """It goes to its own scheme, host and port, and to the same host once TLS protects it."""
    one, other, expected = PLACES[name]
    assert same_place(one, other) is expected
