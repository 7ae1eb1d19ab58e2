"""Both flavours of a step are one to BuildKit's cache, and only probes cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benches import WORKSHOP, Bench
from locks import drv_path, make_lock, store_path

from nixbk.llb.exec import Proxy
from nixbk.llb.mounts import REFUSED_SHARING
from nixbk.llb.platforms import LINUX_ARM64
from nixbk.nix.content_address import content_address
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.operations import GATE, REFUSED_URL
from nixbk.planner.realisation import Realisation
from nixbk.planner.steps import UnsupportedDerivationError
from nixbk.planner.workshop import PROBE_IP, RUN_IP, Flavour, Workshop
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from nixbk.llb.vertex import Vertex

GRAPH = {"fetch-src": [], "gcc": [], "app": ["gcc", "fetch-src"]}


def graph(workshop: Workshop = WORKSHOP) -> BuildGraph:
    """A graph of which everything is known."""
    bench = Bench(make_lock(GRAPH), {})
    bench.apply()
    known, _, _ = bench.survey()
    found = BuildGraph(bench.lock, workshop)
    for name in GRAPH:
        realisation = known.realisation(drv_path(name))
        assert realisation is not None
        found.realise(drv_path(name), realisation)
    return found


def cache_relevant(vertex: Vertex) -> tuple[object, ...]:
    """What BuildKit's cache key of a vertex is made of."""
    op = vertex.op
    inputs = [(cache_relevant(output.vertex), output.index) for output in vertex.inputs]
    del op.inputs[:]
    op.exec.meta.ClearField("proxy_env") if op.HasField("exec") else None
    if op.HasField("exec"):
        for host in op.exec.meta.extraHosts:
            host.IP = ""
        for mount in op.exec.mounts:
            mount.selector = ""
            mount.ClearField("cacheOpt")
    if op.HasField("source"):
        op.source.identifier = ""
    return op.SerializeToString(deterministic=True), inputs


@pytest.mark.parametrize("name", GRAPH)
def test_flavours_share_cache_keys(name: str) -> None:
    """A probe asks about the very step that runs."""
    known = graph()
    run, probe = (known.step(drv_path(name), flavour) for flavour in (Flavour.RUN, Flavour.PROBE))
    assert run.digest != probe.digest
    assert cache_relevant(run.root.vertex) == cache_relevant(probe.root.vertex)


@pytest.mark.parametrize("name", GRAPH)
def test_a_step_makes_one_snapshot(name: str) -> None:
    """BuildKit makes one for every folder that is written to, and each of them costs time."""
    op = graph().step(drv_path(name), Flavour.RUN).root.vertex.op
    written = [m.dest for m in op.exec.mounts if m.mountType == pb.BIND and not m.readonly]
    assert written == ["/"]


@pytest.mark.parametrize("name", GRAPH)
def test_every_exec_of_a_probe_is_one(name: str) -> None:
    """Nothing below a probe can run or be downloaded."""
    pending = [graph().step(drv_path(name), Flavour.PROBE).root.vertex]
    while pending:
        vertex = pending.pop()
        pending += [output.vertex for output in vertex.inputs]
        if vertex.op.HasField("exec"):
            gate = vertex.op.exec.mounts[0]
            assert (gate.dest, gate.cacheOpt.sharing) == (GATE, REFUSED_SHARING)
            assert [host.IP for host in vertex.op.exec.meta.extraHosts] == [PROBE_IP]
        if vertex.op.HasField("source"):
            assert vertex.op.source.identifier.startswith(REFUSED_URL)


SETTINGS = {
    "cores": WORKSHOP._replace(cores=3),
    "proxies": WORKSHOP._replace(proxy=Proxy(http="http://proxy:1")),
}


@pytest.mark.parametrize("workshop", SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_change_no_cache_key(workshop: Workshop) -> None:
    """Neither the step's name nor what BuildKit caches depends on settings."""
    step = drv_path("app")
    one, other = graph(), graph(workshop)
    assert one.step(step, Flavour.PROBE).digest == other.step(step, Flavour.PROBE).digest
    assert cache_relevant(one.step(step, Flavour.RUN).root.vertex) == cache_relevant(
        other.step(step, Flavour.RUN).root.vertex
    )


def test_steps_are_named_and_know_who_wants_them() -> None:
    """A vertex has its derivation's name and the first installable that needs it."""
    vertex = graph().step(drv_path("gcc"), Flavour.RUN).root.vertex
    assert vertex.name == "gcc"
    assert str(vertex.origin) == "images.image.installables[0]: ./default.nix#app"


def test_only_the_closure_is_mounted() -> None:
    """A build sees what its inputs refer to and nothing else."""
    op = graph().step(drv_path("app"), Flavour.RUN).root.vertex.op
    mounted = {mount.dest for mount in op.exec.mounts if mount.dest.startswith("/nix/store/")}
    assert mounted == {
        str(store_path("gcc")),
        str(store_path("fetch-src")),
        str(store_path("seed", kind="source")),
    }


def test_another_platform_is_refused() -> None:
    """A derivation is not run on a machine that cannot."""
    known = graph(WORKSHOP._replace(platform=LINUX_ARM64))
    with pytest.raises(UnsupportedDerivationError) as caught:
        known.step(drv_path("gcc"), Flavour.RUN)
    assert str(caught.value) == (
        "gcc: cannot build for 'x86_64-linux' on 'linux/arm64'\n"
        "  hint: name a builder of that platform with --builder"
    )


def test_run_and_probe_addresses() -> None:
    """Only the address of a probe does not parse."""
    assert (Flavour.RUN.value, Flavour.PROBE.value) == (RUN_IP, PROBE_IP)


def test_a_result_about_something_else_is_refused() -> None:
    """A builder cannot slip in another path."""
    known = BuildGraph(make_lock(GRAPH), WORKSHOP)
    with pytest.raises(Exception, match="the builder returned"):
        known.realise(drv_path("gcc"), Realisation({}))


ADDRESSES = {
    "nar": "fixed:r:sha256:" + "0" * 52,
    "flat": "fixed:sha256:" + "0" * 52,
    "text": "text:sha256:" + "0" * 52,
    "none": "",
}


@pytest.mark.parametrize(("method", "text"), ADDRESSES.items())
def test_content_addresses(method: str, text: str) -> None:
    """Content addresses are written as Nix writes them."""
    assert content_address(method, Hash(HashAlgorithm.SHA256, bytes(32))) == text
