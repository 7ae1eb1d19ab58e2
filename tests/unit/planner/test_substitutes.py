"""What binary caches have is unpacked, not built; what is built of it is as it would be."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from benches import WORKSHOP, Bench
from locks import (
    archive,
    drv_path,
    floating_lock,
    make_lock,
    store_path,
    substitute,
    substituted_lock,
)

from nixbk.errors import NixbkError
from nixbk.image.state import MERGE_CAPABILITIES
from nixbk.llb.marshal import walk
from nixbk.llb.platforms import Platform
from nixbk.nix.content_address import content_address
from nixbk.nix.hashes import Hash
from nixbk.nix.resolution import downstream_placeholder
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.images import blueprint, compile_image, wanted
from nixbk.planner.leaves import Choice
from nixbk.planner.lost import makers, without
from nixbk.planner.operations import REFUSED_URL
from nixbk.planner.workshop import Flavour
from nixbk.schema.lock import LockedImage, LockedInstallable, LockedPath
from nixbk.schema.manifest import Image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixbk.nix.store_path import StorePath
    from nixbk.planner.workshop import Step
    from nixbk.schema.lock import Lock, LockedArchive

GRAPH = {"libc": [], "gcc": ["libc"], "lib": ["gcc"], "app": ["gcc", "lib"]}
FOUND = [substitute("libc"), substitute("gcc", ["libc"]), substitute("lib", ["libc"])]
SHOP = WORKSHOP._replace(archive_url=lambda found: f"http://{found.substituter}/{found.url}")


def lock_of(*, fallback: bool = False) -> Lock:
    """An application that is built of a compiler and a library that are not."""
    return substituted_lock(make_lock(GRAPH), FOUND, fallback=fallback)


def names(paths: Iterable[StorePath]) -> list[str]:
    """The names of store paths, sorted."""
    return sorted(path.name.removesuffix(".drv") for path in paths)


def document(step: Step) -> dict[str, Any]:
    """What the helper is told."""
    texts = [entry.partition("=")[2] for entry in step.root.vertex.op.exec.meta.env]
    found = json.loads(texts[0])
    assert isinstance(found, dict)
    return found


def downloads(step: Step) -> list[tuple[str, str]]:
    """Address and checksum of each archive of a step."""
    ops = [found.vertex.op.source for found in step.archives]
    return [(op.identifier, op.attrs["http.checksum"]) for op in ops]


def test_only_what_no_cache_has_is_built() -> None:
    """All of the closure of inputs is fetched for it, and afterwards only the run-time part."""
    bench = Bench(lock_of(), {str(store_path("app")): (store_path("lib"),)}, SHOP)
    _, _, found = bench.survey()
    assert names(found.to_build) == ["app"]
    assert names(found.to_fetch) == ["gcc", "lib", "libc"]
    assert names(found.to_send) == ["seed"]
    assert bench.apply()[-1:] == ["app"]
    _, _, found = bench.survey()
    assert found.complete
    bench.cache.prune("gcc")
    bench.cache.prune("libc")
    _, _, found = bench.survey()
    assert (names(found.to_fetch), found.to_build) == (["libc"], ())


def test_a_build_sees_the_closure_of_its_inputs() -> None:
    """Substitutes are mounted at their places, keyed by what is in them."""
    bench = Bench(lock_of(), {}, SHOP)
    graph, _, _ = bench.survey()
    op = graph.step(drv_path("app"), Flavour.RUN).root.vertex.op.exec
    mounts = {m.dest.partition("-")[2]: m for m in op.mounts if m.dest.startswith("/nix/store/")}
    assert sorted(mounts) == ["gcc", "lib", "libc", "seed"]
    default = mounts["seed"].contentCache
    assert {name for name, mount in mounts.items() if mount.contentCache != default} == {
        "gcc", "lib", "libc",
    }  # fmt: skip


def test_a_substitute_is_a_pinned_download_and_one_exec() -> None:
    """Nothing in it tells where it is from but the address, which is in no cache key."""
    graph = BuildGraph(lock_of(), SHOP)
    step = graph.step(store_path("gcc"), Flavour.RUN)
    file_hash = archive("gcc").file_hash.digest.hex()
    assert downloads(step) == [("http://main/nar/gcc.nar.xz", f"sha256:{file_hash}")]
    probe = graph.step(store_path("gcc"), Flavour.PROBE)
    assert downloads(probe) == [(REFUSED_URL + file_hash, f"sha256:{file_hash}")]
    assert document(step) == document(probe)
    assert document(step) == {
        "version": 1,
        "kind": "unpack",
        "nars": [
            {
                "path": str(store_path("gcc")),
                "narHash": Hash.of(b"gcc").sri(),
                "narSize": 100,
                "compression": "xz",
                "references": [str(store_path("libc"))],
            }
        ],
    }


def test_a_content_address_is_told() -> None:
    """So that the helper holds the content against it."""
    address = content_address("nar", Hash.of(b"gcc"))
    found = [item._replace(content_address=address) for item in FOUND if item.path.name == "gcc"]
    graph = BuildGraph(substituted_lock(make_lock(GRAPH), [FOUND[0], *found, FOUND[2]]), SHOP)
    told = document(graph.step(store_path("gcc"), Flavour.RUN))
    assert told["nars"][0]["contentAddress"] == address
    assert graph.store_object(store_path("gcc"), Flavour.RUN).content_address == address


def test_another_cache_is_another_address() -> None:
    """The same file from elsewhere is the same to BuildKit's cache; through the session, too."""
    found = substitute("gcc", archives=[archive("gcc"), archive("gcc", "other")])
    graph = BuildGraph(substituted_lock(make_lock({"gcc": []}), [found]), SHOP)
    assert graph.leaves.undecided() == ()
    graph.choose({found.path: Choice(1)})
    assert downloads(graph.step(found.path, Flavour.RUN))[0][0] == "http://other/nar/gcc.nar.xz"
    graph.choose({found.path: Choice(1, through_session=True)})
    digest = found.archives[0].file_hash.digest.hex()
    expected = f"http://buildkit-session/{digest}"
    assert downloads(graph.step(found.path, Flavour.RUN))[0][0] == expected


