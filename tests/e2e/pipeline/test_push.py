"""What was built on BuildKit, given to binary caches that real Nix fetches from."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest
from binary_caches import CacheServer, SigningKey, narinfo, nix
from cached_images import CachedImages
from cached_projects import cache_table, words
from engines import ROOT, start
from fault_proxy import FaultProxy, status
from http_server import Answer
from projects import Project
from small_cache import SmallCache

from nixbk.nix.narinfo import NarInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_proxy import Fault, Onward
    from http_server import Request
    from projects import Engines, MakeProject

FACTS: Final = ("narHash", "narSize", "references", "ca")


@pytest.fixture(scope="module")
def key(tools: str, tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """A key that real Nix made."""
    assert tools
    return SigningKey.make(tmp_path_factory.mktemp("key"))


@pytest.fixture
def built(project: Project) -> Project:
    """A project whose image has been built."""
    project.lock()
    project.apply()
    return project


def signed(key: SigningKey) -> list[str]:
    """The option that names a key."""
    return ["--secret-key-file", str(key.file)]


def of_nix(paths: list[str]) -> dict[str, Any]:
    """What real Nix says of paths in this machine's store."""
    found = json.loads(nix("nix", "path-info", "--json", "--json-format", "1", *paths))
    return {path: {name: info[name] for name in FACTS} for path, info in found.items()}


def fetched_by_nix(url: str, path: str, store: Path, *keys: SigningKey) -> dict[str, Any]:
    """Have real Nix copy a path to an empty store, with *keys* trusted alone; what it has then."""
    trusted = " ".join(key.public for key in keys)
    options = ["--option", "trusted-public-keys", trusted, "--option", "substituters", ""]
    nix("nix", "copy", "--from", url, "--to", store, *options, path)
    nix("nix-store", "--store", store, "--verify", "--check-contents")
    text = nix("nix", "path-info", "--store", store, "--json", "--json-format", "1", "-r", path)
    return {p: {name: info[name] for name in FACTS} for p, info in json.loads(text).items()}


def pushed_names(document: Any) -> set[str]:
    """The names of the paths that were pushed."""
    return {entry["path"].partition("-")[2] for entry in document["pushed"]}


def is_whole(folder: Path) -> bool:
    """Whether all that a cache tells of is there, with all that it refers to."""
    infos = [NarInfo.parse(file.read_bytes()) for file in folder.glob("*.narinfo")]
    paths = {info.store_path for info in infos}
    return all((folder / i.url).exists() and paths.issuperset(i.references) for i in infos)


def test_nix_takes_what_was_pushed(built: Project, key: SigningKey, tmp_path: Path) -> None:
    """All of the lock: outputs, and the sources they refer to, as real Nix builds them."""
    cache = tmp_path / "cache"
    done = built.run("cache", "push", f"file://{cache}", *signed(key), "--json").document
    names = {"app", "data", "fixed", "lib", "settings", "summary", "test-seed", "tool", "words"}
    assert pushed_names(done) == names | {"tool-dev"}
    assert (done["withheld"], done["present"]) == ({}, [])
    (app,) = nix("nix-build", "--no-out-link", built.folder / "default.nix", "-A", "app").split()
    paths = [entry["path"] for entry in done["pushed"]]
    found = of_nix(paths)
    assert found == {
        entry["path"]: {
            "narHash": entry["narHash"],
            "narSize": entry["narSize"],
            "references": entry["references"],
            "ca": narinfo(cache, entry["path"]).get("CA"),
        }
        for entry in done["pushed"]
    }
    for path in paths:
        deriver = narinfo(cache, path).get("Deriver", "")
        made = nix("nix-store", "--query", "--deriver", path).strip().rpartition("/")[2]
        assert deriver == ("" if made == "unknown-deriver" else made)
    copied = fetched_by_nix(f"file://{cache}", app, tmp_path / "store", key)
    assert copied == {path: found[path] for path in copied}
    again = built.run("cache", "push", f"file://{cache}", *signed(key))
    assert f"Pushed 0 paths (0 B) to file://{cache}; 10 there already." in words(again.out)


