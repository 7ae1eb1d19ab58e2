"""What is fetched and what is built, with caches and a store of this test's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from fetched import entry, store_path
from proven import SETUP, graph

from nixbk.errors import NixbkError
from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.derivation_hash import OutputHasher
from nixbk.nix.hashes import Hash
from nixbk.nix.narinfo import NarInfo
from nixbk.nix.store_path import StorePath
from nixbk.resolve.caches.judge import Answer, RefusedAnswerError
from nixbk.resolve.substitution import (
    FaultyCacheError,
    Substitution,
    UnavailableError,
    substitute,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GRAPH = graph({"bash": [], "zlib": ["bash"], "xz": ["bash"], "hello": ["zlib", "xz"]})
DRV = {name: path for name, (path, _) in GRAPH.items()}
OUT = {name: StorePath.parse(drv.outputs["out"].path) for name, (_, drv) in GRAPH.items()}
LIBC, DATA = store_path("libc"), store_path("data")


def info(path: StorePath, references: Iterable[StorePath] = (), **more: object) -> NarInfo:
    """What a cache tells of a path."""
    found = entry(path, references)
    made = NarInfo(
        path,
        f"nar/{path.name}.nar.xz",
        "xz",
        Hash.of(b"file"),
        90,
        found.nar_hash,
        found.nar_size,
        found.references,
        "",
        found.signatures,
    )
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


@dataclass
class World:
    """Caches by name, and a store.

    Attributes:
        caches: what each says of paths; nothing of others.
        asked: what was asked for by its name, round by round.
        read: the names of the recipes that were read.
        store: further derivations.
        made: what outputs of derivations are.
        told: what open outputs came to, or why nobody says.
        asked_outputs: those that were asked for.
    """

    caches: Mapping[str, Mapping[StorePath, NarInfo | NixbkError]]
    asked: list[set[str]] = field(default_factory=list)
    read_names: list[str] = field(default_factory=list)
    store: dict[StorePath, Derivation] = field(default_factory=lambda: dict(GRAPH.values()))
    made: dict[tuple[StorePath, str], StorePath] = field(default_factory=dict)
    told: dict[str, StorePath | NixbkError] = field(default_factory=dict)
    asked_outputs: list[str] = field(default_factory=list)

    def __call__(self, paths: Iterable[StorePath], /) -> dict[StorePath, tuple[Answer, ...]]:
        """What the caches say of paths and all that these refer to."""
        work = list(paths)
        self.asked.append({path.name for path in work})
        found: dict[StorePath, tuple[Answer, ...]] = {}
        while work:
            path = work.pop()
            if path not in found:
                found[path] = tuple(self._answer(name, path) for name in self.caches)
                work += [r for a in found[path] if a.info for r in a.info.references]
        return found

    def _answer(self, name: str, path: StorePath) -> Answer:
        said = self.caches[name].get(path)
        if said is None:
            return Answer(name, "absent")
        if isinstance(said, NarInfo):
            return Answer(name, "accepted", said, said.file_hash, said.file_size)
        if isinstance(said, RefusedAnswerError):
            return Answer(name, "refused", error=said)
        return Answer(name, "failed", error=said)

    def outputs(self, ids: Iterable[str], /) -> dict[str, StorePath | NixbkError | None]:
        """What the caches say that outputs came to, whose ids are of this world's derivations."""
        wanted = list(ids)
        self.asked_outputs += wanted
        return {output_id: self.told.get(output_id) for output_id in wanted}

    def read(self, path: StorePath) -> Derivation:
        """The derivation at a path."""
        self.read_names.append(path.name.removesuffix(".drv"))
        return self.store[path]

    def make(self, drv_path: StorePath, output: str) -> StorePath:
        """What an output is."""
        return self.made[drv_path, output]


def run(world: World, names: Sequence[str] = ("hello",), *, fallback: bool = False) -> Substitution:
    """Decide for outputs by the names of their derivations."""
    return substitute([(DRV[name], "out") for name in names], (), world, world, fallback=fallback)


def names(found: Substitution) -> tuple[set[str], set[str]]:
    """What is built, and what is fetched."""
    return (
        {path.name.removesuffix(".drv") for path in found.derivations},
        {path.name for path in found.substitutes},
    )


