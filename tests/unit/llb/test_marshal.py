from __future__ import annotations

import hashlib
import time
from itertools import permutations

from nixbk.llb.exec import ExtraHost, exec_
from nixbk.llb.file import Mkfile, file
from nixbk.llb.layers import merge
from nixbk.llb.marshal import Marshaller, capabilities, marshal, walk
from nixbk.llb.mounts import Mount
from nixbk.llb.origin import Origin, SourceFile
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.llb.vertex import Output
from nixbk.proto import ops_pb2 as pb

MANIFEST = SourceFile("nixbk.toml", b"[images.web]\n")
OTHER = SourceFile("other.toml", b"[images.other]\n")


def leaf(text: str, *, name: str = "", origin: Origin | None = None) -> Output:
    """A file system that differs by *text*."""
    return file(None, [Mkfile("/f", text.encode())], name=name or text, origin=origin)


def step(name: str, inputs: list[Output], *, address: str = "127.0.0.1") -> Output:
    """An exec over *inputs*."""
    mounts = [Mount(f"/in/{i:04}", output) for i, output in enumerate(inputs)]
    run = exec_(
        ["true"],
        mounts=[Mount("/", output=True), *mounts],
        extra_hosts=[ExtraHost("nixbk", address)],
        platform=LINUX_AMD64,
        name=name,
    )
    return run.root


def layered(outputs: list[Output]) -> Output:
    """A merge of two and more."""
    result = merge(outputs, name="merged")
    assert result is not None
    return result


def digests(definition: pb.Definition) -> list[str]:
    """Digest of each operation, in order."""
    return [f"sha256:{hashlib.sha256(d).hexdigest()}" for d in getattr(definition, "def")]


def test_a_definition_ends_in_the_operation_that_points_at_its_result() -> None:
    """Inputs come first, metadata is filed by digest, and the terminal comes last."""
    one, two = leaf("one"), leaf("two")
    result = layered([one, two])
    definition, size = marshal(result)
    expected = [one.vertex.digest, two.vertex.digest, result.vertex.digest]
    assert digests(definition)[:-1] == expected
    terminal = pb.Op.FromString(getattr(definition, "def")[-1])
    assert terminal == pb.Op(inputs=[pb.Input(digest=result.vertex.digest)])
    assert set(definition.metadata) == set(digests(definition))
    assert dict(definition.metadata[one.vertex.digest].description) == {"llb.customname": "one"}
    assert size == len(definition.SerializeToString())
    assert not definition.HasField("Source")


def test_a_capability_is_told_once_on_the_way_up() -> None:
    """A definition says all that BuildKit must have, and a chain says it at its beginning."""
    below = step("below", [leaf("leaf")])
    above = step("above", [below])
    definition, _ = marshal(above)
    told = {key: set(found.caps) for key, found in definition.metadata.items()}
    assert set().union(*told.values()) == capabilities(above)
    assert "exec.mount.bind" in told[below.vertex.digest]
    assert told[above.vertex.digest] == set()
    assert above.vertex.caps == below.vertex.caps


def test_nothing_has_an_empty_definition() -> None:
    """Scratch needs no operation."""
    assert marshal(None) == (pb.Definition(), 0)


def test_a_hundred_marshals_have_the_same_bytes() -> None:
    """However often, and whatever was built or marshalled before."""
    texts = ["a", "b", "c", "d"]
    found = set()
    for order in permutations(texts):
        made = {text: leaf(text) for text in order}
        marshaller = Marshaller()
        for text in order[:2]:
            marshaller.to_bytes(made[text])
        inner = step("inner", [made["a"], made["b"]])
        result = step("outer", [inner, made["c"], made["d"], inner])
        found |= {marshaller.to_bytes(result) for _ in range(5)}
    assert len(found) == 1


