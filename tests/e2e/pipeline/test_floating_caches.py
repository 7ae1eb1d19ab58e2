"""Images with outputs of which caches alone know what they came to, as real Nix built them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from binary_caches import closure
from cached_images import CachedImages
from cached_projects import cache_table, words
from floating_cache import FloatingCache
from image_files import store_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Engines


@pytest.fixture
def floating(tools: str, tmp_path: Path) -> FloatingCache:
    """Outputs that real Nix built, new to the engine."""
    assert tools
    (tmp_path / "floating").mkdir()
    return FloatingCache.make(tmp_path / "floating")


@pytest.fixture
def images(tmp_path: Path, engines: Engines, floating: FloatingCache) -> Iterator[CachedImages]:
    """A project with their recipes, of a user with Nix."""
    made = CachedImages.make(tmp_path, engines).with_nix()
    floating.write_expression(made.project.folder)
    yield made
    made.clean()


def test_all_is_fetched(images: CachedImages, floating: FloatingCache) -> None:
    """What waited for one that floats is unpacked, and nothing is built."""
    folder = floating.cache(["float^out", "float^dev", "waiting^out"])
    asked = ["./default.nix#waiting", "./default.nix#float^*"]
    images.write({"c": cache_table(f"file://{folder}", floating.key)}, {"x": asked})
    images.lock()
    image = images.plan()["images"]["x"]
    wanted = [floating.paths[name] for name in ("waiting^out", "float^out", "float^dev")]
    assert (image["build"], {row["path"] for row in image["fetch"]}) == ([], set(closure(wanted)))
    images.apply()
    assert images.files("x") == store_files(closure(wanted))
    assert not images.plan()["changes"]


def test_the_rest_is_built(images: CachedImages, floating: FloatingCache) -> None:
    """What is built of one that was fetched comes to what it comes to under real Nix."""
    folder = floating.cache(["float^out"])
    names = ("other", "fixed", "waiting")
    asked = [f"./default.nix#{name}" for name in names]
    images.write({"c": cache_table(f"file://{folder}", floating.key)}, {"x": asked})
    images.lock()
    plan = images.plan()["images"]["x"]
    assert {row["name"] for row in plan["build"]} == {"other", "fixed", "above", "waiting"}
    images.apply()
    wanted = [floating.paths[f"{name}^out"] for name in names]
    assert images.files("x") == store_files(closure(wanted))
    assert not images.plan()["changes"]
    target = f"file://{folder.with_name('pushed')}"
    done = images.project.nixbk("cache", "push", target, "--unsigned", "--json")
    pushed = {entry["path"].partition("-")[2] for entry in done.document["pushed"]}
    # other and what waits follow from a recipe that is not in the lock
    assert pushed & {"above", "fixed", "other", "waiting"} == {"above", "fixed"}
    assert "not all the recipes below it are in the lock" in words(done.err)


def test_what_a_cache_lost(images: CachedImages, floating: FloatingCache) -> None:
    """Its recipe is not in the lock, so the error says what finds another way."""
    folder = floating.cache(["float^out"])
    images.write(
        {"c": cache_table(f"file://{folder}", floating.key)}, {"x": ["./default.nix#other"]}
    )
    images.lock()
    for file in (folder / "nar").iterdir():
        file.unlink()
    done = images.apply(code=None)
    assert done.code
    assert "nixbk lock --refresh" in words(done.err)
    for file in folder.glob("*.narinfo"):
        file.unlink()
    images.lock("--refresh")
    images.apply()
    assert images.files("x") == store_files(closure([floating.paths["other^out"]]))
