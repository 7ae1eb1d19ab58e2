"""Substitutes are fetched from wherever they can be had, and what cannot be had is told."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benches import WORKSHOP, Bench
from locks import archive, make_lock, store_path, substitute, substituted_lock
from memory_buildkit import MemoryBuild

from nixbk.apply import fetch, tries
from nixbk.apply.archives import Archives
from nixbk.apply.fetch import Fetcher
from nixbk.apply.fetch_failures import FetchesFailedError, LostError, PathFailedError
from nixbk.apply.progress import Progress
from nixbk.apply.solver import Solver
from nixbk.apply.tries import Tries, is_final
from nixbk.buildkit.uploads import URL_PREFIX, Uploads
from nixbk.errors import NixbkError
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.leaves import Choice
from nixbk.resolve.caches.address import CacheAddress
from nixbk.resolve.caches.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock, LockedArchive, LockedSubstitute

GRAPH = {"libc": [], "gcc": ["libc"], "app": ["gcc"]}
NOT_FOUND = "invalid response status 404"
DOWN = "dial tcp 127.0.0.1:9: connect: connection refused"
CACHES = {
    name: Cache(name, CacheAddress.parse(f"http://{name}.example", Path("/")))
    for name in ("main", "other")
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "PAUSES_S", (0.0, 0.0, 0.0))


class Place:
    """A builder in memory, and a lock that something is fetched of."""

    def __init__(self, lock: Lock, caches: Mapping[str, Cache] = CACHES) -> None:
        archives = Archives(lock, lambda: caches, {})
        self.bench = Bench(lock, {}, WORKSHOP._replace(archive_url=archives.url))
        self.graph = BuildGraph(lock, self.bench.workshop)
        self.archives = archives
        self.said: list[str] = []
        self.builds = 0
        self.progress = Progress(self.said.append)

    def fetch(self, paths: Sequence[StorePath] | None = None) -> None:
        """Fetch all substitutes of the lock."""
        cache, run = self.bench.cache, self.bench.run

        def begin() -> Solver:
            self.builds += 1
            return Solver(lambda: nullcontext(MemoryBuild(cache, run)))

        fetcher = Fetcher(begin, self.graph, self.archives, self.progress)
        fetcher.run([self.graph.producer(path) for path in paths or self.graph.lock.substitutes])

    @property
    def asked(self) -> list[str]:
        """The addresses that were downloaded from, but for the helper's."""
        return [url for url in self.bench.cache.asked if not url.endswith(("/unpack", "/build"))]


def lock_of(*found: LockedSubstitute, fallback: bool = False) -> Lock:
    """A lock with substitutes."""
    return substituted_lock(make_lock(GRAPH), found, fallback=fallback)


def session(found: LockedArchive) -> str:
    """Where the session has an archive."""
    return URL_PREFIX + found.file_hash.digest.hex()


def both(name: str) -> tuple[LockedArchive, LockedArchive]:
    """One file in two caches."""
    return archive(name), archive(name, "other")


