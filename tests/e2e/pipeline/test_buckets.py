"""Images from caches in buckets, and what was built given to them; the server is a real one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from binary_caches import SigningKey, closure, nix
from buckets import NOBODY, Bucket, write_profile
from cached_images import CachedImages
from cached_projects import cache_table, words
from image_files import store_files
from small_cache import SmallCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from projects import Engines, Project


@pytest.fixture(scope="module")
def small(tools: str, tmp_path_factory: pytest.TempPathFactory) -> SmallCache:
    """Small paths, and a cache of them."""
    assert tools
    return SmallCache.make(tmp_path_factory.mktemp("small"), ["one", "two", "three"])


@pytest.fixture(scope="module")
def bucket(small: SmallCache) -> Bucket:
    """A private bucket that real Nix filled; see `test_caches_buckets`."""
    made = Bucket.make()
    made.allow("GetObject", "PutObject")
    target = f"{made.url('/cache')}&secret-key={small.key.file}&compression=zstd"
    nix("nix", "copy", "--to", target, *small.paths.values())
    made.allow()
    return made


@pytest.fixture
def images(tmp_path: Path, engines: Engines) -> Iterator[CachedImages]:
    """A project on each engine in turn."""
    made = CachedImages.make(tmp_path, engines)
    yield made
    made.clean()


def of(images: CachedImages, variables: Mapping[str, str]) -> CachedImages:
    """The same of a user with those credentials."""
    project = images.project
    merged = {**project.variables, **NOBODY, **variables}
    return replace(images, project=replace(project, variables=merged))


def test_a_private_bucket(images: CachedImages, small: SmallCache, bucket: Bucket) -> None:
    """The client fetches what no builder could, and tells nobody the secret."""
    mine = of(images, bucket.environ)
    wanted = [small.paths[name] for name in ("app", "one", "tiny")]
    mine.write({"b": cache_table(bucket.url("/cache"), small.key)}, {"x": wanted})
    mine.lock()
    done = mine.apply()
    assert mine.files("x") == store_files(closure(wanted))
    assert mine.project.telling(bucket.secret, bucket.key_id) == []
    assert bucket.secret not in done.out + done.err


def test_who_is_not_let_in(images: CachedImages, small: SmallCache, bucket: Bucket) -> None:
    """A secret that is wrong by now is told when the lock is applied, too."""
    mine = of(images, bucket.environ)
    table = {"b": cache_table(bucket.url("/cache"), small.key)}
    mine.write(table, {"x": [small.paths["two"]]})
    mine.lock()
    for variables, said in (
        ({**bucket.environ, "AWS_SECRET_ACCESS_KEY": "hidden-word"}, "(SignatureDoesNotMatch)"),
        ({}, "(AccessDenied)"),
    ):
        done = of(images, variables).apply(code=1)
        assert said in words(done.err)
        assert "hidden-word" not in done.err + done.out
    assert not images.is_delivered("x")


def test_a_public_bucket(images: CachedImages, small: SmallCache) -> None:
    """The builder fetches from it by itself, as from any server."""
    public = Bucket.make()
    public.put_folder(small.subset(["three"]), "/p")
    public.allow("GetObject")
    mine = of(images, {})
    path = small.paths["three"]
    mine.write({"b": cache_table(public.url("/p"), small.key)}, {"x": [path]})
    mine.lock()
    mine.apply()
    assert mine.files("x") == store_files(closure([path]))


def test_nix_takes_what_was_pushed(project: Project, tmp_path: Path) -> None:
    """A push with credentials of a profile; real Nix reads the bucket once it is public."""
    key = SigningKey.make(tmp_path)
    bucket = Bucket.make()
    variables = {**project.variables, **NOBODY, "HOME": str(project.home)}
    mine = replace(project, variables=variables)
    write_profile(mine.home, "writer", bucket.key_id, bucket.secret)
    mine.lock()
    mine.apply()
    url, options = bucket.url("/farm"), ["--secret-key-file", str(key.file)]
    refused = mine.run("cache", "push", url, *options, code=1)
    assert "HTTP 403 (AccessDenied)" in words(refused.err)
    writer = bucket.url("/farm", profile="writer")
    done = mine.run("cache", "push", writer, *options)
    assert words(done.out).endswith(f"to s3://{bucket.name}/farm; 0 there already.")
    assert bucket.secret not in done.out + done.err
    again = mine.run("cache", "push", writer, *options, "--json").document
    assert again["pushed"] == []
    assert len(again["present"]) == 10

    bucket.allow("GetObject")
    (app,) = nix("nix-build", "--no-out-link", mine.folder / "default.nix", "-A", "app").split()
    trusted = ["--option", "trusted-public-keys", key.public, "--option", "substituters", ""]
    store = tmp_path / "store"
    nix("nix", "copy", "--from", url, "--to", store, *trusted, app)
    nix("nix-store", "--store", store, "--verify", "--check-contents")
    assert (store / app.lstrip("/")).is_dir()


WRONG = {
    "bucket": ("nobody-has-this", {}, "HTTP 404 (NoSuchBucket)", "is the bucket's name right"),
    "region": ("", {"region": "eu-west-2"}, "HTTP 400 (Authorization", "the bucket's own region"),
}


@pytest.mark.parametrize("name", WRONG)
def test_buckets_that_take_nothing(project: Project, tmp_path: Path, name: str) -> None:
    """Says why, and what to do."""
    other, parameters, said, hint = WRONG[name]
    bucket = Bucket.make()
    place = replace(bucket, name=other or bucket.name)
    mine = replace(project, variables={**project.variables, **bucket.environ})
    mine.lock()
    mine.apply()
    done = mine.run("cache", "push", place.url("/x", **parameters), "--unsigned", code=1)
    assert said in words(done.err)
    assert hint in words(done.err)
    assert bucket.secret not in done.err
