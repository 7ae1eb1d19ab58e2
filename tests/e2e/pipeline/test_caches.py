"""Images of paths from binary caches that real Nix made."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from binary_caches import (
    COMPRESSIONS,
    CacheServer,
    SigningKey,
    closure,
    make_cache,
    narinfo,
    nix,
)
from cached_images import CachedImages
from cached_projects import cache_table, words
from engines import ENGINES, ROOT, start
from far_engines import Certificates, tcp_buildkitd
from image_files import store_files
from projects import Engines, execute
from small_cache import SmallCache

if TYPE_CHECKING:
    from collections.abc import Iterator

# an empty folder over /nix, for one command
WITHOUT_STORE: Final = (
    "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /nix && exec "$@"', "sh",
)  # fmt: skip
MINIPKGS: Final = ROOT / "examples" / "minipkgs"
PASSWORD: Final = "op3n-sesame-18"  # noqa: S105  it opens nothing else
TOGETHER: Final = [f"together{number}" for number in range(20)]
NAMES: Final = [*COMPRESSIONS, "one", "two", "three", "four", "moved", *TOGETHER]


@pytest.fixture(scope="module")
def small(tools: str, tmp_path_factory: pytest.TempPathFactory) -> SmallCache:
    """Small paths, and a cache of them."""
    return SmallCache.make(tmp_path_factory.mktemp("small"), NAMES)


@pytest.fixture
def images(tmp_path: Path, engines: Engines) -> Iterator[CachedImages]:
    """A project on each engine in turn."""
    made = CachedImages.make(tmp_path, engines)
    yield made
    made.clean()


def fetched(plan: Any) -> set[str]:
    """The paths that a plan would fetch."""
    return {row["path"] for image in plan["images"].values() for row in image["fetch"]}


def test_all_kinds_of_paths(images: CachedImages, small: SmallCache) -> None:
    """With references, without, symlinks, short ones, and those that follow from content."""
    wanted = [small.paths[name] for name in ("app", "link", "tiny", "fixed")]
    with CacheServer(small.folder) as server:
        images.write({"it": cache_table(server.url, small.key)}, {"x": wanted})
        images.lock()
        assert fetched(images.plan()) == set(closure(wanted))
        images.apply()
        assert images.files("x") == store_files(closure(wanted))
        server.forget()
        assert not images.plan()["changes"]
        images.apply()
        assert server.asked() == []


def test_compressions(images: CachedImages, small: SmallCache) -> None:
    """Everything that nixbk takes, as real Nix writes it."""
    paths = [small.paths[name] for name in COMPRESSIONS]
    with ExitStack() as stack:
        caches = {}
        for name in COMPRESSIONS:
            server = CacheServer(small.of(name, name, small.key))
            caches[name] = cache_table(stack.enter_context(server).url, small.key)
        images.write(caches, {"x": paths})
        images.lock()
        images.apply()
    assert images.files("x") == store_files(paths)
    for name in COMPRESSIONS:
        (archive,) = images.project.substitute(small.paths[name]).archives
        assert archive.compression == name


def test_paths_of_several_layers_share_a_step(images: CachedImages, small: SmallCache) -> None:
    """Each lies in a root of its own; the layers are those of steps of their own."""
    wanted = [small.paths[name] for name in ("app", "link", *TOGETHER)]
    paths = closure(wanted)
    with CacheServer(small.folder) as server:
        cache = {"it": cache_table(server.url, small.key)}
        steps = {}
        for keys in ("x", "yz"):  # what two images need is alone
            images.write(cache, dict.fromkeys(keys, wanted))
            images.lock()
            images.apply(keys[0])
            steps[keys] = images.plan()["images"][keys[0]]["cached"]
        assert steps["x"] < len(paths) / 2
        assert steps["yz"] == len(paths)
        assert images.layer_bytes("x") == images.layer_bytes("y")
        assert len(images.layer_bytes("x")) == len(paths)
        assert images.files("x") == store_files(paths)
        images.write(cache, {"x": wanted})
        images.lock()
        assert fetched(images.plan()) == set()


def test_what_a_builder_does_not_reach(
    images: CachedImages, small: SmallCache, tmp_path: Path
) -> None:
    """Folders, private certificates, logins and tokens: the client helps, and tells nobody."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    project = images.project
    images = replace(
        images,
        project=replace(project, variables={**project.variables, "CACHE_TOKEN": PASSWORD}),
    )
    certs = project.folder / "certs"
    certs.mkdir()
    _, certificate, key = Certificates(certs).server
    files = (Path(certificate), Path(key))
    shutil.copytree(small.subset(["four"]), project.folder / "near")
    netrc = project.home / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login somebody password {PASSWORD}\n")
    logins = CacheServer(small.subset(["two"]), login=f"somebody:{PASSWORD}")
    tokens = CacheServer(small.subset(["three"]), token=PASSWORD)
    private = CacheServer(small.subset(["one"]), files)
    with private, logins, tokens:
        caches = {
            "private": {**cache_table(private.url, small.key), "ca-file": "certs/ca.pem"},
            "logins": cache_table(logins.url),
            "tokens": {**cache_table(tokens.url), "token-env": "CACHE_TOKEN"},
            "near": cache_table("file:./near"),
        }
        paths = [small.paths[name] for name in ("one", "two", "three", "four")]
        images.write(caches, {"x": paths})
        images.lock()
        done = images.apply()
    assert images.files("x") == store_files(paths)
    sources = [images.project.sources(path) for path in paths]
    assert sources == [("private",), ("logins",), ("tokens",), ("near",)]
    assert project.telling(PASSWORD) == [netrc]
    assert PASSWORD not in done.out + done.err


