"""Faults of binary caches when locking: retried, served by another cache, or told; never locked."""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from binary_caches import CacheServer, hash_part
from cached_projects import CachedProject, cache_table, words
from fault_proxy import (
    FaultProxy,
    cut,
    down,
    edited,
    narinfo_field,
    redirect,
    redirect_loop,
    slow,
    status,
    wrong_bytes,
    wrong_signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fault_proxy import Fault
    from projects import Done
    from small_cache import SmallCache

JOBS = 4
CACHE_INFO = "^/nix-cache-info$"
ZERO_HASH = f"sha256:{'0' * 52}"


@dataclass(frozen=True)
class Row:
    """A fault of the cache ``first``.

    Attributes:
        arrange: makes it.
        says: what the error has to have, as expressions; None if nothing is wrong in the end.
        name: of the path that is wanted.
        quiet: whether the other cache serves without a warning.
        alike: whether the other cache serves as for ``other StorePath``, so that is not tried.
    """

    arrange: Callable[[Scene], object]
    says: tuple[str, ...] | None
    name: str = "data"
    quiet: bool = False
    alike: bool = False


@dataclass(frozen=True)
class Scene:
    """What rows are about.

    Attributes:
        proxy: stands before the cache.
        small: has all paths.
        name: of the path that is wanted.
    """

    proxy: FaultProxy
    small: SmallCache
    name: str

    @property
    def path(self) -> str:
        """The path that is wanted."""
        return self.small.paths[self.name]

    def narinfo(self, fault: Fault, times: int | None = None) -> None:
        """Make a fault where the cache tells of the path."""
        self.proxy.on(rf"^/{hash_part(self.path)}\.narinfo$", fault, times)

    def nar(self, fault: Fault, times: int | None = None) -> None:
        """Make a fault where the cache has the content of the path."""
        self.proxy.on("^/" + re.escape(self.small.info(self.name)["URL"]), fault, times)

    def field(self, name: str, change: Callable[[str], str | None]) -> None:
        """Change a field of what the cache tells of the path."""
        self.narinfo(narinfo_field(name, change(self.small.info(self.name)[name])))

    def info(self, fault: Fault) -> None:
        """Make a fault where the cache tells of itself."""
        self.proxy.on(CACHE_INFO, fault)


def field(name: str, change: Callable[[str], str | None], *says: str, of: str = "data") -> Row:
    """A narinfo with another value of a field, or without it."""
    return Row(lambda scene: scene.field(name, change), says or (name,), of, alike=True)


FAULTS = {
    "stopped": Row(lambda s: s.proxy.stop(), ("refused|connect",)),
    "hangs up": Row(lambda s: s.proxy.on("", down), ()),
    "hangs up at the path": Row(lambda s: s.narinfo(down), ()),
    "cut": Row(lambda s: s.narinfo(cut(40)), ()),
    "half": Row(lambda s: s.narinfo(edited(lambda data: data[:150])), ("narinfo|NarHash",)),
    "garbage": Row(lambda s: s.narinfo(edited(lambda _: b"\xff\0<html>" * 9)), ("narinfo",)),
    "empty": Row(lambda s: s.narinfo(edited(lambda _: b"")), ("narinfo|StorePath",)),
    "wrong bytes": Row(lambda s: s.narinfo(wrong_bytes(20)), ("StorePath",)),
    "wrong signature": Row(lambda s: s.narinfo(edited(wrong_signature)), ("Sig", "signed")),
    "no signature": field("Sig", lambda _: None, "sign"),
    "signature of a stranger": field("Sig", lambda old: old.replace("cache.test", "other"), "sign"),
    "signature in no form": field("Sig", lambda _: "cache.test-1:!", "Sig"),
    "no StorePath": field("StorePath", lambda _: None),
    "other StorePath": Row(
        lambda s: s.field("StorePath", lambda old: old.replace("-data", "-date")), ("StorePath",)
    ),
    "bad StorePath": field("StorePath", lambda _: "/etc/passwd"),
    "no NarHash": field("NarHash", lambda _: None),
    "other NarHash": field("NarHash", lambda _: ZERO_HASH),
    "bad NarHash": field("NarHash", lambda _: "sha256:zzz"),
    "no NarSize": field("NarSize", lambda _: None),
    "other NarSize": field("NarSize", lambda old: f"{int(old) + 8}"),
    "bad NarSize": field("NarSize", lambda _: "-5"),
    "fewer References": field("References", lambda _: "", of="app"),
    "more References": field("References", lambda _: f"{'0' * 32}-other"),
    "bad References": field("References", lambda _: "../../etc"),
    "no URL": field("URL", lambda _: None),
    "URL of a file": field("URL", lambda _: "file:///etc/passwd"),
    "bad Compression": field("Compression", lambda _: "lzip"),
    "bad FileHash": field("FileHash", lambda _: "md5:0"),
    "no FileHash": field("FileHash", lambda _: None),
    "bad FileSize": field("FileSize", lambda _: "many"),
    "redirect loop": Row(lambda s: s.narinfo(redirect_loop), ("redirect",)),
    "redirect loop of the cache": Row(lambda s: s.proxy.on("", redirect_loop), ("redirect",)),
    "redirect to nobody": Row(lambda s: s.narinfo(redirect("http://127.0.0.1:1")), ()),
    "403": Row(lambda s: s.proxy.on("", status(403)), ("403",)),
    "401": Row(lambda s: s.proxy.on("", status(401)), ("401",)),
    "429": Row(lambda s: s.narinfo(status(429, Retry_After="0")), ("429",)),
    "500": Row(lambda s: s.narinfo(status(500)), ("500",)),
    "503 of the cache": Row(lambda s: s.proxy.on("", status(503)), ("503",)),
    "another store": Row(
        lambda s: s.info(edited(lambda _: b"StoreDir: /other/store\n")), ("/other/store",)
    ),
    "no NAR of a short path": Row(lambda s: s.nar(status(404)), ("404|not",), "tiny"),
    "cut NAR of a short path": Row(lambda s: s.nar(cut(30)), (), "tiny"),
    "wrong NAR of a short path": Row(lambda s: s.nar(wrong_bytes(9)), ("hash|NarHash",), "tiny"),
    "503 for the NAR of a short path": Row(lambda s: s.nar(status(503)), ("503",), "tiny"),
}
"""Only another cache helps; else they are errors that name the cache, the path and the reason."""

ABSENT = {
    "404": Row(lambda s: s.narinfo(status(404)), (), quiet=True),
    "403 of a path": Row(lambda s: s.narinfo(status(403)), (), quiet=True),
}
"""The cache does not have it: Nix takes 403 for that, too."""

PASSING = {
    "nothing": Row(lambda _: None, None),
    "hangs up twice": Row(lambda s: s.narinfo(down, 2), None),
    "cut once": Row(lambda s: s.narinfo(cut(40), 1), None),
    "slow": Row(lambda s: s.narinfo(slow(5, 0.1)), None),
    "500 twice": Row(lambda s: s.narinfo(status(500), 2), None),
    "503 once, of everything": Row(lambda s: s.proxy.on("", status(503), 1), None),
    "408 once": Row(lambda s: s.narinfo(status(408), 1), None),
    "429 once": Row(lambda s: s.narinfo(status(429, Retry_After="1"), 1), None),
    "429 once, without a time": Row(lambda s: s.narinfo(status(429), 1), None),
    "redirect": Row(
        lambda s: s.proxy.on("narinfo|nar/", redirect(f"http://{s.proxy.upstream}")), None
    ),
    "cut NAR of a short path, once": Row(lambda s: s.nar(cut(30), 1), None, "tiny"),
    "503 for the NAR of a short path, once": Row(lambda s: s.nar(status(503), 1), None, "tiny"),
}
"""What passes."""

OTHER = {name: row for name, row in (FAULTS | ABSENT).items() if not row.alike}
ROWS = {**FAULTS, **ABSENT, **PASSING}


@dataclass(frozen=True)
class Outcome:
    """What became of a row.

    Attributes:
        project: where it was locked.
        path: that was wanted.
        done: of ``nixbk lock``.
        asked: how often the narinfo was asked for.
    """

    project: CachedProject
    path: str
    done: Done
    asked: int


def lock(row: Row, small: SmallCache, place: Path, *, with_other: bool) -> Outcome:
    """Lock a path with a cache that has a fault, and maybe another after it."""
    with ExitStack() as stack:
        good = stack.enter_context(CacheServer(small.folder))
        proxy = stack.enter_context(FaultProxy(good.url))
        scene = Scene(proxy, small, row.name)
        caches = {"first": cache_table(proxy.url, small.key)}
        if with_other:
            caches["second"] = cache_table(good.url)
        project = CachedProject.make(place)
        project.write(caches, {"x": [scene.path]})
        row.arrange(scene)
        done = project.nixbk("lock", code=None)
        asked = len(proxy.asked(f"{hash_part(scene.path)}.narinfo"))
        return Outcome(project, scene.path, done, asked)


Key = tuple[str, bool]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, small: SmallCache, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Key, Future[Outcome]]]:
    """Of all rows that are selected, some at once: they mostly wait."""
    wanted: list[Key] = []
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("row") in ROWS:
            with_other = item.name.startswith("test_another_cache")
            wanted.append((params["row"], with_other))
    with ThreadPoolExecutor(JOBS) as pool:
        place = tmp_path_factory.mktemp("rows")
        yield {
            (name, other): pool.submit(
                lock, ROWS[name], small, place / f"{number}", with_other=other
            )
            for number, (name, other) in enumerate(wanted)
        }


