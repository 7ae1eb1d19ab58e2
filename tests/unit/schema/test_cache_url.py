"""Addresses of caches and of their files, as manifest and lock write them."""

from __future__ import annotations

import pytest

from nixbk.schema.cache_url import CacheUrlError, cache_priority, check_archive_url, check_cache_url

CACHES = {
    "https://cache.test": 50,
    "http://cache.test:8080/all/?priority=3": 3,
    "https://[::1]:1/x": 50,
    "file:///srv/cache?priority=100": 100,
    "file:./cache": 50,
    "file:cache with spaces": 50,
    "s3://bucket/prefix?region=eu-west-2&priority=9": 9,
}


@pytest.mark.parametrize(("text", "priority"), CACHES.items(), ids=CACHES)
def test_addresses_of_caches(text: str, priority: int) -> None:
    """HTTP and folders, with a priority."""
    check_cache_url(text)
    assert cache_priority(text) == priority


NO_CACHES = {
    "": "expected an address with http:, https:, s3: or file:",
    "cache.test": "expected an address with http:, https:, s3: or file:",
    "gs://bucket": "expected an address with http:, https:, s3: or file:",
    "https://": "expected an address with a host",
    "https://a b": "expected an address with a host",
    "https://h:0": "expected an address: the port is 0",
    "https://h:x": "expected an address: Port could not be cast",
    "https://[::1": "expected an address: Invalid IPv6 URL",
    "https://h#x": "expected an address without '#'",
    "https://me:secret@h": "a login has no place in an address",
    "https://h?priority=-1": "expected a number for the priority, found '-1'",
    "https://h?want-mass-query=1": "unknown parameter 'want-mass-query'",
    "https://h\n": "expected the address of a binary cache, found unprintable text",
    "file://host/x": "expected a folder of this machine, found the host 'host'",
    "file:": "expected a folder behind 'file:'",
    "file:///a%00": "expected a folder behind 'file:'",
}


@pytest.mark.parametrize(("text", "message"), NO_CACHES.items(), ids=map(repr, NO_CACHES))
def test_what_is_no_address_of_a_cache(text: str, message: str) -> None:
    """The error says what was expected, and never a password."""
    with pytest.raises(CacheUrlError) as caught:
        check_cache_url(text)
    assert caught.value.message.startswith(message)
    assert "secret" not in str(caught.value)


FILES = (
    "nar/0abc.nar.xz",
    "nar/0abc.nar?hash=x&y=..",
    "x",
    "https://cdn.test/x?sig=a%2Fb",
    "http://h:1/",
)


@pytest.mark.parametrize("text", FILES)
def test_addresses_of_files(text: str) -> None:
    """A path below the cache, or a whole address."""
    check_archive_url(text)


NO_FILES = (
    "",
    "/etc/passwd",
    "//host/x",
    "../x",
    "nar/./x",
    "nar//x",
    "nar/..%2fx",
    "%2e%2e/x",
    "a%00b",
    "a b",
    "a\nb",
    "a\\b",
    "a#b",
    "é",
    "file:///etc/passwd",
    "docker-image://x",
    "http:x",
    "https://u@h/x",
    "https://h:0/x",
    "x" * 5000,
)


@pytest.mark.parametrize("text", NO_FILES, ids=lambda text: repr(text[:20]))
def test_what_is_no_address_of_a_file(text: str) -> None:
    """Nothing leads out of a cache but a whole address."""
    with pytest.raises(CacheUrlError):
        check_archive_url(text)
