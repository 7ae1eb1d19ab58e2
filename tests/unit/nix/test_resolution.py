"""Resolved derivations are Nix's; the constants are from Nix 2.34.8."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nixbk.nix.derivation import (
    Derivation,
    DerivationError,
    DerivationKind,
    DerivationOutput,
)
from nixbk.nix.derivation_hash import DerivationHasher
from nixbk.nix.environment import placeholder
from nixbk.nix.resolution import (
    downstream_placeholder,
    has_placeholder,
    resolve,
    scratch_paths,
    should_resolve,
)
from nixbk.nix.store_path import StorePath

FLOAT = StorePath.parse("/nix/store/72x0g7v819pr09j7prmd2ws9shnm7hll-float.drv")
OUT = "/17mx6qx26wvdmgk3ih631gyffdsh0q0p6jcixnp7r9cpp9s7pmvw"
DEV = "/1pn962q954fgl8a0mfzhf3ziv4a1cqm6yqx0a6gp487qk125ipkm"
BUILT = {
    "out": StorePath.parse("/nix/store/00000000000000000000000000000000-float"),
    "dev": StorePath.parse("/nix/store/11111111111111111111111111111111-float-dev"),
}
OUTPUTS = {
    "floating": DerivationOutput("", "r:sha256", ""),
    "impure": DerivationOutput("", "r:sha256", "impure"),
    "deferred": DerivationOutput(),
    "fixed": DerivationOutput(
        "/nix/store/22222222222222222222222222222222-later", "r:sha256", "0" * 64
    ),
}


def built(drv: StorePath, name: str) -> StorePath:
    """What the input came out as."""
    assert drv == FLOAT
    return BUILT[name]


def later(kind: str = "deferred", **env: str) -> Derivation:
    """A derivation that uses both outputs of a floating one."""
    return Derivation(
        "later",
        {"out": OUTPUTS[kind]},
        {FLOAT: ("dev", "out")},
        (),
        "s",
        f"{OUT}/bin/sh",
        (f"{DEV}/x",),
        {"out": "", **env},
    )


def test_placeholders() -> None:
    """What stands for an output of another derivation is what Nix writes."""
    assert downstream_placeholder(FLOAT, "out") == OUT
    assert downstream_placeholder(FLOAT, "dev") == DEV


SCRATCH = {
    "f9lrpcb9ghmmdc7jy69cd6zxmngdbhyd-scratchy": (
        "xhspzq1za7f8aipj2k78q28812bh1n31-scratchy",
        "qwvvvrjxk1yjjpr92qn13ns1nim4p0ig-scratchy-dev",
    ),
    "gsq9p7nxqq52g698k1hrrx25x2ak77jj-scratchier": (
        "8l03v3r7pgvjd6jw5h7nj42s7nwsy6sn-scratchier",
        "kfha95s89bjqqfiq3wn1vxgawam7wbmr-scratchier-dev",
    ),
}


@pytest.mark.parametrize(("drv", "paths"), SCRATCH.items())
def test_scratch_paths(drv: str, paths: tuple[str, str]) -> None:
    """A builder sees its floating outputs where Nix's builders see them."""
    path = StorePath.from_basename(f"{drv}.drv")
    floating = dict.fromkeys(("out", "dev"), OUTPUTS["floating"])
    recipe = Derivation(path.name[: -len(".drv")], floating, {}, (), "s", "/b", (), {})
    found = scratch_paths(recipe, path)
    assert (found["out"].basename, found["dev"].basename) == paths


NEEDS = {"floating": True, "impure": True, "deferred": True, "fixed": True}


@pytest.mark.parametrize(("kind", "needed"), NEEDS.items())
def test_what_is_resolved(kind: str, needed: bool) -> None:
    """Whatever has inputs, but for what is addressed by them."""
    assert should_resolve(later(kind)) is needed
    assert not should_resolve(replace(later(kind), input_drvs={}))


@pytest.mark.parametrize("kind", OUTPUTS)
def test_paths_take_their_places(kind: str) -> None:
    """Builder, arguments, and both names and values of variables."""
    resolved = resolve(later(kind, **{OUT: DEV, "a": f"{OUT}:{DEV}"}), built)
    assert resolved.input_drvs == {}
    assert resolved.input_srcs == tuple(sorted(BUILT.values()))
    assert resolved.builder == f"{BUILT['out']}/bin/sh"
    assert resolved.args == (f"{BUILT['dev']}/x",)
    assert resolved.env[str(BUILT["out"])] == str(BUILT["dev"])
    assert resolved.env["a"] == f"{BUILT['out']}:{BUILT['dev']}"


def test_own_placeholders_stay() -> None:
    """A floating derivation does not know its own paths, resolved or not."""
    own = placeholder("out")
    resolved = resolve(later("floating", out=own), built)
    assert resolved.env["out"] == own
    assert resolved.kind is DerivationKind.FLOATING