def test_one_operation_of_two_names_is_sent_once() -> None:
    """Metadata is no part of an operation; the least of the names is kept."""
    for names in (["x", "y"], ["y", "x"]):
        first, second = (leaf("same", name=name) for name in names)
        assert first.vertex != second.vertex
        definition, _ = marshal(step("s", [first, layered([second, leaf("z")])]))
        assert len(getattr(definition, "def")) == len(set(digests(definition))) == 5
        described = definition.metadata[first.vertex.digest].description["llb.customname"]
        assert described == "x"


def test_a_probe_differs_in_an_address_only() -> None:
    """The same call with an address that does not parse gives the probe."""
    op, probe = (step("s", [], address=a).vertex.op for a in ("127.0.0.1", "no address"))
    assert op != probe
    probe.exec.meta.extraHosts[0].IP = "127.0.0.1"
    assert op == probe


def test_capabilities_are_those_of_all_operations() -> None:
    """What BuildKit must be able to do for a result, ancestors included."""
    result = step("s", [layered([leaf("a"), leaf("b")])])
    assert capabilities(result) == {
        "constraints",
        "exec.meta.base",
        "exec.meta.network",
        "exec.mount.bind",
        "file.base",
        "mergeop",
        "meta.description",
        "platform",
    }


def test_origins_become_locations() -> None:
    """A step that fails is shown with the user's lines, and a file is sent once."""
    origins = [Origin("images.web", "hello", MANIFEST, 3), Origin("images.web", "", MANIFEST, 5, 7)]
    outputs = [leaf(str(i), origin=origin) for i, origin in enumerate(origins)]
    definition, _ = marshal(layered([*outputs, leaf("none", origin=Origin("images.x"))]))
    source = definition.Source
    assert [info.filename for info in source.infos] == ["nixbk.toml"]
    spans = {
        digest: [(r.start.line, r.end.line) for place in places.locations for r in place.ranges]
        for digest, places in source.locations.items()
    }
    assert spans == {outputs[0].vertex.digest: [(3, 3)], outputs[1].vertex.digest: [(5, 7)]}


def test_locations_in_two_files_point_at_their_own() -> None:
    """Each location has the number of its file."""
    web = leaf("web", origin=Origin("images.web", "", MANIFEST, 1))
    other = leaf("other", origin=Origin("images.other", "", OTHER, 2))
    source = marshal(layered([other, web]))[0].Source
    files = [info.filename for info in source.infos]
    assert files == ["nixbk.toml", "other.toml"]
    found = {d: files[p.locations[0].sourceIndex] for d, p in source.locations.items()}
    assert found == {web.vertex.digest: "nixbk.toml", other.vertex.digest: "other.toml"}


def test_origins_are_no_part_of_a_digest() -> None:
    """Two users of a step share its cache."""
    plain, located = leaf("a"), leaf("a", origin=Origin("images.web", "", MANIFEST, 1))
    assert plain.vertex.digest == located.vertex.digest
    assert plain.vertex != located.vertex


def test_a_chain_of_20_000_vertices_is_no_recursion() -> None:
    """Building, marshalling, comparing, printing and forgetting it."""
    tip = leaf("0")
    for i in range(20_000):
        tip = step(str(i), [tip])
    assert len(walk(tip)) == 20_001
    assert len(getattr(marshal(tip)[0], "def")) == 20_002
    assert repr(tip.vertex).startswith("<Vertex exec '19999' ")
    assert tip == Output(tip.vertex)


def test_one_definition_for_each_of_2_000_vertices_takes_seconds() -> None:
    """A marshaller that remembers what definitions share keeps them cheap."""
    steps: list[Output] = []
    for i in range(2_000):
        steps.append(step(str(i), steps[-3:]))
    marshaller = Marshaller()
    start = time.perf_counter()
    sizes = [len(marshaller.to_bytes(output)) for output in steps]
    assert time.perf_counter() - start < 20
    assert sizes == sorted(sizes)
    assert marshaller.to_bytes(steps[-1]) == Marshaller().to_bytes(steps[-1])