MAIN = "http://main.example/nar/gcc.nar.xz"
OTHER = "http://other.example/nar/gcc.nar.xz"
ZSTD = "http://other.example/nar/gcc.nar.zstd"
# what fails, and in which order it is then tried
ORDERS: dict[str, tuple[tuple[LockedArchive, ...], dict[str, str], list[str]]] = {
    "all is well": (both("gcc"), {}, [MAIN]),
    "the second cache has it": (both("gcc"), {MAIN: NOT_FOUND}, [MAIN, OTHER]),
    "the second cache is up": (both("gcc"), {MAIN: DOWN}, [MAIN, OTHER]),
    "none says it has it": (
        both("gcc"),
        {MAIN: NOT_FOUND, OTHER: NOT_FOUND},
        [MAIN, OTHER, session(archive("gcc"))],
    ),
    "the builder does not reach them": (
        both("gcc"),
        {MAIN: DOWN, OTHER: DOWN},
        [MAIN, OTHER, session(archive("gcc"))],
    ),
    "another file in another cache": (
        (archive("gcc"), archive("gcc", "other", "zstd")),
        {MAIN: "digest mismatch sha256:0: sha256:1"},
        [MAIN, ZSTD],
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_places_are_tried_in_order(name: str) -> None:
    """The caches in turn, again what may pass, and in the end through the session."""
    archives, refused, expected = ORDERS[name]
    place = Place(lock_of(substitute("gcc", archives=archives)))
    place.bench.cache.refused.update(refused)
    place.fetch()
    assert place.asked == expected
    assert place.builds == len(expected)
    assert place.said == ["fetched gcc, 10 B"]
    assert place.progress.fetched_paths == {store_path("gcc")}


def test_a_wrong_file_is_not_tried_again() -> None:
    """What is not what was signed when unpacked is had as another file, if there is one."""
    found = substitute("gcc", archives=[*both("gcc"), archive("gcc", "other", "zstd")])
    place = Place(lock_of(found))
    path = store_path("gcc")
    place.bench.cache.broken[found.archives[0].file_hash.digest.hex()] = f"unpacking '{path}': no"
    place.fetch()
    assert place.asked == [MAIN, ZSTD]
    assert place.graph.leaves.choices(path) == {path: Choice(2)}
    assert list(place.graph.leaves.chosen) == [path]


def test_a_cache_may_lie_of_its_compression() -> None:
    """The same file is unpacked as what the next cache says it is."""
    lie = archive("gcc")._replace(compression="zstd")
    found = substitute("gcc", archives=[lie, archive("gcc", "other")])
    tried = Tries(found, lambda _: True)
    assert tried.next() == (Choice(0), 0.0)
    tried.refuse(0)
    assert tried.next() == (Choice(1), 0.0)
    graph = Place(lock_of(found)).graph
    assert graph.leaves.alternatives(found.path) == 2


def test_what_is_wrong_is_told() -> None:
    """Each cache with what it, or the helper, says; and who needs it."""
    found = substitute("gcc", archives=[archive("gcc"), archive("gcc", "other", "zstd")])
    place = Place(lock_of(found))
    digest = found.archives[0].file_hash.digest.hex()
    place.bench.cache.broken[digest] = f"unpacking '{found.path}': wrong hash"
    place.bench.cache.refused.update({ZSTD: DOWN, session(found.archives[1]): "upload failed"})
    with pytest.raises(PathFailedError) as caught:
        place.fetch()
    assert caught.value.told == (
        f"{store_path('gcc')}: it cannot be fetched\n"
        f"  main: unpacking '{found.path}': wrong hash\n"
        "  other: the builder says: upload failed\n"
        "  wanted by: images.image.installables[0] (./default.nix#app)"
    )
    assert caught.value.hint == "'nixbk lock --refresh' looks for another way to have it"
    assert place.progress.fetched_paths == set()


def test_what_no_cache_has_any_more_is_told(tmp_path: Path) -> None:
    """The client looks itself before it says so."""
    caches = {"main": Cache("main", CacheAddress.parse("file:./cache", tmp_path))}
    found = substitute("gcc")
    place = Place(lock_of(found), caches)
    uploads = Uploads()
    place.archives.offer(uploads)

    def pull(url: str) -> str:
        with pytest.raises(OSError, match="there is no file"):
            uploads._by_id[url.removeprefix(URL_PREFIX)].open().read()
        return "upload failed"

    place.bench.cache.refused = _Asked(pull)
    with pytest.raises(PathFailedError) as caught:
        place.fetch()
    assert caught.value.gone
    assert caught.value.told == (
        f"{store_path('gcc')}: no binary cache has it any more\n"
        f"  main: there is no file '{tmp_path}/cache/nar/gcc.nar.xz'\n"
        "  wanted by: images.image.installables[0] (./default.nix#app)"
    )
    assert place.asked == [session(found.archives[0])]


class _Asked(dict[str, str]):
    """Answers for every address, by a function."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def __contains__(self, url: object) -> bool:
        return str(url).startswith(URL_PREFIX) and not str(url).endswith(("unpack", "build"))

    def __getitem__(self, url: str) -> str:
        assert callable(self._answer)
        return str(self._answer(url))


def test_what_can_be_built_is_lost_and_not_failed() -> None:
    """All of it is found out at once."""
    found = [substitute("libc"), substitute("gcc", ["libc"])]
    place = Place(lock_of(*found, fallback=True))
    for name in ("libc", "gcc"):
        place.bench.cache.refused[f"http://main.example/nar/{name}.nar.xz"] = NOT_FOUND
        place.bench.cache.refused[session(archive(name))] = NOT_FOUND
    with pytest.raises(LostError) as caught:
        place.fetch()
    assert caught.value.paths == {store_path("libc"), store_path("gcc")}


def test_several_failures_are_told_together() -> None:
    """Those that were under way when the first failed, the first few with their reasons."""
    names = [f"p{number}" for number in range(7)]
    lock = substituted_lock(make_lock({n: [] for n in names}), [substitute(n) for n in names])
    failures = [
        PathFailedError(lock, substitute(name), {0: NixbkError("no")}, gone=False) for name in names
    ]
    lines = FetchesFailedError(failures).message.splitlines()
    assert lines[:3] == [
        "7 store paths cannot be fetched",
        f"{store_path('p0')}: it cannot be fetched",
        "  main: no",
    ]
    assert lines[-1] == "and p5, p6"


def test_the_builders_own_troubles_are_no_cache_s() -> None:
    """A full disk is told as such, and nothing is tried again."""
    found = substitute("gcc")
    place = Place(lock_of(found))
    digest = found.archives[0].file_hash.digest.hex()
    place.bench.cache.broken[digest] = "write: no space left on device"
    with pytest.raises(Exception, match="exit code: 1") as caught:
        place.fetch()
    assert getattr(caught.value, "hint", "") == (
        "the builder's disk is full: make room there, then run the same again"
    )
    assert place.asked == [MAIN]


DIRECT: dict[str, tuple[Cache, bool, bool]] = {
    "http": (CACHES["main"], False, True),
    "folder": (Cache("main", CacheAddress.parse("file:///cache", Path("/"))), False, False),
    "own certificates": (replace(CACHES["main"], ca_file=Path("/ca.pem")), True, False),
    "token": (replace(CACHES["main"], token="x"), True, False),  # noqa: S106  it is none
}


@pytest.mark.parametrize("name", DIRECT)
def test_what_the_builder_fetches_itself(name: str) -> None:
    """What it cannot reach comes through the session."""
    cache, logs_in, expected = DIRECT[name]
    archives = Archives(lock_of(substitute("gcc")), lambda: {"main": cache}, {})
    archives.builder_logs_in = logs_in
    assert archives.is_direct(archive("gcc")) is expected
    assert archives.url(archive("gcc")) == (MAIN if expected else session(archive("gcc")))


@pytest.mark.parametrize("logs_in", [True, False])
def test_logins(logs_in: bool, tmp_path: Path) -> None:
    """A login of the user's is the builder's where it takes it for downloads."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine main.example login me password secret\n")
    cache = replace(CACHES["main"], netrc=netrc)
    archives = Archives(lock_of(substitute("gcc")), lambda: {"main": cache}, {})
    archives.builder_logs_in = logs_in
    assert archives.is_direct(archive("gcc")) is logs_in


def test_bytes_are_checked_as_they_pass(tmp_path: Path) -> None:
    """The session tells whose file is another one."""
    (tmp_path / "nar").mkdir()
    (tmp_path / "nar" / "gcc.nar.xz").write_bytes(b"something else")
    caches = {"main": Cache("main", CacheAddress.parse(f"file://{tmp_path}", tmp_path))}
    archives = Archives(lock_of(substitute("gcc")), lambda: caches, {})
    uploads = Uploads()
    archives.offer(uploads)
    upload = uploads._by_id[archive("gcc").file_hash.digest.hex()]
    with upload.open() as stream:
        assert stream.read(9) == b"something"
        assert stream.read(9) == b" else"
        with pytest.raises(OSError, match="another file than was locked"):
            stream.read(9)
    fault = archives.fault(archive("gcc"))
    assert fault is not None
    assert str(fault).startswith("main: 'nar/gcc.nar.xz' is another file than was locked:\n")
    archives.turn(archive("gcc"))
    assert archives.fault(archive("gcc")) is None


FINAL = {
    "invalid response status 404": True,
    "invalid response status 403": True,
    "invalid response status 408": False,
    "invalid response status 429": False,
    "invalid response status 500": False,
    "digest mismatch sha256:0: sha256:1": True,
    DOWN: False,
    "unexpected EOF": False,
}


@pytest.mark.parametrize("message", FINAL)
def test_what_is_final(message: str) -> None:
    """What a server says of a file for good, and what may pass."""
    assert is_final(message) is FINAL[message]


def test_tries_end() -> None:
    """After so many rounds, whatever happens."""
    found = Tries(substitute("gcc", archives=both("gcc")), lambda _: True)
    choices = [choice for choice, _ in iter(found.next, None)]
    by_session = [Choice(number, through_session=True) for number in (0, 1)]
    assert choices == [*[Choice(0), Choice(1)] * 3, *by_session]


def test_many_fetches_are_told_by_tenths() -> None:
    """Not each of hundreds."""
    names = [f"p{number}" for number in range(100)]
    lock = make_lock({name: [] for name in names})
    place = Place(substituted_lock(lock, [substitute(name) for name in names]))
    place.fetch()
    assert place.said[0] == "fetched 10 of 100 paths, 100 B of 1 kB"
    assert len(place.said) == 10


def test_a_group_is_fetched_file_by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then unpacked at once; a wrong file of it is replaced alone."""
    monkeypatch.setattr(
        "nixbk.planner.leaves.groups", lambda lock: ((tuple(sorted(lock.substitutes)),),)
    )
    found = [
        substitute(name, archives=[archive(name), archive(name, "other", "zstd")])
        for name in ("libc", "gcc")
    ]
    place = Place(lock_of(*found))
    gcc = found[1]
    broken = f"unpacking '{gcc.path}': wrong"
    place.bench.cache.broken[gcc.archives[0].file_hash.digest.hex()] = broken
    place.fetch()
    assert sorted(place.asked) == [MAIN, "http://main.example/nar/libc.nar.xz", ZSTD]
    assert place.graph.leaves.unpackings(place.graph.producer(gcc.path))
    assert list(place.graph.leaves.chosen) == [gcc.path]


def test_all_roots_of_a_step_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """BuildKit keeps of a step what it is asked for while it knows of it."""
    found = [substitute(name) for name in ("libc", "gcc")]
    paths = tuple(sorted(item.path for item in found))
    monkeypatch.setattr("nixbk.planner.leaves.groups", lambda _: (((paths[0],), (paths[1],)),))
    place = Place(lock_of(*found))
    place.fetch()
    assert place.bench.cache.ran == [f"{paths[0].name} and 1 more"]
    assert not place.bench.survey()[2].to_fetch


def test_a_cache_that_is_down_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is built instead, that is begun soon."""
    monkeypatch.setattr(fetch, "PARALLEL_FETCHES", 1)
    monkeypatch.setattr(fetch, "is_down", lambda _: True)
    names = [f"p{number}" for number in range(20)]
    found = [substitute(name) for name in names]
    place = Place(substituted_lock(make_lock({n: [] for n in names}), found, fallback=True))
    place.bench.cache.refused = _All()
    with pytest.raises(LostError) as caught:
        place.fetch()
    assert caught.value.paths == {store_path(name) for name in names}
    assert len(place.asked) == 2 * fetch.DOWN  # by the builder, then through the session


def test_what_another_path_got_is_tried_again() -> None:
    """A cache that answers is asked again by the builder itself, for what may pass."""
    place = Place(lock_of(substitute("libc"), substitute("gcc", ["libc"])))
    place.bench.cache.refused[MAIN] = DOWN
    place.fetch()
    libc = "http://main.example/nar/libc.nar.xz"
    assert sorted(place.asked[:2]) == sorted([MAIN, libc])
    assert place.asked[2:] == [MAIN, MAIN, session(archive("gcc"))]


class _All(dict[str, str]):
    def __contains__(self, url: object) -> bool:
        return not str(url).endswith(("unpack", "build"))

    def __getitem__(self, url: str) -> str:
        return DOWN


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """Closing may be done by an interrupt, and again in the end."""
    caches = {"main": Cache("main", CacheAddress.parse(f"file://{tmp_path}", tmp_path))}
    archives = Archives(lock_of(substitute("gcc")), lambda: caches, {})
    uploads = Uploads()
    archives.offer(uploads)
    uploads._by_id[archive("gcc").file_hash.digest.hex()].open().close()
    archives.close()
    archives.close()
    assert archives.fault(archive("gcc")) is None