def test_another_place_another_day(images: CachedImages, small: SmallCache) -> None:
    """A cache that moved needs no new lock, and nothing is fetched again."""
    path = small.paths["moved"]
    keys = {"x": [path], "y": [path]}
    with CacheServer(small.folder) as old, CacheServer(small.folder) as new:
        images.write({"it": cache_table(old.url, small.key)}, keys)
        images.lock()
        images.apply("x")
        old.stop()
        images.write({"it": cache_table(new.url, small.key)}, keys)
        assert fetched(images.plan()) == set()
        images.apply("y")
        assert new.asked("nar/") == []
    assert images.files("x") == images.files("y") == store_files([path])


# Trust, again


TAMPERED = {
    "NarHash": ('nar-hash = "sha256-', 'nar-hash = "sha256-AAAA'),
    "signature": ("cache.test-1:", "cache.test-1:AAAA"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_lock_is_not_believed(images: CachedImages, small: SmallCache, name: str) -> None:
    """Signatures are looked at when a lock is applied, too."""
    path = small.paths["one"]
    images.write({"it": cache_table(f"file://{small.folder}", small.key)}, {"x": [path]})
    images.lock()
    file = images.project.folder / "nixbk.lock"
    before, after = TAMPERED[name]
    text = file.read_text()
    at = text.index(before)
    file.write_text(text[:at] + after + text[at + len(after) :])
    for command in ("plan", "apply"):
        done = images.project.nixbk(command, code=None)
        assert done.code != 0
        said = words(done.err)
        assert Path(path).name in said
        assert "sign" in said
    assert not images.is_delivered("x")


def test_a_key_that_is_no_longer_trusted(images: CachedImages, small: SmallCache) -> None:
    """The keys of the manifest count, and not those of the day it was locked."""
    path = small.paths["one"]
    url = f"file://{small.folder}"
    images.write({"it": cache_table(url, small.key)}, {"x": [path]})
    images.lock()
    images.write({"it": cache_table(url, small.stranger)}, {"x": [path]})
    done = images.apply(code=None)
    assert done.code != 0
    said = words(done.err)
    assert all(word in said for word in (Path(path).name, "sign")), said
    assert not images.is_delivered("x")


# Derivations


def attributes(images: CachedImages, small: SmallCache, folder: Path, top: str = "") -> None:
    """Lock the derivation of ``app`` with a cache."""
    small.write_expression(images.project.folder)
    table = cache_table(f"file://{folder}", small.key)
    images.write({"it": table}, {"x": ["./default.nix#app"]}, top)
    images.with_nix().lock("--quiet")


@pytest.fixture
def own_small(tools: str, tmp_path: Path) -> SmallCache:
    """Paths that are new to the engine."""
    (tmp_path / "own").mkdir()
    return SmallCache.make(tmp_path / "own", [])


def test_the_rest_is_built(images: CachedImages, own_small: SmallCache) -> None:
    """A step of BuildKit finds what was fetched at its place."""
    attributes(images, own_small, own_small.subset(["lib"]))
    plan = images.plan()
    assert fetched(plan) == {own_small.paths["lib"]}
    assert [row["name"] for row in plan["images"]["x"]["build"]] == ["app"]
    images.apply()
    assert images.files("x") == store_files(closure([own_small.paths["app"]]))


def test_fallback(images: CachedImages, own_small: SmallCache) -> None:
    """What the caches lost is built from its recipe, after saying so."""
    folder = own_small.subset(["lib", "app"])
    attributes(images, own_small, folder, "fallback = true")
    for name in ("lib", "app"):
        (folder / narinfo(folder, own_small.paths[name])["URL"]).unlink()
    done = images.apply()
    said = words(done.err + done.out)
    assert own_small.paths["app"] in said
    assert "it" in said.split()
    assert images.files("x") == store_files(closure([own_small.paths["app"]]))


def test_without_fallback(images: CachedImages, own_small: SmallCache) -> None:
    """What the caches lost is told, and what finds another way."""
    folder = own_small.subset(["lib", "app"])
    attributes(images, own_small, folder)
    (folder / narinfo(folder, own_small.paths["lib"])["URL"]).unlink()
    done = images.apply(code=None)
    assert done.code != 0
    said = words(done.err)
    for text in (own_small.paths["lib"], "images.x", "nixbk lock --refresh"):
        assert text in said
    assert not images.is_delivered("x")


# A machine without Nix, and an empty BuildKit


@pytest.fixture(scope="module")
def minipkgs(
    tools: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SigningKey, dict[str, str]]:
    """A cache of some packages, its key, and their paths."""
    start("mirror")
    names = ("hello", "lua", "lua-cjson", "sqlite")
    options = [word for name in names for word in ("-A", name)]
    found = nix("nix-build", "--no-out-link", MINIPKGS / "default.nix", *options).split()
    folder = tmp_path_factory.mktemp("minipkgs")
    key = SigningKey.make(folder)
    make_cache(folder / "cache", found, "zstd", key)
    return folder / "cache", key, dict(zip(names, found, strict=True))


@pytest.mark.parametrize("engine", [name for name in ENGINES if name.startswith("buildkit")][:1])
def test_no_nix_and_an_empty_buildkit(
    minipkgs: tuple[Path, SigningKey, dict[str, str]], tools: str, tmp_path: Path, engine: str
) -> None:
    """An image of a package set is locked and applied with nothing but the manifest."""
    if os.getuid() != 0:
        pytest.skip("only root can hide /nix")
    folder, key, paths = minipkgs
    launcher = WITHOUT_STORE if Path("/nix").exists() else ()
    (tmp_path / "buildkitd").mkdir()
    docker = start("docker")["DOCKER_HOST"]
    with tcp_buildkitd(tmp_path / "buildkitd", None) as port, CacheServer(folder) as server:
        engines = Engines(f"tcp://127.0.0.1:{port}", docker, tools)
        images = CachedImages.make(tmp_path, engines)
        path = "/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {**images.project.variables, "PATH": path}
        project = replace(images.project, variables=variables, launcher=launcher)
        images = replace(images, project=project)
        sight = execute([*launcher, "sh", "-c", "command -v nix; ls /nix"], env={"PATH": path})
        assert sight.out == ""
        images.write({"it": cache_table(server.url, key)}, {"x": list(paths.values())})
        images.lock()
        images.apply()
    assert images.files("x") == store_files(closure(paths.values()))
    archive = images.project.folder / "x.tar"
    loaded = engines.docker("load", "--quiet", "--input", str(archive))
    assert loaded.code == 0, loaded
    program = f"{paths['hello']}/bin/hello"
    ran = engines.docker("run", "--rm", "--network", "none", images.name("x"), program)
    assert ran.out.strip() == "Hello, world!"
    execute([f"{tools}/docker", "--host", docker, "rmi", "--force", images.name("x")])
