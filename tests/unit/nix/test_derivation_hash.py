from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest

from nixbk.nix.derivation import Derivation, DerivationError, DerivationOutput
from nixbk.nix.derivation_hash import DerivationHasher, load, verify
from nixbk.nix.store_path import StorePath

GRAPH: Final = Path(__file__).with_name("graph")
APP = StorePath.from_basename("f7p6xc49nc3k0ccdh6sv86g63811r2gi-app.drv")
LIB = StorePath.from_basename("fzrzv2iy7fjsbzidq5blp77gq6wgvl7j-lib.drv")
ONE = StorePath.from_basename("pvs8xn173avf35dcnq85hzx2b0b6pw5y-f.drv")
TWO = StorePath.from_basename("mcydzdhdjnbyxbfg56yk23a3i9y983hc-f.drv")
UNKNOWN = DerivationOutput("/nix/store/" + "0" * 32 + "-x")


def _read(path: StorePath) -> bytes:
    return (GRAPH / path.basename).read_bytes()


def _none(path: StorePath) -> Derivation:
    message = f"{path} was looked up"
    raise AssertionError(message)


def _derivation(name: str, output: DerivationOutput = UNKNOWN, *inputs: StorePath) -> Derivation:
    return Derivation(
        name=name,
        outputs={"out": output},
        input_drvs=dict.fromkeys(inputs, ("out",)),
        input_srcs=(),
        system="s",
        builder="b",
        args=(),
        env={"out": output.path},
    )


def _right(drv: Derivation, hasher: DerivationHasher) -> Derivation:
    """The derivation with the output path that is its own."""
    return _derivation(
        drv.name, DerivationOutput(str(hasher.output_paths(drv)["out"])), *drv.input_drvs
    )


def test_a_graph_of_real_nix_is_loaded_and_proven() -> None:
    """Every derivation hashes to its path and declares the outputs that follow from it."""
    graph = load([APP, LIB], _read)
    assert list(graph) == [ONE, LIB, TWO, APP]
    assert [drv.name for drv in graph.values()] == ["f", "lib", "f", "app"]
    hasher = DerivationHasher(graph.__getitem__)
    for drv in graph.values():
        declared = {name: output.path for name, output in drv.outputs.items()}
        assert {n: str(p) for n, p in hasher.output_paths(drv).items()} == declared
        hasher.check(drv)
    assert hasher.identity(ONE) == hasher.identity(TWO)
    assert hasher.hashes(LIB).outputs == {"out", "dev"}


def test_each_derivation_is_asked_for_as_little_as_can_be() -> None:
    """The file of a shared input is read once, and it is looked up twice at most."""
    read: list[StorePath] = []
    looked_up: list[StorePath] = []

    def counted_read(path: StorePath) -> bytes:
        read.append(path)
        return _read(path)

    def counted_lookup(path: StorePath) -> Derivation:
        looked_up.append(path)
        return graph[path]

    graph = load([APP], counted_read)
    assert sorted(read) == sorted([APP, LIB, ONE, TWO])
    DerivationHasher(counted_lookup).hashes(APP)
    assert max(looked_up.count(path) for path in graph) == 2


def test_a_changed_derivation_is_refused() -> None:
    """One changed byte is another derivation."""
    data = _read(APP).replace(b'"app"', b'"apq"')
    with pytest.raises(DerivationError) as caught:
        verify(APP, data)
    actual = Derivation.from_bytes("app", data).path()
    assert str(caught.value) == (
        f"{APP}: the derivation hashes to {str(actual)!r}\n"
        "  hint: it was changed after it was made; lock again"
    )


def test_only_derivations_are_derivations() -> None:
    """A path that does not end in ``.drv`` cannot be one."""
    source = StorePath.from_basename("5va17xhfg209myrwaagscssdf07vy8gv-e")
    with pytest.raises(DerivationError) as caught:
        verify(source, b"e")
    assert str(caught.value) == f"{str(source)!r} is no derivation"


def test_a_wrong_output_path_is_refused() -> None:
    """A derivation that is at its path but lies about its output is refused."""
    liar = _derivation("liar")
    right = DerivationHasher(_none).output_paths(liar)["out"]
    message = f"the output 'out' has the path {UNKNOWN.path!r}, but should have {str(right)!r}"
    with pytest.raises(DerivationError) as caught:
        load([liar.path()], lambda _: liar.to_bytes())
    assert str(caught.value) == f"{liar.path()}: {message}"
    with pytest.raises(DerivationError) as caught:
        DerivationHasher(_none).check(liar)
    assert str(caught.value) == message


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
FIXED = DerivationOutput("/nix/store/4iq0mcxymblzl1gqy5qv51ncqb170c63-f", "sha256", ABC)
FIXED_CHECKS: dict[str, tuple[str, dict[str, str], str | None]] = {
    "right": ("f", {"out": FIXED.path}, None),
    "wrong path": (
        "g",
        {"out": "/nix/store/5jcwhz6dwhx4k7ydad080kwwvr7c6wn2-g"},
        (
            "the output 'out' has the path '/nix/store/4iq0mcxymblzl1gqy5qv51ncqb170c63-f',"
            " but should have '/nix/store/5jcwhz6dwhx4k7ydad080kwwvr7c6wn2-g'"
        ),
    ),
    "no variable": (
        "f",
        {},
        f"the environment variable 'out' is not set, but should be {FIXED.path!r}",
    ),
    "wrong variable": (
        "f",
        {"out": ""},
        f"the environment variable 'out' is '', but should be {FIXED.path!r}",
    ),
}


