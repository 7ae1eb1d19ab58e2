"""Steps beyond the ordinary: long ones, downloads of other kinds, repeated ones, comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from benches import WORKSHOP, Bench
from locks import drv_path, make_lock, store_path

from nixbk.errors import NixbkError
from nixbk.nix.derivation import DerivationError, DerivationOutput
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.compiler import CA_FILE
from nixbk.planner.operations import REFUSED_URL
from nixbk.planner.steps import ENVIRONMENT_CHARACTERS, UnsupportedDerivationError
from nixbk.planner.workshop import Flavour
from nixbk.schema.lock import BundleOrigin, Lock, LockedSource

if TYPE_CHECKING:
    from nixbk.llb.vertex import Vertex
    from nixbk.planner.workshop import Step, Workshop

GRAPH = {"fetch-src": [], "gcc": [], "app": ["gcc", "fetch-src"]}


def changed(name: str, lock: Lock | None = None, **fields: Any) -> Lock:
    """The lock of the graph, with other fields of one derivation."""
    lock = lock or make_lock(GRAPH)
    old = lock.derivations[drv_path(name)]
    env = {**old.env, **fields.pop("env", {})}
    new = replace(old, env=env, **fields)
    return replace(lock, derivations={**lock.derivations, drv_path(name): new})


def built(lock: Lock, workshop: Workshop = WORKSHOP) -> BuildGraph:
    """A graph of which everything is known."""
    bench = Bench(lock, {})
    bench.apply()
    known, _, _ = bench.survey()
    found = BuildGraph(lock, workshop)
    for drv in found.build_order(lock.derivations):
        realisation = known.realisation(drv)
        if realisation is not None:
            found.realise(drv, realisation)
    return found


def exec_of(step: Step) -> Any:
    """The operation of a step."""
    return step.root.vertex.op.exec


def document(step: Step) -> dict[str, Any]:
    """What the helper is told in its environment."""
    env = dict(e.split("=", 1) for e in exec_of(step).meta.env)
    found = json.loads(env["NIXBK_STEP"])
    assert isinstance(found, dict)
    return found


def source_at(step: Step, dest: str) -> Vertex:
    """What is mounted at *dest*."""
    (mount,) = (m for m in exec_of(step).mounts if m.dest == dest)
    vertex: Vertex = step.root.vertex.inputs[mount.input].vertex
    return vertex


def test_a_long_document_goes_through_the_session() -> None:
    """The operation that runs has its bytes sent; one that asks only has their hash."""
    offered: list[bytes] = []

    def offer(data: bytes) -> str:
        offered.append(data)
        return "http://session/document"

    lock = changed("gcc", env={"long": "x" * ENVIRONMENT_CHARACTERS})
    graph = BuildGraph(lock, WORKSHOP._replace(offer=offer))
    probe = graph.step(drv_path("gcc"), Flavour.PROBE)
    assert offered == []
    run = graph.step(drv_path("gcc"), Flavour.RUN)
    (data,) = offered
    assert json.loads(data)["env"]["long"] == "x" * ENVIRONMENT_CHARACTERS
    assert not any(e.startswith("NIXBK_STEP") for e in exec_of(run).meta.env)
    checksum = f"sha256:{sha256(data).hexdigest()}"
    files = [source_at(step, "/.nixbk/step.json").op.source for step in (run, probe)]
    assert [file.attrs["http.checksum"] for file in files] == [checksum, checksum]
    assert files[0].identifier == "http://session/document"
    assert files[1].identifier.startswith(REFUSED_URL)


def test_without_a_session_a_long_document_is_refused() -> None:
    """Nobody is left to wonder what became of it."""
    graph = BuildGraph(changed("gcc", env={"long": "x" * ENVIRONMENT_CHARACTERS}), WORKSHOP)
    with pytest.raises(NixbkError, match="no session"):
        graph.step(drv_path("gcc"), Flavour.RUN)


SHA512 = Hash(HashAlgorithm.SHA512, bytes(64))
DOWNLOADS: dict[str, tuple[dict[str, Any], str]] = {
    "flat": ({}, "fetch"),
    "unpacked": ({"env": {"unpack": "1"}}, "build"),
    "not unpacked": ({"env": {"unpack": ""}}, "fetch"),
    "recursive": ({"outputs": ("r:sha256", "0" * 64)}, "build"),
    "another hash": ({"outputs": ("sha512", SHA512.base16())}, "build"),
    "another scheme": ({"env": {"url": "ftp://example.org/x"}}, "build"),
}


@pytest.mark.parametrize(("fields", "kind"), DOWNLOADS.values(), ids=DOWNLOADS.keys())
def test_downloads(fields: dict[str, Any], kind: str) -> None:
    """BuildKit downloads what it can by itself, and the helper all else."""
    fields = dict(fields)
    if "outputs" in fields:
        method, content = fields["outputs"]
        path = str(store_path("fetch-src"))
        fields["outputs"] = {"out": DerivationOutput(path, method, content)}
    builtin = WORKSHOP.builtin_helper
    graph = BuildGraph(changed("fetch-src", **fields), WORKSHOP)
    step = graph.step(drv_path("fetch-src"), Flavour.RUN)
    assert document(step)["kind"] == kind
    secrets = {m.dest: m for m in exec_of(step).mounts if m.HasField("secretOpt")}
    helper = source_at(step, "/.nixbk/helper").op.source.identifier
    if kind == "fetch":
        assert secrets == {}
        assert helper == WORKSHOP.build_helper.url
        again = graph.variant(drv_path("fetch-src"), "download", "n")
        assert document(again)["builder"] == "builtin:fetchurl"
    else:
        assert secrets.keys() == {CA_FILE, "/.nixbk/ca.pem", "/.nixbk/netrc"}
        assert secrets[CA_FILE].secretOpt.mode == 0o444
        assert all(mount.secretOpt.optional for mount in secrets.values())
        assert helper == builtin.url
        assert document(step)["network"] is True


NETWORKED = {
    "no network": (DerivationOutput(str(store_path("gcc"))), set()),
    "fixed": (DerivationOutput(str(store_path("gcc")), "r:sha256", "0" * 64), {CA_FILE}),
    "impure": (DerivationOutput("", "r:sha256", "impure"), {CA_FILE}),
}


@pytest.mark.parametrize(("output", "places"), NETWORKED.values(), ids=NETWORKED.keys())
def test_who_has_secrets(output: DerivationOutput, places: set[str]) -> None:
    """With network there is the list of whom to trust, and never a login."""
    graph = BuildGraph(changed("gcc", outputs={"out": output}), WORKSHOP)
    mounts = exec_of(graph.step(drv_path("gcc"), Flavour.RUN)).mounts
    assert {mount.dest for mount in mounts if mount.HasField("secretOpt")} == places


def test_builders_that_nix_does_not_have() -> None:
    """They are refused by name."""
    graph = BuildGraph(changed("gcc", builder="builtin:magic"), WORKSHOP)
    with pytest.raises(UnsupportedDerivationError, match="no builder 'builtin:magic'"):
        graph.refuse(drv_path("gcc"))


WISHES = {
    "kvm": ({"requiredSystemFeatures": "big-parallel kvm"}, "the system feature 'kvm'"),
    "no chroot": ({"__noChroot": "1"}, "'__noChroot' set"),
    "structured": ({"__json": '{"requiredSystemFeatures":["kvm"]}'}, "the system feature 'kvm'"),
}


@pytest.mark.parametrize(("env", "message"), WISHES.values(), ids=WISHES.keys())
def test_special_wishes(env: dict[str, str], message: str) -> None:
    """A survey says of everything that is to be built whether it can be, before anything is."""
    bench = Bench(changed("app", env=env), {})
    _, _, found = bench.survey()
    assert list(found.refused) == [drv_path("app")]
    (why,) = found.refused.values()
    assert isinstance(why, UnsupportedDerivationError)
    assert message in why.message
    assert why.hint


def test_granted_features() -> None:
    """What the user says the builder has is not refused."""
    lock = changed("app", env={"requiredSystemFeatures": "kvm ca-derivations"})
    bench = Bench(lock, {}, WORKSHOP._replace(features=frozenset({"kvm"})))
    assert bench.survey()[2].refused == {}


def test_malformed_options_are_refused() -> None:
    """They are an error of the one derivation."""
    bench = Bench(changed("gcc", env={"exportReferencesGraph": "one"}), {})
    _, _, found = bench.survey()
    assert isinstance(found.refused[drv_path("gcc")], DerivationError)


VARIANTS = {"keep-failed": {"keepFailed": True}, "check": {}}


@pytest.mark.parametrize(("again", "fields"), VARIANTS.items())
def test_variants(again: Any, fields: dict[str, Any]) -> None:
    """The same step beside the first, and another for each nonce."""
    graph = built(make_lock(GRAPH))
    step = graph.step(drv_path("app"), Flavour.RUN)
    once, twice = (graph.variant(drv_path("app"), again, nonce) for nonce in ("1", "2"))
    assert len({step.digest, once.digest, twice.digest}) == 3
    assert document(once) == {**document(step), **fields}
    assert f"NIXBK_AGAIN={again}-1" in exec_of(once).meta.env


def test_comparisons() -> None:
    """Two trees side by side, each alone."""
    graph = built(make_lock(GRAPH))
    path = store_path("app")
    variant = graph.variant(drv_path("app"), "check", "1")
    first = graph.store_object(path, Flavour.RUN)
    compiler = graph.compiler(Flavour.RUN)
    op = compiler.compare(first, graph.object_in(variant, path)).vertex.op.exec
    mounts = {m.dest: (m.selector, m.readonly) for m in op.mounts}
    assert mounts["/.nixbk/a"] == mounts["/.nixbk/b"] == (str(path), True)
    assert op.meta.args == ["/.nixbk/helper", "compare"]


def test_a_recipe_may_be_a_source_as_well() -> None:
    """A derivation may read the recipe of another, and its outputs' graph, and use it too."""
    lock = make_lock({"lib": [], "app": ["lib"]})
    content = Hash.of(b"recipe")
    recipe = LockedSource(
        drv_path("lib"), content, 6, (), BundleOrigin(content.digest.hex()), "regular"
    )
    env = {"exportReferencesGraph": f"graph {drv_path('lib')}"}
    lock = replace(lock, sources={**lock.sources, drv_path("lib"): recipe})
    lock = changed("app", lock, env=env, input_srcs=(drv_path("lib"),))
    bench = Bench(lock, {})
    assert [drv.name for drv in bench.survey()[2].to_build] == ["lib.drv", "app.drv"]
    assert bench.survey()[2].to_send == tuple(sorted(lock.sources))
    assert bench.apply() == ["lib", "lib.drv", "app"]
    graph, _, found = bench.survey()
    assert found.to_build == ()
    told = document(graph.step(drv_path("app"), Flavour.RUN))
    lines = [drv_path("lib"), "", 0, store_path("lib"), "", 0]
    graphs = ["".join(f"{line}\n" for line in part) for part in (lines[:3], lines[3:])]
    assert told["files"]["graph"] == "".join(sorted(graphs))


def test_graphs_of_what_is_no_input_are_refused() -> None:
    """With the words of Nix."""
    lock = changed("app", env={"exportReferencesGraph": f"graph {store_path('other')}"})
    bench = Bench(lock, {})
    with pytest.raises(NixbkError, match="cannot export references of path"):
        bench.apply()
