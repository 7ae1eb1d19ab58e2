"""Whatever the graph, its definition is whole, in order, and the same every time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from nixbk.llb.exec import exec_
from nixbk.llb.marshal import Marshaller, marshal, walk
from nixbk.llb.mounts import Mount
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.llb.sources import http
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from nixbk.llb.vertex import Output


@dataclass(frozen=True)
class Shape:
    """A graph: for each node, in order, the earlier nodes that it needs."""

    needs: tuple[tuple[int, ...], ...]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Graphs of up to 30 nodes."""
    count = draw(st.integers(1, 30))
    nodes = [draw(st.lists(st.integers(0, i - 1), max_size=5)) if i else [] for i in range(count)]
    return Shape(tuple(tuple(dict.fromkeys(node)) for node in nodes))


def build(shape: Shape, order: list[int]) -> list[Output]:
    """The graph of *shape*, its nodes made in an order near *order*."""
    made: dict[int, Output] = {}

    def make(node: int) -> Output:
        if node not in made:
            inputs = [make(other) for other in shape.needs[node]]
            made[node] = _vertex(str(node), inputs)
        return made[node]

    for node in order:
        make(node)
    return [made[node] for node in range(len(shape.needs))]


def _vertex(name: str, inputs: list[Output]) -> Output:
    if not inputs:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return http(f"http://example.org/{name}", checksum=f"sha256:{digest}", name=name)
    mounts = [Mount(f"/in/{i}", output) for i, output in enumerate(inputs)]
    root = Mount("/", output=True)
    return exec_(["x", name], mounts=[root, *mounts], platform=LINUX_AMD64, name=name).root


@given(shapes(), st.data())
def test_the_order_of_construction_says_nothing(shape: Shape, data: st.DataObject) -> None:
    """The same bytes, whoever was made first and whatever was marshalled before."""
    nodes = list(range(len(shape.needs)))
    first = build(shape, nodes)
    second = build(shape, data.draw(st.permutations(nodes)))
    marshaller = Marshaller()
    for node in data.draw(st.lists(st.sampled_from(nodes))):
        marshaller.to_bytes(second[node])
    for one, other in zip(first, second, strict=True):
        assert Marshaller().to_bytes(one) == marshaller.to_bytes(other)


@given(shapes())
def test_a_definition_has_every_ancestor_once_and_first(shape: Shape) -> None:
    """Inputs before those that need them, nothing twice, and nothing else."""
    result = build(shape, list(reversed(range(len(shape.needs)))))[-1]
    definition, _ = marshal(result)
    seen: set[str] = set()
    for data in getattr(definition, "def"):
        op = pb.Op.FromString(data)
        assert {i.digest for i in op.inputs} <= seen
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert digest not in seen
        seen.add(digest)
    wanted, todo = set(), [result.vertex]
    while todo:
        vertex = todo.pop()
        wanted.add(vertex.digest)
        todo.extend(output.vertex for output in vertex.inputs)
    assert {vertex.digest for vertex in walk(result)} == wanted
    assert set(definition.metadata) == seen
    assert len(seen) == len(wanted) + 1