@pytest.mark.parametrize(("name", "env", "message"), FIXED_CHECKS.values(), ids=FIXED_CHECKS)
def test_fixed_outputs_are_checked(name: str, env: dict[str, str], message: str | None) -> None:
    """The path of a fixed output and its variable follow from the hash."""
    drv = Derivation(name, {"out": FIXED}, {}, (), "builtin", "b", (), env)
    hasher = DerivationHasher(_none)
    if message is None:
        hasher.check(drv)
        return
    with pytest.raises(DerivationError) as caught:
        hasher.check(drv)
    assert str(caught.value) == message


FLOATING = {
    "floating": DerivationOutput("", "r:sha256", ""),
    "impure": DerivationOutput("", "r:sha256", "impure"),
}


@pytest.mark.parametrize(("kind", "output"), FLOATING.items(), ids=FLOATING)
def test_paths_that_float_cannot_be_told(kind: str, output: DerivationOutput) -> None:
    """What floats is loaded and proven; only its output paths cannot be had."""
    drv = _derivation("x", output)
    path = drv.path()
    graph = load([path], lambda _: drv.to_bytes())
    assert graph == {path: drv}
    hasher = DerivationHasher(graph.__getitem__)
    assert hasher.identity(path) is None
    with pytest.raises(DerivationError) as caught:
        hasher.output_paths(drv)
    assert str(caught.value) == (
        f"the output paths of the {kind} derivation 'x' are known only after a build"
    )


def test_what_needs_a_floating_input_is_deferred() -> None:
    """The outputs of a derivation with a floating input can neither be told nor claimed."""
    floating = _derivation("x", FLOATING["floating"])
    graph = {floating.path(): floating}
    hasher = DerivationHasher(graph.__getitem__)
    deferred = _derivation("y", DerivationOutput(), floating.path())
    hasher.check(deferred)
    with pytest.raises(DerivationError) as caught:
        hasher.output_paths(deferred)
    assert str(caught.value) == (
        "the derivation 'y' depends on outputs whose paths are known only after a build"
    )
    graph[deferred.path()] = deferred
    assert hasher.identity(deferred.path()) is None
    with pytest.raises(DerivationError) as caught:
        hasher.check(_derivation("z", UNKNOWN, deferred.path()))
    assert str(caught.value) == (
        f"the output 'out' has the path {UNKNOWN.path!r},"
        " which cannot be known before the inputs are built"
    )


def test_a_path_that_could_be_told_must_be() -> None:
    """Without a floating input there is no reason to defer an output."""
    drv = _derivation("x", DerivationOutput())
    right = DerivationHasher(_none).output_paths(drv)["out"]
    with pytest.raises(DerivationError) as caught:
        DerivationHasher(_none).check(drv)
    assert str(caught.value) == f"the output 'out' has the path '', but should have {str(right)!r}"


def test_an_output_that_an_input_lacks_is_refused() -> None:
    """An input can only be asked for the outputs it has."""
    graph = load([ONE], _read)
    drv = Derivation("x", {"out": UNKNOWN}, {ONE: ("doc",)}, (), "s", "b", (), {})
    with pytest.raises(DerivationError) as caught:
        DerivationHasher(graph.__getitem__).output_paths(drv)
    assert str(caught.value) == f"'x' needs the output 'doc' of {str(ONE)!r}, which has none"


def test_a_circle_is_refused() -> None:
    """A lookup that leads in a circle does not lead to a hang."""
    a, b = (StorePath(bytes(20), f"{name}.drv") for name in "ab")
    graph = {a: _derivation("a", UNKNOWN, b), b: _derivation("b", UNKNOWN, a)}
    with pytest.raises(DerivationError, match=r"\.drv: the derivation depends on itself$"):
        DerivationHasher(graph.__getitem__).hashes(a)


def test_depth_costs_no_stack_and_sharing_no_time() -> None:
    """A chain of 3,000 derivations, each needed by the next two, is hashed in linear time."""
    graph: dict[StorePath, Derivation] = {}
    hasher = DerivationHasher(graph.__getitem__)
    below: tuple[StorePath, ...] = ()
    for number in range(3_000):
        drv = _right(_derivation(f"n{number}", UNKNOWN, *below), hasher)
        path = drv.path()
        graph[path] = drv
        below = (*below[-1:], path)
    start = time.process_time()
    loaded = load([below[-1]], lambda path: graph[path].to_bytes())
    fresh = DerivationHasher(graph.__getitem__)
    fresh.hashes(below[-1])
    assert loaded == graph
    assert time.process_time() - start < 10


def test_an_output_variable_with_another_value_is_masked() -> None:
    """The variable named after an output is left out of the hash, whatever it holds."""
    hasher = DerivationHasher(_none)
    values = ["", "x", 'a "quoted"\nvalue\\', "é"]
    drvs = [
        Derivation("x", {"out": UNKNOWN}, {}, (), "s", "b", (), {"out": value, "z": '("out","'})
        for value in values
    ]
    assert len({hasher.output_paths(drv)["out"] for drv in drvs}) == 1
    assert len({drv.path() for drv in drvs}) == len(values)
