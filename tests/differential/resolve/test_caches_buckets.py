"""Caches in buckets of a real server of S3, written by real Nix and asked by nixbk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from binary_caches import CacheServer, closure, hash_part, nix
from buckets import NOBODY, Bucket, write_profile
from cached_projects import cache_table, words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cached_projects import CachedProject
    from small_cache import SmallCache

EVERYTHING = ("GetObject", "PutObject")


@pytest.fixture(scope="module")
def bucket(small: SmallCache) -> Bucket:
    """A private bucket that real Nix, which may have been built without signing, filled."""
    made = Bucket.make()
    made.allow(*EVERYTHING)
    for prefix in ("", "/some/where"):
        target = f"{made.url(prefix)}&secret-key={small.key.file}&compression=zstd"
        nix("nix", "copy", "--to", target, small.paths["app"], small.paths["data"])
    made.allow()
    return made


def of(cached: CachedProject, variables: Mapping[str, str]) -> CachedProject:
    """A project of a user with those credentials."""
    return replace(cached, variables={**cached.variables, **NOBODY, **variables})


@pytest.mark.parametrize("prefix", ["", "/some/where", "/some/where/"])
def test_what_nix_wrote_is_locked(
    cached: CachedProject, small: SmallCache, bucket: Bucket, prefix: str
) -> None:
    """With the credentials of the environment, which are kept nowhere."""
    project = of(cached, bucket.environ)
    project.of(small, "app", b=cache_table(bucket.url(prefix), small.key))
    done = project.nixbk("lock")
    assert set(map(str, project.locked.substitutes)) == set(closure([small.paths["app"]]))
    assert project.sources(small.paths["app"]) == ("b",)
    assert project.telling(bucket.secret, bucket.key_id) == []
    assert bucket.secret not in done.out + done.err


ENDPOINTS = ("endpoint={server}&scheme=http", "endpoint=http://{server}/&addressing-style=path")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_profiles(cached: CachedProject, small: SmallCache, bucket: Bucket, endpoint: str) -> None:
    """Those of the address count, and of the environment, and the usual one."""
    query = endpoint.format(server=bucket.server)
    for name, named, variables in (
        ("mine", "&profile=mine", {}),
        ("mine", "", {"AWS_PROFILE": "mine"}),
        ("default", "", {}),
    ):
        write_profile(cached.home, name, bucket.key_id, bucket.secret)
        project = of(cached, variables)
        url = f"s3://{bucket.name}?{query}{named}"
        project.of(small, "data", b=cache_table(url, small.key))
        project.nixbk("lock", "--refresh")
        assert project.sources(small.paths["data"]) == ("b",)


def test_public_buckets(cached: CachedProject, small: SmallCache) -> None:
    """They need no credentials; what is not there is not there, though it is not told."""
    public = Bucket.make()
    public.put_folder(small.subset(["lib", "app"]))
    public.allow("GetObject")
    project = of(cached, {})
    project.of(small, "app", b=cache_table(public.url(), small.key))
    project.nixbk("lock")
    assert project.sources(small.paths["lib"]) == ("b",)
    project.of(small, "other", b=cache_table(public.url(), small.key))
    done = project.nixbk("lock", code=1)
    assert f"{small.paths['other']}" in words(done.err)
    assert "AccessDenied" not in done.err


REFUSALS: dict[str, tuple[dict[str, str], str, str]] = {
    "nobody": ({}, "HTTP 403 (AccessDenied)", "without credentials a bucket gives what is public"),
    "a wrong secret": (
        {"AWS_SECRET_ACCESS_KEY": "hidden-word"},
        "HTTP 403 (SignatureDoesNotMatch)",
        "are the key and its secret right?",
    ),
    "a wrong key": (
        {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "hidden-word"},
        "HTTP 404 (XAdminUserNotFound)",
        "are the key and its secret right?",
    ),
    "a wrong token": (
        {"AWS_SESSION_TOKEN": "hidden-word"},
        "HTTP 400 (InvalidToken)",
        "is AWS_SESSION_TOKEN that of the key?",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_who_is_not_let_in(
    cached: CachedProject, small: SmallCache, bucket: Bucket, name: str
) -> None:
    """Says so, and nothing is built instead."""
    variables, said, hint = REFUSALS[name]
    project = of(cached, {**bucket.environ, **variables} if variables else {})
    small.write_expression(project.folder)
    project = project.with_nix()
    project.write({"b": cache_table(bucket.url(), small.key)}, {"x": ["./default.nix#app"]})
    done = project.nixbk("lock", code=1)
    assert f"{said} from 'http://{bucket.server}/{bucket.name}/" in words(done.err)
    assert hint in words(done.err)
    assert "hidden-word" not in done.err + done.out
    assert not (project.folder / "nixbk.lock").exists()


WRONG: dict[str, tuple[str, str, str]] = {
    "bucket": (
        "s3://nobody-has-this?endpoint=http://{server}",
        "HTTP 404 (NoSuchBucket)",
        "is the bucket's name right, and its region and endpoint?",
    ),
    "region": (
        "s3://{bucket}?endpoint=http://{server}&region=eu-west-2",
        "HTTP 400 (AuthorizationHeaderMalformed)",
        "write the bucket's own region: '?region='",
    ),
    "place": ("s3://{bucket}/nowhere?endpoint=http://{server}", "HTTP 404 (NoSuchKey)", ""),
    "profile": (
        "s3://{bucket}?endpoint=http://{server}&profile=nobody",
        "the profile 'nobody' has no aws_access_key_id",
        "aws configure export-credentials",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_there(
    cached: CachedProject, small: SmallCache, bucket: Bucket, name: str
) -> None:
    """A wrong address is told with what to do about it."""
    url, said, hint = WRONG[name]
    project = of(cached, {} if name == "profile" else bucket.environ)
    table = cache_table(url.format(server=bucket.server, bucket=bucket.name), small.key)
    project.of(small, "data", b=table)
    done = project.nixbk("lock", code=1)
    assert said in words(done.err)
    assert hint in words(done.err)


def test_others_are_told_nothing(cached: CachedProject, small: SmallCache, bucket: Bucket) -> None:
    """Neither signatures nor tokens go to another server that a narinfo names."""
    mine = Bucket.make()
    names = [f"{hash_part(small.paths['tiny'])}.narinfo", "nix-cache-info"]
    with CacheServer(small.folder) as server:
        for name in names:
            text = (small.folder / name).read_text()
            data = text.replace("URL: ", f"URL: {server.url}/").encode()
            mine.ask("PUT", f"/{name}", data)
        project = of(cached, mine.environ)
        project.of(small, "tiny", b=cache_table(mine.url(), small.key))
        project.nixbk("lock")
        asked = [request for request in server.requests if "/nar/" in request.path]
    assert len(asked) == 1
    assert not {"authorization", "x-amz-date", "x-amz-security-token"} & set(asked[0].headers)
    assert bucket.secret not in str(asked)


def test_a_token_is_none_of_a_bucket(
    cached: CachedProject, small: SmallCache, bucket: Bucket
) -> None:
    """A bearer would not be understood."""
    project = of(cached, {**bucket.environ, "TOKEN": "x"})
    table = {**cache_table(bucket.url(), small.key), "token-env": "TOKEN"}
    project.of(small, "data", b=table)
    done = project.nixbk("lock", code=1)
    assert "substituters.b.token-env: a bucket takes credentials of AWS, and no token" in done.err


def test_both_ask_for_the_same(cached: CachedProject, small: SmallCache, tmp_path: Path) -> None:
    """Real Nix and nixbk take the same paths from the same address."""
    public = Bucket.make()
    public.put_folder(small.folder, "/p")
    public.allow("GetObject")
    url, path = public.url("/p"), small.paths["app"]
    keys = ("--option", "trusted-public-keys", small.key.public)
    nix("nix", "copy", "--from", url, "--to", f"local?root={tmp_path}/store", path, *keys)
    project = of(cached, {})
    project.of(small, "app", b=cache_table(url, small.key))
    project.nixbk("lock")
    found = {hash_part(str(path)) for path in project.locked.substitutes}
    stored = {file.name[:32] for file in (tmp_path / "store/nix/store").iterdir()} - {".links"}
    assert found == stored