def offers(*wanted: str, **references: Sequence[StorePath]) -> dict[StorePath, NarInfo]:
    """A cache that has outputs by their names, and libc."""
    rows = {OUT[name]: info(OUT[name], references.get(name, [])) for name in wanted}
    return {**rows, LIBC: info(LIBC)}


LATTICE = {
    "all": (offers("hello"), set(), {"hello"}, ["hello"]),
    "with what it refers to": (offers("hello", hello=[LIBC]), set(), {"hello", "libc"}, ["hello"]),
    "half": (offers("zlib"), {"hello", "xz", "bash"}, {"zlib"}, ["hello", "zlib", "xz", "bash"]),
    "inputs": (offers("zlib", "xz"), {"hello"}, {"zlib", "xz"}, ["hello", "zlib", "xz"]),
    "bottom": (
        offers("bash"),
        {"hello", "zlib", "xz"},
        {"bash"},
        ["hello", "zlib", "xz", "bash"],
    ),
    "nothing": ({}, {"hello", "zlib", "xz", "bash"}, set(), ["hello", "zlib", "xz", "bash"]),
    "a lost reference": (
        offers("hello", "zlib", "xz", hello=[LIBC, DATA]),
        {"hello"},
        {"zlib", "xz"},
        ["hello", "zlib", "xz"],
    ),
    "itself": (offers("hello", hello=[OUT["hello"]]), set(), {"hello"}, ["hello"]),
    "a source": (offers("hello", hello=[SETUP.path]), set(), {"hello"}, ["hello"]),
}


@pytest.mark.parametrize(("cache", "built", "got", "read"), LATTICE.values(), ids=LATTICE)
def test_what_is_fetched(
    cache: Mapping[StorePath, NarInfo], built: set[str], got: set[str], read: list[str]
) -> None:
    """What a cache has with all it needs; else it is built, and the same of its inputs."""
    world = World({"main": cache})
    found = run(world)
    assert names(found) == (built, got)
    assert sorted(world.read_names) == sorted(read)
    assert set(found.substituted.values()) <= found.substitutes.keys()


def test_caches_are_asked_level_by_level() -> None:
    """Nobody asks for inputs of what is fetched."""
    world = World({"main": offers("zlib", "xz")})
    run(world)
    assert world.asked == [{"hello"}, {"zlib", "xz"}]


def test_fallback_keeps_all_recipes() -> None:
    """They are read to the bottom, and what is fetched stays fetched wherever it is needed."""
    found = run(World({"main": offers("hello", "bash", hello=[OUT["bash"]])}), fallback=True)
    assert names(found) == ({"hello", "zlib", "xz", "bash"}, {"hello", "bash"})
    assert found.substituted == {(DRV[n], "out"): OUT[n] for n in ("hello", "bash")}
    assert found.sources == {SETUP.path}


def test_sources_are_of_what_is_built() -> None:
    """And of what substitutes refer to and no cache has."""
    assert run(World({"main": offers("hello")})).sources == frozenset()
    assert run(World({"main": offers("zlib", "xz")})).sources == {SETUP.path}
    referred = run(World({"main": offers("hello", hello=[SETUP.path])}))
    assert referred.sources == {SETUP.path}


def test_a_source_that_a_cache_has_stays_a_source() -> None:
    """Its bytes are at hand, and its path proves them."""
    cache = {**offers("zlib", "xz", zlib=[SETUP.path]), SETUP.path: info(SETUP.path)}
    found = run(World({"main": cache}))
    assert found.sources == {SETUP.path}
    assert SETUP.path not in found.substitutes


def test_what_must_not_be_fetched() -> None:
    """``allowSubstitutes = false`` is built, unless what is fetched has it with it."""
    own = graph({"lib": [], "app": ["lib"]}, {"app": {"allowSubstitutes": ""}})
    path, app = own["app"]
    out, lib = (StorePath.parse(own[n][1].outputs["out"].path) for n in ("app", "lib"))
    world = World({"main": {out: info(out), lib: info(lib)}}, store=dict(own.values()))
    found = substitute([(path, "out")], (), world, world)
    assert (list(found.derivations), list(found.substitutes)) == ([path], [lib])
    assert world.asked == [{"lib"}]
    assert app.env["allowSubstitutes"] == ""
    world.caches = {"main": {out: info(out), DATA: info(DATA, [out])}}
    whole = substitute([(path, "out")], (DATA,), world, world)
    assert (set(whole.derivations), set(whole.substitutes)) == (set(), {DATA, out})