def two_files(name: str) -> list[LockedArchive]:
    """The same NAR in two compressions."""
    return [archive(name), archive(name, "other", "zstd")]


def test_another_file_in_the_cache_is_found() -> None:
    """It is chosen, remembered, and what is built of it is planned with it."""
    found = [item._replace(archives=tuple(two_files(item.path.name))) for item in FOUND]
    bench = Bench(substituted_lock(make_lock(GRAPH), found), {}, SHOP)
    graph, solver, _ = bench.survey()
    for item in found:
        graph.choose({item.path: Choice(1)})
        solver.solve(graph.step(item.path, Flavour.RUN).root)
    graph, _, survey = bench.survey()
    assert (survey.to_fetch, names(survey.to_build)) == ((), ["app"])
    assert names(graph.leaves.chosen) == ["gcc", "lib", "libc"]
    bench.cache.asked.clear()
    graph, _, survey = bench.survey()
    assert names(graph.leaves.chosen) == ["gcc", "lib", "libc"]
    assert [url for url in bench.cache.asked if url.startswith(REFUSED_URL)] == []


def test_an_image_of_nothing_that_is_built() -> None:
    """A store path alone is an installable, and so is an output that a cache has."""
    lock = lock_of()
    image = LockedImage(
        ("linux/amd64",),
        (
            LockedInstallable(str(store_path("lib")), None, ("out",), {"out": store_path("lib")}),
            LockedInstallable("x#gcc", drv_path("gcc"), ("out",), {"out": store_path("gcc")}),
        ),
    )
    lock = replace(lock, images={"image": image}, derivations={}, sources={})
    graph, _, found = Bench(lock, {}, SHOP).survey()
    asked = [graph.path(*output) for output in wanted(graph, image)]
    assert asked == [store_path("lib"), store_path("gcc")]
    assert names(found.to_fetch) == ["gcc", "lib", "libc"]
    assert graph.located(image) == image


