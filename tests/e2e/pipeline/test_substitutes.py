"""What is fetched is like what is built: planned, kept, told, and never half there."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from binary_caches import CacheServer, closure, narinfo, nix
from cached_images import CachedImages
from cached_projects import cache_table, words
from fault_proxy import FaultProxy, slow
from image_files import store_files
from projects import NIXBK
from small_cache import SmallCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Engines

TOKEN: Final = "op3n-sesame-19"  # noqa: S105  it opens nothing else
INTERRUPTED: Final = 130
WITHIN_S: Final = 20.0


@pytest.fixture
def small(tools: str, tmp_path: Path) -> SmallCache:
    """Small paths that are new to the engine, and a cache of them."""
    (tmp_path / "small").mkdir()
    return SmallCache.make(tmp_path / "small", ["one"])


@pytest.fixture
def images(tmp_path: Path, engines: Engines) -> Iterator[CachedImages]:
    """A project on each engine in turn."""
    made = CachedImages.make(tmp_path, engines)
    yield made
    made.clean()


def names(paths: Any) -> list[str]:
    """The names of store paths, sorted."""
    return sorted(str(path).partition("-")[2] for path in paths)


def elsewhere(images: CachedImages) -> CachedImages:
    """The same project on a machine that knows nothing of earlier commands."""
    variables = {**images.project.variables, "XDG_CACHE_HOME": str(images.project.home / "other")}
    return replace(images, project=replace(images.project, variables=variables))


def test_the_other_file_of_another_cache(images: CachedImages, small: SmallCache) -> None:
    """It is fetched when the first cache is down, and found again by everybody."""
    path = small.paths["one"]
    first = CacheServer(small.subset(["one"]))
    with CacheServer(small.of("one", "zstd", small.key)) as second:
        with first:
            caches = {
                "first": cache_table(first.url, small.key),
                "second": cache_table(second.url, small.key),
            }
            images.write(caches, {"x": [path]})
            images.lock()
            assert images.project.sources(path) == ("first", "second")
        images.apply()
        assert images.files("x") == store_files([path])
    assert images.plan()["changes"] is False
    assert elsewhere(images).plan()["changes"] is False


def test_another_cache_builds_nothing_anew(images: CachedImages, small: SmallCache) -> None:
    """What is built of a store path is the same whatever file that came from."""
    small.write_expression(images.project.folder)
    xz, zstd = small.subset(["lib"]), small.of("lib", "zstd", small.key)
    done = []
    for folder in (xz, zstd):
        table = cache_table(f"file://{folder}", small.key)
        images.write({"it": table}, {"x": ["./default.nix#app"]})
        images.with_nix().lock("--quiet", "--refresh")
        done.append(images.apply("--json").document)
    assert [names(document["fetched"]) for document in done] == [["lib"], ["lib"]]
    assert [names(document["built"]) for document in done] == [["app.drv"], []]
    assert images.files("x") == store_files(closure([small.paths["app"]]))
    assert images.plan()["changes"] is False


def test_a_failed_fetch_leaves_the_image_as_it_was(images: CachedImages, small: SmallCache) -> None:
    """What there is of the new one is there the next time."""
    folder = small.subset(["one", "lib", "app"])
    table = cache_table(f"file://{folder}", small.key)
    images.write({"it": table}, {"x": [small.paths["one"]]})
    images.lock()
    images.apply()
    images.write({"it": table}, {"x": [small.paths["one"], small.paths["app"]]})
    images.lock()
    file = folder / narinfo(folder, small.paths["app"])["URL"]
    data = file.read_bytes()
    file.unlink()
    failed = images.apply(code=1)
    assert f"{small.paths['app']}: no binary cache has it any more" in words(failed.err)
    assert images.files("x") == store_files([small.paths["one"]])
    file.write_bytes(data)
    fetch = images.plan()["images"]["x"]["fetch"]
    assert small.paths["app"] in [row["path"] for row in fetch]
    images.apply()
    assert images.files("x") == store_files(closure([small.paths["one"], small.paths["app"]]))


def test_builds_of_what_is_fetched(images: CachedImages, small: SmallCache) -> None:
    """``nixbk build`` tells of it what Nix does, and cannot repeat what it did not do."""
    small.write_expression(images.project.folder)
    images.write(
        {"it": cache_table(f"file://{small.folder}", small.key)}, {"x": ["./default.nix#lib"]}
    )
    user = images.with_nix().project
    wanted = ["./default.nix#lib", small.paths["app"]]
    rows = user.nixbk("build", "--json", *wanted).document
    told = json.loads(nix("nix", "path-info", "--json", small.paths["lib"], small.paths["app"]))
    for row, name in zip(rows, ("lib", "app"), strict=True):
        known = told[small.paths[name]]
        assert row["path"] == small.paths[name]
        assert (row["narHash"], row["narSize"]) == (known["narHash"], known["narSize"])
        assert row["references"] == sorted(known["references"])
    assert [names([row["derivation"] or "-"]) for row in rows] == [["lib.drv"], [""]]
    failed = user.nixbk("build", "--check", wanted[0], code=1)
    assert words(failed.err).endswith(
        "nixbk: ./default.nix#lib: it comes from a binary cache; there is no build of it to be "
        "repeated hint: take 'substituters' out of the manifest to have it built"
    )


@pytest.mark.parametrize("login", [False, True], ids=["builder", "session"])
def test_an_interrupt_ends_a_fetch(images: CachedImages, small: SmallCache, login: bool) -> None:
    """Soon, whoever fetches; nothing is delivered, and the next one starts afresh."""
    path = small.paths["one"]
    variables = {**images.project.variables, "CACHE_TOKEN": TOKEN}
    images = replace(images, project=replace(images.project, variables=variables))
    server = CacheServer(small.subset(["one"]), token=TOKEN if login else "")
    with server, FaultProxy(server.url) as proxy:
        table = cache_table(proxy.url, small.key)
        images.write(
            {"it": {**table, **({"token-env": "CACHE_TOKEN"} if login else {})}}, {"x": [path]}
        )
        images.lock()
        rule = proxy.on("^/nar/", slow(100, 1.0))
        process = subprocess.Popen(
            [*NIXBK, "apply"],
            cwd=images.project.folder,
            env=images.project.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            until_s = time.monotonic() + WITHIN_S
            while not rule.met and time.monotonic() < until_s:
                time.sleep(0.1)
            asked_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            took_s = time.monotonic() - asked_s
        assert process.returncode == INTERRUPTED, out + err
        assert took_s < WITHIN_S
        assert not images.is_delivered("x")
        proxy.clear()
        images.apply()
    assert images.files("x") == store_files([path])