def test_over_http(built: Project, key: SigningKey, tmp_path: Path) -> None:
    """What is there is asked for, and sent no second time; Nix realises it without building."""
    (tmp_path / "cache").mkdir()
    with CacheServer(tmp_path / "cache", writable=True) as server:
        first = built.run("cache", "push", server.url, *signed(key), "--json").document
        assert server.asked("", "PUT")[0] == "/nix-cache-info"
        server.forget()
        second = built.run("cache", "push", server.url, *signed(key), "--json").document
        assert server.asked("", "PUT") == []
        assert second["present"] == [entry["path"] for entry in first["pushed"]]
        app = next(e["path"] for e in first["pushed"] if e["path"].endswith("-app"))
        store = tmp_path / "store"
        options = {"substituters": server.url, "trusted-public-keys": key.public, "max-jobs": "0"}
        given = [word for option in options.items() for word in ("--option", *option)]
        nix("nix-store", "--store", store, "--realise", app, *given)
        assert (store / app.lstrip("/")).is_dir()


def test_compressions(built: Project, key: SigningKey, tmp_path: Path) -> None:
    """Nix reads all of them, of outputs and of sources."""
    for compression in ("zstd", "xz", "gzip", "none"):
        url = f"file://{tmp_path}/{compression}"
        options = ["--compression", compression, "--json", *signed(key)]
        done = built.run("cache", "push", url, "./default.nix#app", *options).document
        assert pushed_names(done) == {"app", "lib", "test-seed"}
        (app,) = (e["path"] for e in done["pushed"] if e["path"].endswith("-app"))
        found = narinfo(tmp_path / compression, app)
        assert found["Compression"] == compression
        fetched_by_nix(url, app, tmp_path / f"store-{compression}", key)


def test_what_floats_needs_no_key(make_project: MakeProject, tmp_path: Path) -> None:
    """It is believed for its content; what is built from it is not; what is impure never goes."""
    project = make_project({"floating": ["floating"], "impure": ["impure"]})
    project.lock()
    project.apply()
    url = f"file://{tmp_path}/cache"
    done = project.run("cache", "push", url, "./default.nix#float", "--json").document
    (entry,) = done["pushed"]
    fetched_by_nix(url, entry["path"], tmp_path / "store")
    missing = project.run("cache", "push", url, "./default.nix#floating", code=1)
    assert "there is no key to sign 'above-float' with" in words(missing.err)
    refused = project.run("cache", "push", url, "./default.nix#impure", code=1)
    assert "it is not pushed: it is impure, or depends on what is" in words(refused.err)
    rest = project.run("cache", "push", url, "--unsigned", "--json").document
    assert pushed_names(rest) == {"float-dev", "above-float", "floating", "test-seed"}
    assert rest["present"] == [entry["path"]]
    assert list(rest["withheld"].values()) == ["it is impure, or depends on what is"]


def test_a_key_that_comes_later(built: Project, key: SigningKey, tmp_path: Path) -> None:
    """What was pushed unsigned, or signed by others, is signed, and then Nix takes it."""
    url = f"file://{tmp_path}/cache"
    stranger = SigningKey.make(tmp_path, "stranger-1")
    first = built.run("cache", "push", url, *signed(stranger), "--json").document
    (app,) = (e["path"] for e in first["pushed"] if e["path"].endswith("-app"))
    with pytest.raises(AssertionError, match="lacks a signature by a trusted key"):
        fetched_by_nix(url, app, tmp_path / "none", key)
    dry = built.run("cache", "push", url, *signed(key), "--dry-run")
    assert "0 paths to push" in words(dry.out)
    assert "10 of them to be signed" in words(dry.out)
    second = built.run("cache", "push", url, *signed(key), "--json").document
    assert len(second["signed"]) == len(first["pushed"])
    fetched_by_nix(url, app, tmp_path / "store", key)


def test_nothing_is_built(project: Project, key: SigningKey, tmp_path: Path) -> None:
    """What is not there is named, and nothing is written."""
    project.lock()
    url = f"file://{tmp_path}/cache"
    for more, hint in (((), "nixbk apply"), (("./default.nix#app",), "nixbk build")):
        done = project.run("cache", "push", url, *more, *signed(key), code=1)
        assert "app is not in the builder's cache" in words(done.err)
        assert f"run '{hint}'" in words(done.err)
    assert not (tmp_path / "cache").exists()
    assert "app" in project.planned()


def full_after(number: int, part: str) -> Fault:
    """Take so many files with *part* in their names, and then no more."""
    put: list[str] = []

    def fault(request: Request, onward: Onward) -> Answer:
        if request.method == "PUT" and part in request.path:
            put.append(request.path)
        return Answer(507, b"full") if len(put) > number else onward(request)

    return fault


