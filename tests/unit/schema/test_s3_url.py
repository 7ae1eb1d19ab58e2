"""Addresses of caches in buckets, and where their files are."""

from __future__ import annotations

import pytest

from nixbk.schema.cache_url import CacheUrlError, cache_priority, check_cache_url
from nixbk.schema.s3_url import S3Url

# those of AWS, and of other servers, as ``ParsedS3URL::toHttpsUrl`` of Nix has them
BASES = {
    "s3://cache": "https://cache.s3.us-east-1.amazonaws.com",
    "s3://cache/": "https://cache.s3.us-east-1.amazonaws.com",
    "s3://cache?region=eu-west-2": "https://cache.s3.eu-west-2.amazonaws.com",
    "s3://cache/a/b?addressing-style=path": "https://s3.us-east-1.amazonaws.com/cache/a/b",
    "s3://my.cache": "https://s3.us-east-1.amazonaws.com/my.cache",
    "s3://cache?scheme=http": "http://cache.s3.us-east-1.amazonaws.com",
    "s3://cache/a%20b+c?region=r1": "https://cache.s3.r1.amazonaws.com/a%20b%2Bc",
    "s3://cache?endpoint=minio.example": "https://minio.example/cache",
    "s3://cache?endpoint=127.0.0.1:9000&scheme=http": "http://127.0.0.1:9000/cache",
    "s3://cache/x?endpoint=http://[::1]:9000": "http://[::1]:9000/cache/x",
    "s3://cache/x?endpoint=https%3A%2F%2FMinio.Example%2Fs3%2F": "https://minio.example/s3/cache/x",
    "s3://cache?endpoint=minio.example&addressing-style=virtual": "https://cache.minio.example",
    "s3://cache?endpoint=http://minio.example&scheme=https": "http://minio.example/cache",
}


@pytest.mark.parametrize("text", BASES)
def test_where_files_are(text: str) -> None:
    """In the host's name or its path, by the rules of Nix."""
    check_cache_url(text)
    assert S3Url.parse(text).base == BASES[text]


def test_parts() -> None:
    """What signs requests, and what people read."""
    text = "s3://cache/a/b/?profile=team%20a&region=eu-west-2&priority=7&endpoint=h.example"
    found = S3Url.parse(text)
    assert (found.bucket, found.prefix, found.region) == ("cache", "a/b", "eu-west-2")
    assert (found.profile, str(found)) == ("team a", "s3://cache/a/b")
    assert cache_priority(text) == 7
    assert S3Url.parse("s3://cache").profile == ""


WRONG = {
    "s3://": "expected the name of a bucket, found ''",
    "s3://Cache": "expected the name of a bucket, found 'Cache'",
    "s3://ab": "expected the name of a bucket, found 'ab'",
    "s3://cache:1": "expected the name of a bucket, found 'cache:1'",
    "s3://key:hidden@cache": "a login has no place in an address",
    "s3://cache/../x": "expected a path without '.' and '..', found '../x'",
    "s3://cache/a//b": "expected a path without '.' and '..', found 'a//b'",
    "s3://cache?region=": "expected the name of a region, found ''",
    "s3://cache?region=a/b": "expected the name of a region, found 'a/b'",
    "s3://cache?profile=": "expected the name of a profile, found ''",
    "s3://cache?scheme=ftp": "expected the scheme http or https, found 'ftp'",
    "s3://cache?addressing-style=x": "expected an addressing style of auto, path, virtual",
    "s3://a.cache?addressing-style=virtual": "the bucket 'a.cache' cannot be part of a host's name",
    "s3://cache?endpoint=[::1]&addressing-style=virtual": "the bucket 'cache' cannot be part",
    "s3://cache?endpoint=": "expected the address of a server as endpoint, found ''",
    "s3://cache?endpoint=ftp://h": "expected the address of a server as endpoint, found 'ftp://h'",
    "s3://cache?endpoint=http://a:hidden@h": "expected the address of a server as endpoint",
    "s3://cache?endpoint=http://h?x": "expected the address of a server as endpoint",
    "s3://cache?endpoint=h:0": "expected the address of a server as endpoint, found 'h:0'",
    "s3://cache?priority=x": "expected a number for the priority, found 'x'",
    "s3://cache?secret-key=/k": "unknown parameter 'secret-key' of the address",
    "s3://cache?storage-class=GLACIER": "unknown parameter 'storage-class' of the address",
    "s3://cache#x": "expected an address without '#'",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_none(text: str) -> None:
    """The error says what was expected, and no secret."""
    with pytest.raises(CacheUrlError) as caught:
        check_cache_url(text)
    assert caught.value.message.startswith(WRONG[text])
    assert "hidden" not in str(caught.value)


def test_parameters_that_are_known() -> None:
    """The hint names them."""
    with pytest.raises(CacheUrlError) as caught:
        check_cache_url("s3://cache?x=1")
    assert caught.value.hint == (
        "nixbk knows 'priority', 'addressing-style', 'endpoint', 'profile', 'region', 'scheme'"
    )