def test_deferred_outputs_are_found() -> None:
    """What waited for its inputs gets paths that follow from the resolved recipe."""
    resolved = resolve(later(), built)
    assert resolved.kind is DerivationKind.INPUT_ADDRESSED
    path = resolved.outputs["out"].path
    assert resolved.env["out"] == path
    nothing: dict[StorePath, Derivation] = {}
    DerivationHasher(nothing.__getitem__).check(resolved)
    other = {**BUILT, "dev": BUILT["out"]}
    assert resolve(later(), lambda _, name: other[name]).outputs["out"].path != path


def test_structured_attributes() -> None:
    """They are printed anew, as Nix does."""
    attrs = f'{{"list":["{OUT}","{DEV}/x",1.5],"{OUT}":{{}}}}'
    resolved = resolve(later(__json=attrs), built)
    assert resolved.env["__json"] == (
        f'{{"{BUILT["out"]}":{{}},"list":["{BUILT["out"]}","{BUILT["dev"]}/x",1.5]}}'
    )


def test_recipes_that_do_not_know_a_path() -> None:
    """A recipe has a placeholder where it does not; outputs that nobody asks about do not count."""
    recipe = later("fixed")
    assert has_placeholder(recipe, {(FLOAT, "out")})
    assert has_placeholder(recipe, {(FLOAT, "dev")})
    assert not has_placeholder(recipe, {(FLOAT, "doc")})
    plain = replace(recipe, builder="/bin/sh", args=(), env={"out": ""})
    assert not has_placeholder(plain, {(FLOAT, "out"), (FLOAT, "dev")})
    assert has_placeholder(replace(plain, env={"x": f"a {OUT}/b"}), {(FLOAT, "out")})


def test_without_inputs_nothing_changes() -> None:
    """A floating derivation of sources alone is its own resolved one."""
    drv = replace(later("floating"), input_drvs={}, input_srcs=(BUILT["out"],))
    assert resolve(drv, built) == drv


DYNAMIC = (
    'DrvWithVersion("xp-dyn-drv",[("out","","","")],'
    '[("/nix/store/nrmkg96fmkcmpplmwch0b25g8n2b4lja-inner.drv.drv",([],[("out",["out"])]))],'
    '["/nix/store/pnyggrfc1lc8pxdg1ic6k2vl8q57r4jv-test-seed"],"s","/b",[],'
    '[("dyn","/1mkndzazfl94ww0hnw3nwggp07k541lcdzc6v71mcg6swc2zwpfb"),("out","")])'
)
NESTED = (
    'DrvWithVersion("xp-dyn-drv",[("out","","","")],'
    '[("/nix/store/00000000000000000000000000000000-a.drv",["out"]),'
    '("/nix/store/11111111111111111111111111111111-b.drv",'
    '(["dev"],[("dev",["out"]),("out",([],[("dev",["out"]),("out",["dev","out"])]))]))],'
    '[],"s","/b",[],[("out","")])'
)


def test_dynamic_inputs_are_found() -> None:
    """An output of a derivation that another one makes takes its place as well."""
    drv = Derivation.from_bytes("user", DYNAMIC.encode())
    assert drv.to_bytes() == DYNAMIC.encode()
    (need,) = drv.dynamic
    assert (need.chain, need.output) == (("out",), "out")
    assert drv.input_drvs == {need.path: ()}
    resolved = resolve(drv, built, lambda *_: FLOAT)
    assert resolved.env["dyn"] == str(BUILT["out"])
    assert BUILT["out"] in resolved.input_srcs
    assert need.path not in resolved.input_srcs
    assert resolved.dynamic == ()
    with pytest.raises(DerivationError, match="dynamic inputs"):
        resolve(drv, built)


def test_dynamic_inputs_may_be_deep() -> None:
    """Derivations may make what makes derivations, beside ordinary inputs."""
    drv = Derivation.from_bytes("user", NESTED.encode())
    first, second = drv.input_drvs
    assert drv.input_drvs == {first: ("out",), second: ("dev",)}
    assert [(need.path, need.chain, need.output) for need in drv.dynamic] == [
        (second, ("dev",), "out"),
        (second, ("out", "dev"), "out"),
        (second, ("out", "out"), "dev"),
        (second, ("out", "out"), "out"),
    ]


MALFORMED = {
    "nothing wanted": "([],[])",
    "no names at the end": '([],[("out",[])])',
    "not sorted": '([],[("out",["out"]),("dev",["out"])])',
    "twice": '([],[("out",["out"]),("out",["out"])])',
    "too deep": '([],[("out",' * 50 + '["out"]' + ")])" * 50,
}


@pytest.mark.parametrize("wanted", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_dynamic_inputs(wanted: str) -> None:
    """Only what Nix prints is read."""
    text = DYNAMIC.replace('([],[("out",["out"])])', wanted)
    with pytest.raises(DerivationError):
        Derivation.from_bytes("user", text.encode())
