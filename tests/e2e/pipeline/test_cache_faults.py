"""Faults of binary caches after the lock: retried, served by another, or told; never delivered."""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from binary_caches import CacheServer, edit_narinfo
from cached_images import CachedImages
from cached_projects import cache_table, words
from fault_proxy import (
    FaultProxy,
    cut,
    down,
    edited,
    redirect,
    redirect_loop,
    slow,
    status,
    wrong_bytes,
)
from image_files import store_files
from small_cache import SmallCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_proxy import Fault
    from projects import Done, Engines

JOBS: Final = 4

PASSING: Final[dict[str, tuple[Fault, int | None]]] = {
    "pass-slow": (slow(5, 0.1), None),
    "pass-hangs-up": (down, 1),
    "pass-cut": (cut(1000), 1),
    "pass-wrong-bytes": (wrong_bytes(500), 1),
    "pass-429": (status(429, Retry_After="1"), 1),
    "pass-500": (status(500), 1),
    "pass-503": (status(503), 2),
    "pass-404": (status(404), 1),
    "pass-redirect": (redirect("", query="?elsewhere"), None),
}
"""Faults that go by, of the only cache that has the path."""

FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "hangs-up": (down, ""),
    "cut": (cut(1000), ""),
    "wrong-bytes": (wrong_bytes(500), "another file"),
    "other-file": (edited(lambda _: b"<html>come back later</html>"), "another file"),
    "longer": (edited(lambda data: data + b"x"), "another file"),
    "redirect-loop": (redirect_loop, "redirect"),
    "401": (status(401), "401"),
    "403": (status(403), "403"),
    "404": (status(404), "404|not found|no longer"),
    "429": (status(429, Retry_After="0"), "429"),
    "500": (status(500), "500"),
    "503": (status(503), "503"),
}
"""Faults that stay, each with what is told of it."""

LIES: Final[dict[str, tuple[dict[str, str | None], str]]] = {
    "file-hash": ({"FileHash": f"sha256:{'0' * 52}"}, "another file"),
    "compression": ({"Compression": "zstd"}, "zstd|Compression|magic|unpack"),
    "another-nar": ({}, "hash|NAR|bytes"),
}
"""What a narinfo may say that no signature covers; found out when the file is there."""

UNTRUE: Final[dict[str, tuple[str, str]]] = {
    "nar-hash": ("NarHash", "hash|NarHash"),
    "nar-size-less": ("NarSize", "size|NarSize|bytes"),
    "nar-size-more": ("NarSize", "size|NarSize|bytes"),
}
"""What a cache may say that the manifest trusts without signatures."""

STALLING: Final = "stalls"
NAMES: Final = [
    *PASSING,
    *[
        f"{kind}-{name}"
        for kind in ("other", "mixed", "alone")
        for name in (*FAULTS, *LIES, "stopped")
    ],
    *UNTRUE,
    STALLING,
]
ALONE: Final = [f"alone-{name}" for name in (*FAULTS, *LIES, "stopped")]
OTHER: Final = [f"other-{name}" for name in (*FAULTS, *LIES, "stopped")]
"""Two caches have the same file."""
MIXED: Final = [f"mixed-{name}" for name in (*FAULTS, *LIES, "stopped")]
"""Two caches have files of two compressions."""
GONE: Final = [f"alone-{name}" for name in ("403", "404", *LIES)] + list(UNTRUE)
"""For which another cache is to be found."""
CURABLE: Final = [f"alone-{name}" for name in (*FAULTS, "stopped")]


@dataclass(frozen=True)
class Scene:
    """A project that was locked when all was well.

    Attributes:
        images: the project.
        small: its paths.
        caches: what stands before each cache, by the name in the manifest.
    """

    images: CachedImages
    small: SmallCache
    caches: dict[str, FaultProxy]

    def nar(self, name: str) -> str:
        """The pattern of the file that a path comes from."""
        return "^/" + re.escape(self.small.info(name)["URL"]) + "$"

    def make_faults(self) -> None:
        """Spoil the first cache, and stop the third."""
        first = self.caches["first"]
        for name, (fault, times) in PASSING.items():
            first.on(self.nar(name), fault, times)
        for name, (fault, _) in FAULTS.items():
            for kind in ("other", "mixed", "alone"):
                first.on(self.nar(f"{kind}-{name}"), fault)
        self.caches["third"].stop()

    def expected(self, *names: str) -> dict[str, str | bytes]:
        """What is in an image of some paths."""
        return store_files(self.small.paths[name] for name in names)


@pytest.fixture(scope="module")
def small(tools: str, tmp_path_factory: pytest.TempPathFactory) -> SmallCache:
    """A path for each fault, and a cache of them."""
    return SmallCache.make(tmp_path_factory.mktemp("small"), ["data", *NAMES])


def lying(small: SmallCache) -> Path:
    """A cache with signatures that do not cover what is not true."""
    apart = {*UNTRUE, STALLING, *(name for name in NAMES if name.endswith("-stopped"))}
    folder = small.subset(set(NAMES) - apart)
    other = small.info("data")
    for name, (fields, _) in LIES.items():
        lies = fields or {field: other[field] for field in ("URL", "FileHash", "FileSize")}
        for field, value in lies.items():
            for kind in ("other", "mixed", "alone"):
                edit_narinfo(folder, small.paths[f"{kind}-{name}"], field, value)
    return folder