def test_layers_of_what_is_fetched_need_no_result() -> None:
    """Their steps add nothing but store paths to the base; those of what is built do."""
    lock = lock_of()
    bench = Bench(lock, {str(store_path("app")): (store_path("lib"),)}, SHOP)
    bench.apply()
    graph, _, _ = bench.survey()
    manifest = Image(installables=("x#app",))
    image = blueprint(graph, next(iter(lock.images)), manifest, Platform("linux", "amd64"))
    state = compile_image(graph, image, MERGE_CAPABILITIES)
    assert state is not None
    made = [vertex.name for vertex in walk(state) if vertex.name.startswith("result of ")]
    assert names(path for layer in image.layers for path in layer) == ["app", "lib", "libc"]
    assert made == ["result of app"]


def test_places_of_the_sandbox_may_be_fetched() -> None:
    """Whether a derivation made them or they were named themselves."""
    lock = lock_of()
    tools = substitute("tools", ["libc"])
    lock = replace(
        lock,
        substitutes={**lock.substitutes, tools.path: tools},
        locked_paths={
            "/bin/lib": LockedPath("x#lib", store_path("lib"), "bin", drv_path("lib"), "out"),
            "/tools": LockedPath(str(tools.path), tools.path),
        },
    )
    bench = Bench(lock, {}, SHOP)
    graph, _, found = bench.survey()
    assert names(found.to_fetch) == ["gcc", "lib", "libc", "tools"]
    op = graph.step(drv_path("app"), Flavour.RUN).root.vertex.op.exec
    places = {m.dest: m.selector for m in op.mounts if not m.dest.startswith(("/nix", "/.nixbk"))}
    assert places["/bin/lib"] == f"{store_path('lib')}/bin"
    assert places["/tools"] == str(tools.path)
    assert document(graph.step(drv_path("app"), Flavour.RUN))["hidden"] == [str(tools.path)]


def test_floating_derivations_are_resolved_over_substitutes() -> None:
    """A placeholder for an output that is fetched becomes its path."""
    lock = floating_lock({"gcc": [], "app": ["gcc"]}, {"app": "floating"})
    lock = substituted_lock(lock, [substitute("gcc")])
    drv = lock.derivations[drv_path("app")]
    assert drv.env["gcc"] == downstream_placeholder(drv_path("gcc"), "out")
    bench = Bench(lock, {}, SHOP)
    graph, _, found = bench.survey()
    assert names(found.to_fetch) == ["gcc"]
    told = document(graph.step(drv_path("app"), Flavour.RUN))
    assert told["env"]["gcc"] == str(store_path("gcc"))


def test_reference_graphs_are_exported_over_substitutes() -> None:
    """Size, hash and references are those of the lock."""
    lock = lock_of()
    drv = lock.derivations[drv_path("app")]
    drv = replace(drv, env={**drv.env, "exportReferencesGraph": f"graph {store_path('gcc')}"})
    lock = replace(lock, derivations={drv_path("app"): drv})
    graph, _, _ = Bench(lock, {}, SHOP).survey()
    text = document(graph.step(drv_path("app"), Flavour.RUN))["files"]["graph"]
    assert sorted(line for line in text.splitlines() if line.startswith("/nix/store/")) == sorted(
        [str(store_path("gcc")), *[str(store_path("libc"))] * 2]
    )


def test_symlinks_are_told_and_not_mounted() -> None:
    """The lock says where they point."""
    link = substitute("lib")._replace(file_type="symlink", target="elsewhere")
    lock = substituted_lock(make_lock(GRAPH), [*FOUND[:2], link])
    graph, _, _ = Bench(lock, {}, SHOP).survey()
    told = document(graph.step(drv_path("app"), Flavour.RUN))
    assert told["links"] == {str(store_path("lib")): "elsewhere"}