def test_a_push_that_ends_early(built: Project, key: SigningKey, tmp_path: Path) -> None:
    """What is there by then is whole, and the next push brings the rest."""
    folder = tmp_path / "cache"
    folder.mkdir()
    with CacheServer(folder, writable=True) as server:
        for number, part in ((3, "/nar/"), (3, ".narinfo")):
            with FaultProxy(server.url) as proxy:
                proxy.on("", full_after(number, part))
                done = built.run("cache", "push", proxy.url, *signed(key), code=1)
            assert "HTTP 507" in words(done.err)
            assert is_whole(folder)
        there = len(list(folder.glob("*.narinfo")))
        server.forget()
        built.run("cache", "push", server.url, *signed(key))
        assert len(server.asked(".narinfo", "PUT")) == 10 - there
    assert 3 <= there < 10
    assert is_whole(folder)


FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "refused": (status(403), "HTTP 403"),
    "unknown": (status(401), "HTTP 401"),
    "broken": (status(500), "HTTP 500"),
    "read only": (status(405), "HTTP 405"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_caches_that_take_nothing(
    built: Project, key: SigningKey, tmp_path: Path, name: str
) -> None:
    """The message has the answer and the address."""
    fault, said = FAULTS[name]
    with CacheServer(tmp_path, writable=True) as server, FaultProxy(server.url) as proxy:
        proxy.on(
            "", lambda request, on: fault(request, on) if request.method == "PUT" else on(request)
        )
        done = built.run("cache", "push", proxy.url, *signed(key), code=1)
        assert said in words(done.err)
        assert proxy.url in words(done.err)
    down = built.run("cache", "push", proxy.url, *signed(key), code=1)
    assert "is the cache up, and its address right?" in words(down.err)


@pytest.fixture(scope="module")
def small(tools: str, tmp_path_factory: pytest.TempPathFactory) -> SmallCache:
    """Small paths, and a cache of them."""
    assert tools
    return SmallCache.make(tmp_path_factory.mktemp("small"), [])


@pytest.fixture
def images(tmp_path: Path, engines: Engines) -> Iterator[CachedImages]:
    """A project of a user with Nix and caches."""
    made = CachedImages.make(tmp_path, engines).with_nix()
    yield made
    made.clean()


def test_what_recipes_do_not_prove(
    images: CachedImages, small: SmallCache, key: SigningKey, tmp_path: Path
) -> None:
    """What is built from something fetched is pushed only if the lock has all recipes."""
    small.write_expression(images.project.folder)
    caches = {"it": cache_table(f"file://{small.folder}", small.key)}
    for top in ("", "fallback = true"):
        images.write(caches, {"x": ["./default.nix#own"]}, top)
        images.lock()
        images.apply()
        url = f"file://{tmp_path}/cache"
        done = images.project.nixbk("cache", "push", url, *signed(key), "--json")
        own = small.paths["own"]
        assert [entry["path"] for entry in done.document["pushed"]] == ([own] if top else [])
        assert ("not all the recipes below it are in the lock" in words(done.err)) is not bool(top)
        assert ("with 'fallback = true' in the manifest" in words(done.err)) is not bool(top)
    fetched_by_nix(url, small.paths["own"], tmp_path / "store", key)


MINIPKGS: Final = ROOT / "examples" / "minipkgs"
INSTALLED: Final = ("hello", "lua", "lua-cjson", "sqlite")


@pytest.mark.timeout(1800)
def test_minipkgs(engines: Engines, key: SigningKey, tmp_path: Path) -> None:
    """All of a package set with its own toolchain, as real Nix builds it, over HTTP."""
    start("mirror")
    place = shutil.copytree(MINIPKGS, tmp_path / "minipkgs", symlinks=True)
    project = Project(place, tmp_path / "home", engines, "")
    project.run("lock")
    installables = [f"./default.nix#{name}" for name in INSTALLED]
    project.run("build", *installables)
    folder = tmp_path / "cache"
    folder.mkdir()
    with CacheServer(folder, writable=True) as server:
        done = project.run("cache", "push", server.url, *signed(key), "--json").document
        assert done["withheld"] == {}
        attributes = [word for name in INSTALLED for word in ("-A", name)]
        file = place / "default.nix"
        made = nix("nix-build", "--no-out-link", file, *attributes).split()
        for path in made:
            copied = fetched_by_nix(server.url, path, tmp_path / "store", key)
            assert copied == of_nix(list(copied))
    assert is_whole(folder)
    infos = [NarInfo.parse(file.read_bytes()) for file in folder.glob("*.narinfo")]
    told = {
        str(info.store_path): (info.nar_hash.sri(), info.nar_size, list(map(str, info.references)))
        for info in infos
    }
    assert told == {
        path: (found["narHash"], found["narSize"], found["references"])
        for path, found in of_nix([str(info.store_path) for info in infos]).items()
    }