def test_outputs_that_a_build_decides() -> None:
    """They are built; their inputs may be fetched."""
    lib = GRAPH["bash"][1]
    floating = Derivation(
        "float",
        {"out": DerivationOutput("", "r:sha256")},
        {DRV["bash"]: ("out",)},
        (),
        lib.system,
        lib.builder,
        (),
        {"out": "/x"},
    )
    world = World({"main": offers("bash")})
    world.store[floating.path()] = floating
    found = substitute([(floating.path(), "out")], (), world, world)
    assert names(found) == ({"float"}, {"bash"})
    assert found.substituted == {(DRV["bash"], "out"): OUT["bash"]}


def open_world(*offered: str, **told: StorePath | NixbkError) -> tuple[World, StorePath]:
    """``top`` of ``float^out`` and ``float^dev``, which are of bash, and caches that know some."""

    def make(name: str, kind: str, outputs: Sequence[str], **inputs: Sequence[str]) -> Derivation:
        needed = {drv[key]: tuple(names) for key, names in inputs.items()}
        lib = GRAPH["bash"][1]
        made = {output: DerivationOutput("", kind) for output in outputs}
        env = dict.fromkeys(outputs, "/x" if kind else "")
        found = Derivation(name, made, needed, (), lib.system, lib.builder, (), env)
        drv[name] = found.path()
        return Derivation.from_bytes(name, found.to_bytes())

    drv = {"bash": DRV["bash"]}
    made = [
        make("float", "r:sha256", ("dev", "out"), bash=("out",)),
        make("top", "", ("out",), float=("dev", "out")),
    ]
    world = World({"main": {**offers(*offered), **{p: info(p) for p in (FLOAT, DEV, TOP)}}})
    world.store.update({drv[found.name]: found for found in made})
    hasher = OutputHasher(world.store.__getitem__)
    ids = {"dev": ("float", "dev"), "out": ("float", "out"), "top": ("top", "out")}
    for key, path in told.items():
        name, output = ids[key]
        found = hasher.output_id(drv[name], output)
        assert found is not None
        world.told[found] = path
    return world, drv["top"]


FLOAT, DEV, TOP = store_path("float"), store_path("float-dev"), store_path("top")
OPEN: dict[str, tuple[dict[str, StorePath], set[str], set[str]]] = {
    "all": ({"top": TOP}, set(), {"top"}),
    "what it waits for": ({"out": FLOAT, "dev": DEV}, {"top"}, {"float", "float-dev"}),
    "half of that": ({"out": FLOAT}, {"top", "float"}, {"bash"}),
    "nothing": ({}, {"top", "float"}, {"bash"}),
    "what is not there": ({"top": store_path("lost")}, {"top", "float"}, {"bash"}),
}


@pytest.mark.parametrize("name", OPEN)
def test_outputs_that_a_cache_knows(name: str) -> None:
    """They are fetched, all of a derivation or none, and then nothing below is needed."""
    told, built, got = OPEN[name]
    world, top = open_world("bash", **told)
    found = substitute([(top, "out")], (), world, world, open_outputs=world)
    assert names(found) == (built, got)
    expected = {path.name for path in told.values() if path.name in got}
    assert {path.name for path in found.substituted.values()} - {"bash"} == expected


def test_outputs_that_nobody_is_asked_for() -> None:
    """Neither with all recipes at hand, nor where nobody can be asked."""
    world, top = open_world("bash", top=TOP)
    for fallback, asked in ((True, world), (False, None)):
        found = substitute([(top, "out")], (), world, world, fallback=fallback, open_outputs=asked)
        assert {path.name for path in found.derivations} >= {"top.drv", "float.drv"}
    assert world.asked_outputs == []


def test_a_cache_that_does_not_say() -> None:
    """It is no reason to build."""
    world, top = open_world("bash", top=NixbkError("it is down", where="c", hint="wait"))
    with pytest.raises(FaultyCacheError) as caught:
        substitute([(top, "out")], (), world, world, open_outputs=world)
    assert str(caught.value) == (
        f"substituters.c: about '{top}^out', 'c' says nothing: it is down\n  hint: wait"
    )


# Several caches ---------------------------------------------------------------------------