def untrue(small: SmallCache) -> Path:
    """A cache without signatures."""
    folder = small.subset(UNTRUE)
    for name, (field, _) in UNTRUE.items():
        size = int(small.info(name)["NarSize"])
        lie = {
            "nar-hash": small.info("data")["NarHash"],
            "nar-size-less": f"{size // 16 * 8}",
            "nar-size-more": f"{size + 8}",
        }[name]
        edit_narinfo(folder, small.paths[name], field, lie)
        edit_narinfo(folder, small.paths[name], "Sig", None)
    return folder


@pytest.fixture(scope="module")
def scene(
    engines: Engines, small: SmallCache, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """One project on each engine in turn, with an image for each path that is to fail."""
    images = CachedImages.make(tmp_path_factory.mktemp("faults"), engines, layers=2)
    stopped = [name for name in NAMES if name.endswith("-stopped")]
    folders = {
        "first": lying(small),
        "third": small.subset(stopped),
        "second": small.subset(OTHER),
        "zstd": small.of(MIXED, "zstd", small.key),
        "untrusted": untrue(small),
    }
    with ExitStack() as stack:
        caches: dict[str, FaultProxy] = {}
        for name, folder in folders.items():
            server = stack.enter_context(CacheServer(folder))
            caches[name] = stack.enter_context(FaultProxy(server.url))
        tables = {name: cache_table(proxy.url, small.key) for name, proxy in caches.items()}
        tables["untrusted"] = cache_table(caches["untrusted"].url, trust=False)
        images.write(
            tables,
            {
                "passing": [small.paths[name] for name in PASSING],
                "others": [small.paths[name] for name in OTHER],
                "mixed": [small.paths[name] for name in MIXED],
                "cured": [small.paths[name] for name in CURABLE],
                **{name: [small.paths[name]] for name in (*ALONE, *UNTRUE)},
            },
        )
        images.lock()
        made = Scene(images, small, caches)
        made.make_faults()
        yield made
    images.clean()


@pytest.fixture(scope="module")
def failing(scene: Scene) -> Iterator[dict[str, Future[Done]]]:
    """What becomes of each image that no cache has all of, some at once: they mostly wait."""
    with ThreadPoolExecutor(JOBS) as pool:
        apply = scene.images.apply
        yield {name: pool.submit(apply, name, code=None) for name in (*ALONE, *UNTRUE)}


def test_what_passes(scene: Scene) -> None:
    """It is tried again, and what comes is what real Nix has."""
    scene.images.apply("passing")
    assert scene.images.files("passing") == scene.expected(*PASSING)
    first = scene.caches["first"]
    asked = {name: len(first.asked(scene.small.info(name)["URL"])) for name in PASSING}
    assert {name: count for name, count in asked.items() if count > 6} == {}


@pytest.mark.parametrize(("key", "names"), [("others", OTHER), ("mixed", MIXED)])
def test_another_cache_serves(scene: Scene, key: str, names: list[str]) -> None:
    """What one cache does not give comes from the next that the lock has."""
    scene.images.apply(key)
    assert scene.images.files(key) == scene.expected(*names)


@pytest.mark.parametrize("name", [*ALONE, *UNTRUE])
def test_no_other_cache(scene: Scene, failing: dict[str, Future[Done]], name: str) -> None:
    """The error names cache, path, reason and image, and what helps; nothing is delivered."""
    done = failing[name].result()
    assert done.code != 0, done
    said = words(done.err)
    reasons = {**{f"alone-{fault}": text for fault, (_, text) in FAULTS.items()}}
    reasons |= {f"alone-{lie}": text for lie, (_, text) in LIES.items()}
    reasons |= {lie: text for lie, (_, text) in UNTRUE.items()} | {"alone-stopped": "refused"}
    cache = {"alone-stopped": "third"}.get(name, "untrusted" if name in UNTRUE else "first")
    for text in (cache, scene.small.paths[name], f"images.{name}"):
        assert text in said
    assert name not in GONE or "nixbk lock --refresh" in said
    # the names of the paths are those of the faults
    assert re.search(reasons[name], said.replace(name, "")), said
    assert "Traceback" not in said
    assert not scene.images.is_delivered(name)


def test_all_is_well_again(scene: Scene, failing: dict[str, Future[Done]]) -> None:
    """Nothing of a fault is kept anywhere: the same lock is applied when the caches are well."""
    for future in failing.values():
        future.result()
    for proxy in scene.caches.values():
        proxy.clear()
    scene.caches["third"].start()
    scene.images.apply("cured")
    assert scene.images.files("cured") == scene.expected(*CURABLE)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_cache_that_stalls(engines: Engines, small: SmallCache, tmp_path: Path) -> None:
    """Who sends nothing any more and does not hang up is left for another one, in a while."""
    images = CachedImages.make(tmp_path, engines)
    path = small.paths[STALLING]
    with CacheServer(small.folder) as good, FaultProxy(good.url) as proxy:
        caches = {"first": cache_table(proxy.url, small.key), "second": cache_table(good.url)}
        images.write(caches, {"x": [path]})
        images.lock()
        proxy.on("nar/", slow(2, 1000.0))
        images.apply()
    assert images.files("x") == store_files([path])
    images.clean()