def test_what_is_lost_is_built() -> None:
    """With all below it, while others still refer to it; afterwards they find it."""
    lock = lock_of(fallback=True)
    lost = {store_path("libc")}
    assert makers(lock, lost) == {store_path("libc"): drv_path("libc")}
    bench = Bench(without(lock, lost), {}, SHOP)
    graph, _, found = bench.survey()
    assert [drv.name for drv in found.to_build] == ["libc.drv", "app.drv"]
    assert names(found.to_fetch) == ["gcc", "lib"]
    assert graph.build_order([store_path("gcc")]) == (drv_path("libc"),)
    assert [name for name in bench.apply() if name in GRAPH][-1] == "app"
    graph, _, found = bench.survey()
    assert found.complete
    assert names(graph.closure([store_path("gcc")])) == ["gcc", "libc"]


def test_what_is_lost_may_be_what_an_image_is_made_of() -> None:
    """An installable that is a store path is built, if it is known how."""
    lock = lock_of(fallback=True)
    path = store_path("gcc")
    image = LockedImage(
        ("linux/amd64",), (LockedInstallable(str(path), None, ("out",), {"out": path}),)
    )
    lock = without(replace(lock, images={"image": image}), {path})
    graph, _, found = Bench(lock, {}, SHOP).survey()
    assert wanted(graph, image) == ((drv_path("gcc"), "out"),)
    assert (names(found.to_build), names(found.to_fetch)) == (["gcc"], ["libc"])


def test_nothing_else_can_be_lost() -> None:
    """Without fallback nobody knows how it is made."""
    assert makers(lock_of(), {store_path("libc")}) == {}


def test_a_circle_is_refused() -> None:
    """References of a cache that lies are followed to no end."""
    found = [substitute("gcc", ["lib"]), substitute("lib", ["gcc"])]
    lock = substituted_lock(make_lock({"gcc": [], "lib": []}), found)
    with pytest.raises(NixbkError, match="need each other"):
        BuildGraph(lock, SHOP).closure([store_path("gcc")])


def test_a_group_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths that share a step are its outputs, each the other's sibling."""
    monkeypatch.setattr(
        "nixbk.planner.leaves.groups", lambda lock: ((tuple(sorted(lock.substitutes)),),)
    )
    bench = Bench(lock_of(), {}, SHOP)
    graph, _, found = bench.survey()
    paths = tuple(sorted(item.path for item in FOUND))
    assert found.to_fetch == paths
    step = graph.step(paths[0], Flavour.RUN)
    assert [entry["path"] for entry in document(step)["nars"]] == [str(path) for path in paths]
    assert len(step.archives) == len(paths)
    assert graph.outputs(paths[0]) == {path.basename: path for path in paths}
    assert {graph.producer(path) for path in paths} == {paths[0]}
    assert graph.store_object(paths[1], Flavour.RUN).members == paths
    assert bench.apply()[-1] == "app"
    assert bench.survey()[2].complete


def test_a_step_may_have_several_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with paths of its own; what lost one of them is there no more."""
    paths = sorted(item.path for item in FOUND)
    first, second = (paths[0],), tuple(paths[1:])
    monkeypatch.setattr("nixbk.planner.leaves.groups", lambda _: ((first, second),))
    bench = Bench(lock_of(), {}, SHOP)
    graph, solver, _ = bench.survey()
    step = graph.step(paths[0], Flavour.RUN)
    assert {graph.producer(path) for path in paths} == {paths[0]}
    assert [entry.get("root", 0) for entry in document(step)["nars"]] == [0, 1, 1]
    found = [graph.store_object(path, Flavour.RUN) for path in paths]
    assert [(item.root, item.members) for item in found] == [
        (step.roots[0], first),
        *[(step.roots[1], second)] * 2,
    ]
    assert {output.vertex for output in step.roots} == {step.root.vertex}
    mounts = {mount.dest: mount for mount in step.root.vertex.op.exec.mounts}
    assert mounts["/.nixbk/root/1"].input == mounts["/"].input
    solver.solve(step.roots[0])
    assert set(bench.survey()[2].to_fetch) == set(paths)
    solver.solve(step.roots[1])
    assert not bench.survey()[2].to_fetch
