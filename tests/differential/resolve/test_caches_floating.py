"""What caches tell of outputs whose paths do not follow from recipes, as real Nix takes it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from binary_caches import CacheServer, closure, nix
from cached_projects import CachedProject, cache_table, words
from fault_proxy import FaultProxy, status
from floating_cache import NAMES, FloatingCache

from nixbk.nix.derivation_hash import OutputHasher, verify
from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERYTHING = ("float^out", "float^dev", "above^out", "waiting^out", "other^out")


@pytest.fixture(scope="module")
def floating(tmp_path_factory: pytest.TempPathFactory) -> FloatingCache:
    """Outputs that real Nix built."""
    return FloatingCache.make(tmp_path_factory.mktemp("floating"))


@pytest.fixture
def project(cached: CachedProject, floating: FloatingCache) -> CachedProject:
    """A project with their recipes."""
    floating.write_expression(cached.folder)
    return cached.with_nix()


def write(project: CachedProject, url: str, *outputs: str, top: str = "", **table: Any) -> None:
    """Write a manifest with one cache and an image of some outputs."""
    entry = cache_table(url, *table.pop("keys", ()), **table)
    project.write({"c": entry}, {"x": [f"./default.nix#{name}" for name in outputs]}, top=top)


def built(project: CachedProject) -> set[str]:
    """The names of the derivations that a lock has."""
    return {path.name.removesuffix(".drv") for path in project.locked.derivations}


def test_names_are_those_of_nix(floating: FloatingCache) -> None:
    """All kinds of derivations above one that floats have the names that real Nix gives."""

    def read(path: StorePath) -> Any:
        shown = nix("nix", "store", "cat", str(path))
        return verify(path, shown.encode())

    hasher = OutputHasher(read)
    file = floating.source / "default.nix"
    for name in NAMES:
        drv_path = StorePath.parse(nix("nix-instantiate", file, "-A", name).strip())
        for output in read(drv_path).outputs:
            key = f"{name}^{output}"
            expected = None if name == "fixed" else floating.ids[key]
            assert hasher.output_id(drv_path, output) == expected


def test_all_is_fetched(project: CachedProject, floating: FloatingCache, tmp_path: Path) -> None:
    """What waits is had without what it waited for, as by real Nix from the same cache."""
    folder = floating.cache(EVERYTHING)
    write(project, f"file://{folder}", "waiting", "float^*", keys=[floating.key])
    project.nixbk("lock")
    wanted = [floating.paths[name] for name in ("waiting^out", "float^out", "float^dev")]
    assert built(project) == set()
    assert set(map(str, project.locked.substitutes)) == set(closure(wanted))
    (first, second) = project.locked.images["x"].installables
    assert [str(path) for path in (*first.paths.values(), *second.paths.values())] == [
        floating.paths["waiting^out"], floating.paths["float^dev"], floating.paths["float^out"],
    ]  # fmt: skip
    options = {
        "substituters": f"file://{folder}",
        "trusted-public-keys": floating.key.public,
        "max-jobs": "0",
    }
    given = [word for option in options.items() for word in ("--option", *option)]
    asked = ["--no-link", "--json", "-f", str(floating.source / "default.nix"), "waiting"]
    done = nix("nix", "build", "--store", tmp_path / "store", *given, *asked)
    assert json.loads(done)[0]["outputs"]["out"] == floating.paths["waiting^out"]


def test_the_rest_is_built(project: CachedProject, floating: FloatingCache) -> None:
    """What is built of what was fetched is locked with it, and with nothing below."""
    folder = floating.cache(["float^out"])
    write(project, f"file://{folder}", "other", "fixed", "waiting", keys=[floating.key])
    project.nixbk("lock")
    assert built(project) == {"other", "fixed", "above", "waiting"}
    float_out = floating.paths["float^out"]
    assert list(map(str, project.locked.substituted.values())) == [float_out]
    assert list(map(str, project.locked.substitutes)) == [float_out]


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        found = json.loads(file.read_text())
        change(found)
        file.write_text(json.dumps(found))

    return edit


REFUSED: dict[str, Callable[[Path], object]] = {
    "unsigned": _edit(lambda found: found.update(signatures=[])),
    "of another path": _edit(lambda found: found.update(outPath=f"{'a' * 32}-float")),
    "of another output": _edit(lambda found: found.update(id=found["id"] + "x")),
    "no signature": _edit(lambda found: found.update(signatures=["x"])),
    "no list": _edit(lambda found: found.update(signatures=7)),
    "no path": _edit(lambda found: found.update(outPath="../x")),
    "half": lambda file: file.write_bytes(file.read_bytes()[:50]),
    "absent": lambda file: file.unlink(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_believed(project: CachedProject, floating: FloatingCache, name: str) -> None:
    """It is as if the cache had nothing: the output is built."""
    folder = floating.cache(["float^out"])
    REFUSED[name](floating.told(folder, "float^out"))
    write(project, f"file://{folder}", "other", keys=[floating.key])
    project.nixbk("lock")
    assert built(project) == {"other", "float"}
    assert project.locked.substitutes == {}


def test_a_cache_that_is_believed(project: CachedProject, floating: FloatingCache) -> None:
    """What is not signed is taken from a cache for which nothing needs to be."""
    folder = floating.cache(["float^out"])
    REFUSED["unsigned"](floating.told(folder, "float^out"))
    write(project, f"file://{folder}", "other", trust=False)
    project.nixbk("lock")
    assert built(project) == {"other"}


ALWAYS_BUILT = {
    "a path that is not there": (["float^out"], ["other"], "", {"other", "float"}),
    "another output": (["float^out"], ["float^*"], "", {"float"}),
    "nothing is told": ([], ["other"], "", {"other", "float"}),
    "not to be fetched": (["own^out", "float^out"], ["own"], "", {"own"}),
    "recipes are wanted": (["float^out"], ["other"], "fallback = true", {"other", "float"}),
}


@pytest.mark.parametrize("name", ALWAYS_BUILT)
def test_what_is_built(project: CachedProject, floating: FloatingCache, name: str) -> None:
    """Of one derivation all is fetched or all is built, and the same goes for what it needs."""
    there, wanted, top, expected = ALWAYS_BUILT[name]
    folder = floating.cache(there)
    folder.mkdir(exist_ok=True)
    (folder / "nix-cache-info").write_text("StoreDir: /nix/store\n")
    if name == "a path that is not there":
        for file in folder.glob("*.narinfo"):
            file.unlink()
    write(project, f"file://{folder}", *wanted, top=top, keys=[floating.key])
    project.nixbk("lock")
    assert built(project) == expected


def test_what_was_said_before(project: CachedProject, floating: FloatingCache) -> None:
    """Answers are kept, those that there is nothing, too; a cache that fails is no such answer."""
    folder = floating.cache(["float^out"])
    with CacheServer(folder) as server, FaultProxy(server.url) as proxy:
        write(project, proxy.url, "above", keys=[floating.key])
        proxy.on("realisations/", status(500))
        failed = project.nixbk("lock", code=1)
        assert "HTTP 500" in words(failed.err)
        assert "'c' says nothing" in words(failed.err)
    with CacheServer(folder) as server:
        write(project, server.url, "above", keys=[floating.key])
        project.nixbk("lock")
        assert built(project) == {"above"}
        assert len(server.asked("realisations/")) == 2
        (project.folder / "nixbk.lock").unlink()
        server.forget()
        project.nixbk("lock", "--offline")
        assert built(project) == {"above"}
        assert server.asked() == []
        project.nixbk("lock", "--refresh")
        assert len(server.asked("realisations/")) == 2
    nobody = replace(project, home=project.home.parent / "nobody")
    (nobody.home / "tmp").mkdir(parents=True)
    (project.folder / "nixbk.lock").unlink()
    offline = nobody.nixbk("lock", "--offline", code=1)
    assert "leave out --offline" in words(offline.err)