def test_two_caches_that_have_the_same() -> None:
    """Both are places of it, in their order, and all signatures are kept."""
    first = info(DATA, url="nar/a.nar.xz")
    second = info(DATA, url="nar/b.nar.zst", compression="zstd", signatures=("k:AAAA",))
    world = World({"one": {DATA: first}, "two": {DATA: second}})
    found = substitute((), (DATA,), world, world).substitutes[DATA]
    assert [(a.substituter, a.url, a.compression) for a in found.archives] == [
        ("one", "nar/a.nar.xz", "xz"),
        ("two", "nar/b.nar.zst", "zstd"),
    ]
    assert set(found.signatures) == {*first.signatures, "k:AAAA"}


def test_two_caches_that_differ() -> None:
    """The first counts whose references are to be had; the other's archive is another content."""
    other = info(DATA, [LIBC], nar_hash=Hash.of(b"other"))
    lost = info(DATA, [store_path("lost")])
    world = World({"one": {DATA: info(DATA)}, "two": {DATA: other, LIBC: info(LIBC)}})
    found = substitute((), (DATA,), world, world)
    assert [a.substituter for a in found.substitutes[DATA].archives] == ["one"]
    assert set(found.substitutes) == {DATA}
    world = World({"one": {DATA: lost}, "two": {DATA: other, LIBC: info(LIBC)}})
    found = substitute((), (DATA,), world, world)
    assert [a.substituter for a in found.substitutes[DATA].archives] == ["two"]
    assert set(found.substitutes) == {DATA, LIBC}


DOWN = NixbkError("HTTP 503 from 'https://one.test/x.narinfo'", where="one")
LIE = RefusedAnswerError(DATA, "NarHash", "the narinfo of 'one' is refused: NarHash: it lies")
FAULTS = {
    "down": (
        DOWN,
        f"about '{DATA}', 'one' says nothing: HTTP 503 from 'https://one.test/x.narinfo'",
    ),
    "lie": (LIE, f"'{DATA}': the narinfo of 'one' is refused: NarHash: it lies"),
    "address": (
        info(DATA, url="ftp://host/x"),
        (
            f"the narinfo of 'one' for '{DATA}' is refused: URL: expected an address relative to "
            "the cache, or one with http: or https:, found 'ftp://host/x'"
        ),
    ),
    "content": (
        info(DATA, content_address=f"fixed:r:sha256:{Hash.of(b'x').base32()}"),
        (
            f"the narinfo of 'one' for '{DATA}' is refused: "
            "CA: the path does not follow from this content"
        ),
    ),
}


@pytest.mark.parametrize(("said", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_no_reason_to_build(said: NarInfo | NixbkError, message: str) -> None:
    """Where another cache has the path, the fault is told beside; else it is an error."""
    world = World({"one": {DATA: said}, "two": {}})
    with pytest.raises(FaultyCacheError) as caught:
        substitute((), (DATA,), world, world)
    assert (caught.value.message, caught.value.where) == (message, "substituters.one")
    world = World({"one": {DATA: said}, "two": {DATA: info(DATA)}})
    found = substitute((), (DATA,), world, world)
    assert [a.substituter for a in found.substitutes[DATA].archives] == ["two"]
    assert [fault.message for fault in found.faults] == [message]


def test_a_fault_of_a_derivation_is_no_reason_to_build() -> None:
    """Whether something is built does not depend on whether a cache is well today."""
    with pytest.raises(FaultyCacheError):
        run(World({"main": {OUT["hello"]: DOWN}}))
    with pytest.raises(FaultyCacheError):
        run(World({"main": {**offers("hello", hello=[LIBC]), LIBC: DOWN}}))


def test_a_store_path_that_no_cache_has() -> None:
    """The error names it, and what it lacks."""
    world = World({"main": {DATA: info(DATA, [LIBC])}})
    for path, message in (
        (LIBC, f"no cache has '{LIBC}'"),
        (DATA, f"no cache has '{LIBC}', which '{DATA}' needs"),
    ):
        with pytest.raises(UnavailableError) as caught:
            substitute((), (path,), world, world)
        assert caught.value.message == message


def test_circles_of_references_end() -> None:
    """Nothing that is said of references hangs a lock; the lock's proof refuses them."""
    world = World({"main": {DATA: info(DATA, [LIBC]), LIBC: info(LIBC, [DATA])}})
    assert set(substitute((), (DATA,), world, world).substitutes) == {DATA, LIBC}