Outcomes = dict[Key, "Future[Outcome]"]


@pytest.mark.parametrize("row", FAULTS)
def test_faults_are_told(outcomes: Outcomes, row: str) -> None:
    """The error names the cache, the path and the reason; nothing is locked."""
    found = outcomes[row, False].result()
    assert found.done.code == 1, found.done
    said = words(found.done.err)
    assert "first" in said
    assert found.path in said
    assert [text for text in ROWS[row].says or () if not re.search(text, said)] == [], said
    assert "Traceback" not in said
    assert not (found.project.folder / "nixbk.lock").exists()


@pytest.mark.parametrize("row", ABSENT)
def test_what_no_cache_has(outcomes: Outcomes, row: str) -> None:
    """A store path that no cache has cannot be locked, which is said."""
    found = outcomes[row, False].result()
    assert found.done.code == 1, found.done
    assert found.path in words(found.done.err)
    assert not (found.project.folder / "nixbk.lock").exists()


@pytest.mark.parametrize("row", OTHER)
def test_another_cache_serves(outcomes: Outcomes, row: str) -> None:
    """What one cache does not give comes from the next; a fault is warned of."""
    found = outcomes[row, True].result()
    assert found.done.code == 0, found.done
    archives = found.project.sources(found.path)
    # a short path is looked into when locking, and one good archive is enough for that
    assert archives == ("second",) or (ROWS[row].name == "tiny" and "second" in archives)
    if ROWS[row].quiet:
        assert found.done.err == ""
    elif ROWS[row].name != "tiny":
        said = words(found.done.err)
        assert "first" in said
        assert [text for text in ROWS[row].says or () if not re.search(text, said)] == [], said


@pytest.mark.parametrize("row", PASSING)
def test_what_passes(outcomes: Outcomes, row: str) -> None:
    """Retried, and well, without a word."""
    found = outcomes[row, False].result()
    assert found.done.code == 0, found.done
    assert found.project.sources(found.path) == ("first",)
    assert found.done.err == ""


def test_faults_are_retried_a_few_times(outcomes: Outcomes) -> None:
    """Whoever is not well is asked a few times, and who says no is asked once."""
    for row in ("hangs up at the path", "cut", "500", "429"):
        if (row, False) in outcomes:
            # a connection that was open before and is closed now does not count
            assert 4 <= outcomes[row, False].result().asked <= 8, row
    for row in ("no URL", "wrong signature"):
        if (row, False) in outcomes:
            assert outcomes[row, False].result().asked == 1, row
