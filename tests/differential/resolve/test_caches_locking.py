"""What is locked of binary caches that real Nix made, and what real Nix says of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from binary_caches import (
    COMPRESSIONS,
    CacheServer,
    closure,
    hash_part,
    narinfo,
    narinfo_file,
    nix,
)
from cached_projects import CachedProject, cache_table, words

from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from small_cache import SmallCache


def told(url: str, paths: list[str]) -> dict[str, Any]:
    """What real Nix says of paths and all they need, in a cache."""
    command = ["nix", "path-info", "--recursive", "--json", "--json-format", "1", "--store", url]
    found: dict[str, Any] = json.loads(nix(*command, *paths))
    return found


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_all_that_nix_knows_is_locked(
    small: SmallCache, cached: CachedProject, compression: str
) -> None:
    """Every path of the closure, with hashes, sizes, references, signatures and archive."""
    folder = small.of("app", compression, small.key)
    with CacheServer(folder) as server:
        path = cached.of(small, "app", it=cache_table(server.url, small.key))
        cached.nixbk("lock")
        expected = told(server.url, [path])
    lock = cached.locked
    assert {str(found) for found in lock.substitutes} == set(expected) == set(closure([path]))
    for found in lock.substitutes.values():
        info, fields = expected[str(found.path)], narinfo(folder, str(found.path))
        assert found.nar_hash.sri() == info["narHash"]
        assert found.nar_size == info["narSize"]
        assert sorted(map(str, found.references)) == sorted(info["references"])
        assert list(found.signatures) == sorted(info["signatures"])
        (archive,) = found.archives
        assert archive.substituter == "it"
        assert archive.url == info["url"] == fields["URL"]
        assert archive.file_hash.sri() == info["downloadHash"]
        assert archive.file_size == info["downloadSize"]
        assert archive.compression == fields["Compression"] == compression
    (row,) = lock.images["x"].installables
    assert not row.drv_path
    assert row.outputs == ("out",)
    assert row.paths == {"out": StorePath.parse(path)}
    assert not lock.derivations
    assert not lock.sources
    assert "is up to date" in cached.nixbk("lock").out
    cached.nixbk("lock", "--check")


def test_symlinks_are_told_apart(
    small: SmallCache, cached: CachedProject, server: CacheServer
) -> None:
    """Type and target of a symlink are locked; the rest is something else."""
    cached.write({"it": cache_table(server.url, small.key)}, {"x": list(small.paths.values())})
    cached.nixbk("lock")
    kinds = {name: cached.substitute(path) for name, path in small.paths.items()}
    target = f"{small.paths['lib']}/text"
    assert (kinds["link"].file_type, kinds["link"].target) == ("symlink", target)
    others = {(found.file_type, found.target) for name, found in kinds.items() if name != "link"}
    assert others == {("directory", "")}
    looked_into = [path for path in server.asked("/nar/") if path]
    assert len(looked_into) == sum(found.nar_size <= 4224 for found in kinds.values())
    assert server.connections <= 32


@pytest.mark.parametrize(
    ("first", "second", "order"),
    [
        ("", "", ("first", "second")),
        ("?priority=50", "", ("first", "second")),
        ("?priority=60", "", ("second", "first")),
        ("", "?priority=10", ("second", "first")),
        ("?priority=10", "?priority=10", ("first", "second")),
    ],
)
def test_the_order_of_caches(
    small: SmallCache, cached: CachedProject, first: str, second: str, order: tuple[str, ...]
) -> None:
    """Priorities of the manifest's addresses, then the manifest's order; both are kept."""
    other = small.of("data", "zstd", small.key)
    # what caches say of themselves does not count
    info = other / "nix-cache-info"
    info.write_text(info.read_text() + "Priority: 1\n")
    with CacheServer(small.folder) as one_server, CacheServer(other) as two_server:
        path = cached.of(
            small,
            "data",
            first=cache_table(one_server.url + first, small.key),
            second=cache_table(two_server.url + second),
        )
        cached.nixbk("lock")
    assert cached.sources(path) == order
    compressions = {a.substituter: a.compression for a in cached.substitute(path).archives}
    assert compressions == {"first": "xz", "second": "zstd"}


def test_two_caches_that_have_one_half_each(small: SmallCache, cached: CachedProject) -> None:
    """What one cache refers to may be in the other."""
    upper, lower = small.copy(), small.copy()
    narinfo_file(upper, small.paths["lib"]).unlink()
    narinfo_file(lower, small.paths["app"]).unlink()
    path = cached.of(
        small,
        "app",
        upper=cache_table(f"file://{upper}", small.key),
        lower=cache_table(f"file://{lower}"),
    )
    cached.nixbk("lock")
    assert (cached.sources(path), cached.sources(small.paths["lib"])) == (("upper",), ("lower",))


def test_a_reference_that_no_cache_has(small: SmallCache, cached: CachedProject) -> None:
    """A path is there if all is there that it needs."""
    folder = small.copy()
    narinfo_file(folder, small.paths["lib"]).unlink()
    path = cached.of(small, "app", it=cache_table(f"file://{folder}", small.key))
    said = words(cached.nixbk("lock", code=1).err)
    assert path in said
    assert small.paths["lib"] in said


@pytest.mark.parametrize("url", ["file://{folder}", "file:./near", "file:near"])
def test_folders(small: SmallCache, cached: CachedProject, url: str) -> None:
    """A cache may be a folder, also one beside the manifest."""
    shutil.copytree(small.folder, cached.folder / "near")
    path = cached.of(small, "app", it=cache_table(url.format(folder=small.folder), small.key))
    cached.nixbk("lock")
    assert cached.sources(path) == ("it",)


# Answers that are kept


def test_answers_are_kept(small: SmallCache, cached: CachedProject, server: CacheServer) -> None:
    """They serve the next time, offline too, until --refresh asks anew."""
    path = cached.of(small, "app", it=cache_table(server.url, small.key))
    cached.nixbk("lock")
    asked = len(server.asked(".narinfo"))
    assert asked == 2
    lock = cached.folder / "nixbk.lock"
    before = lock.read_bytes()

    def again(*options: str) -> int:
        lock.unlink()
        server.forget()
        cached.nixbk("lock", *options)
        assert lock.read_bytes() == before
        return len(server.asked(".narinfo"))

    assert again() == 0
    assert again("--offline") == 0
    assert server.connections == 0
    assert again("--refresh") == 2
    server.stop()
    assert again("--offline") == 0
    assert cached.sources(path) == ("it",)


def test_offline_without_answers(
    small: SmallCache, cached: CachedProject, server: CacheServer
) -> None:
    """Nobody is asked, and what is missing is told."""
    path = cached.of(small, "app", it=cache_table(server.url, small.key))
    said = words(cached.nixbk("lock", "--offline", code=1).err)
    assert all(word in said for word in ("it", path, "--offline")), said
    assert server.connections == 0


def test_what_is_absent_is_kept_for_a_while(small: SmallCache, cached: CachedProject) -> None:
    """A cache that said no is not asked again until --refresh."""
    folder = small.copy()
    name = narinfo_file(folder, small.paths["data"])
    kept = name.read_bytes()
    name.unlink()
    with CacheServer(folder) as server:
        path = cached.of(small, "data", it=cache_table(server.url, small.key))
        cached.nixbk("lock", code=1)
        name.write_bytes(kept)
        server.forget()
        cached.nixbk("lock", code=1)
        assert server.asked(hash_part(path)) == []
        cached.nixbk("lock", "--refresh")
        assert cached.sources(path) == ("it",)


def test_kept_answers_are_broken(
    small: SmallCache, cached: CachedProject, server: CacheServer
) -> None:
    """What cannot be read is made anew."""
    path = cached.of(small, "app", it=cache_table(server.url, small.key))
    cached.nixbk("lock")
    (kept,) = cached.home.rglob("narinfos.sqlite")
    assert kept.stat().st_mode & 0o777 == 0o600
    for leftover in kept.parent.glob("narinfos.sqlite-*"):
        leftover.unlink()
    kept.write_bytes(b"not at all" * 1000)
    (cached.folder / "nixbk.lock").unlink()
    cached.nixbk("lock")
    assert cached.sources(path) == ("it",)


def test_gone_after_the_lock(small: SmallCache, cached: CachedProject) -> None:
    """What a cache lost is locked from another one, with --refresh."""
    folder = small.copy()
    with CacheServer(folder) as one_server, CacheServer(small.folder) as two_server:
        path = cached.of(
            small,
            "data",
            first=cache_table(one_server.url, small.key),
            second=cache_table(two_server.url),
        )
        cached.nixbk("lock")
        assert cached.sources(path) == ("first", "second")
        narinfo_file(folder, path).unlink()
        cached.nixbk("lock", "--refresh")
        assert cached.sources(path) == ("second",)


def test_another_cache_makes_a_lock_stale(
    small: SmallCache, cached: CachedProject, server: CacheServer
) -> None:
    """A cache may move; one that the manifest no longer names is not in a lock."""
    cached.of(small, "data", it=cache_table(server.url, small.key))
    cached.nixbk("lock")
    cached.of(small, "data", it=cache_table(f"file://{small.folder}", small.key))
    assert "is up to date" in cached.nixbk("lock", "--check").out
    cached.of(small, "data", other=cache_table(server.url, small.key))
    cached.nixbk("lock", "--check", code=1)


def test_hashes_are_of_the_files(small: SmallCache, cached: CachedProject) -> None:
    """The hash in the lock is that of the file that the cache has."""
    path = cached.of(small, "data", it=cache_table(f"file://{small.folder}", small.key))
    cached.nixbk("lock")
    (archive,) = cached.substitute(path).archives
    data = (small.folder / archive.url).read_bytes()
    found = nix("nix", "hash", "file", "--type", "sha256", small.folder / archive.url).strip()
    assert (archive.file_hash, archive.file_size) == (Hash.parse(found), len(data))
