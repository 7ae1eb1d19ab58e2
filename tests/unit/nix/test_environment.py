from __future__ import annotations

import json

import pytest

from nixbk.nix.derivation import Derivation, DerivationError, DerivationOutput
from nixbk.nix.environment import (
    BuildEnvironment,
    ReferenceInfo,
    build_environment,
    placeholder,
)
from nixbk.nix.hashes import Hash
from nixbk.nix.reference_graph import exported, graph_json, validity_registration
from nixbk.nix.store_path import StorePath

OUT = "/nix/store/00000000000000000000000000000000-x"
DEV = "/nix/store/11111111111111111111111111111111-x-dev"
# `builtins.placeholder "out"` of Nix 2.34.8
OUT_PLACEHOLDER = "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"
BASE = {
    "HOME": "/homeless-shelter",
    "NIX_BUILD_TOP": "/build",
    "NIX_LOG_FD": "2",
    "NIX_STORE": "/nix/store",
    "PATH": "/path-not-set",
    "PWD": "/build",
    "TEMP": "/build",
    "TEMPDIR": "/build",
    "TERM": "xterm-256color",
    "TMP": "/build",
    "TMPDIR": "/build",
}


def _derivation(env: dict[str, str], *args: str) -> Derivation:
    outputs = {"out": DerivationOutput(OUT), "dev": DerivationOutput(DEV)}
    return Derivation("x", outputs, {}, (), "s", "/bin/sh", args, env)


def _no_graph(path: StorePath) -> ReferenceInfo:
    message = f"{path} was asked for"
    raise AssertionError(message)


def _sorted(env: dict[str, str]) -> dict[str, str]:
    return {name: env[name] for name in sorted(env)}


def test_the_placeholder_is_nixs() -> None:
    """An output that is not known yet goes by the name Nix gives it."""
    assert placeholder("out") == OUT_PLACEHOLDER


def test_the_derivations_variables_join_nixs_own() -> None:
    """Some variables give way to the derivation's, and some do not."""
    drv = _derivation(
        {"PATH": "/p", "HOME": "/h", "NIX_STORE": "/s", "TMP": "/t", "a": "b", "TERM": "x"}
    )
    assert build_environment(drv, graph=_no_graph) == BuildEnvironment(
        builder="/bin/sh",
        args=(),
        env=_sorted({**BASE, "PATH": "/p", "HOME": "/h", "NIX_STORE": "/s", "a": "b"}),
        files={},
        impure_env=(),
    )


def test_placeholders_are_replaced_everywhere() -> None:
    """Arguments, variables and files say the output paths."""
    text = f"{OUT_PLACEHOLDER}/bin:{placeholder('dev')}"
    made = build_environment(
        _derivation({"a": text, "f": text, "passAsFile": "f"}, text), graph=_no_graph
    )
    expected = f"{OUT}/bin:{DEV}"
    (file_name,) = made.files
    assert (made.args, made.env["a"], made.files[file_name]) == (
        (expected,),
        expected,
        expected,
    )


def test_pass_as_file() -> None:
    """A variable becomes a file named after its hash, and a variable that says where."""
    made = build_environment(
        _derivation({"big": "text", "passAsFile": "big absent"}), graph=_no_graph
    )
    # `nix hash convert --hash-algo sha256 --to nix32` of the SHA-256 of "big"
    name = ".attr-1lak0mvllw8rv9i9ygkglvhqsq19qi9ynl4bi7gbf69ab5nzw89a"
    assert made.files == {name: "text"}
    assert made.env == _sorted({**BASE, "bigPath": f"/build/{name}", "passAsFile": "big absent"})


def test_fixed_output_builds_are_told_so() -> None:
    """They get ``NIX_OUTPUT_CHECKED`` and inherit what they name."""
    path = "/nix/store/4iq0mcxymblzl1gqy5qv51ncqb170c63-f"
    output = DerivationOutput(path, "sha256", Hash.of(b"abc").base16())
    env = {"impureEnvVars": "http_proxy", "out": path}
    drv = Derivation("f", {"out": output}, {}, (), "s", "b", (), env)
    made = build_environment(drv, graph=_no_graph)
    assert made.env == _sorted({**BASE, **env, "NIX_OUTPUT_CHECKED": "1"})
    assert made.impure_env == ("http_proxy",)


def test_structured_attributes_replace_the_variables() -> None:
    """Only two files are told, one as JSON and one as shell."""
    attrs = {"name": "x", "outputs": ["out", "dev"], "p": OUT_PLACEHOLDER}
    made = build_environment(
        _derivation({"__json": json.dumps(attrs), "out": OUT, "dev": DEV}), graph=_no_graph
    )
    assert made.env == _sorted(
        {
            **BASE,
            "NIX_ATTRS_JSON_FILE": "/build/.attrs.json",
            "NIX_ATTRS_SH_FILE": "/build/.attrs.sh",
        }
    )
    assert made.files == {
        ".attrs.json": f'{{"name":"x","outputs":{{"dev":"{DEV}","out":"{OUT}"}},"p":"{OUT}"}}',
        ".attrs.sh": (
            "declare name='x'\n"
            f"declare -A outputs=(['dev']='{DEV}' ['out']='{OUT}' )\n"
            f"declare p='{OUT}'\n"
        ),
    }


@pytest.mark.parametrize("kind", ["floating", "impure", "deferred"])
def test_a_builder_is_told_where_to_build(kind: str) -> None:
    """A builder cannot be told where to build what has no path yet."""
    fields = {"floating": ("", "r:sha256", ""), "impure": ("", "r:sha256", "impure")}
    output = DerivationOutput(*fields.get(kind, ("", "", "")))
    drv = Derivation("x", {"out": output}, {}, (), "s", "b", (), {})
    with pytest.raises(DerivationError) as caught:
        build_environment(drv, graph=_no_graph)
    assert str(caught.value) == f"the output paths of the {kind} derivation 'x' are not known yet"


A, B, C, D = (
    StorePath.parse(f"/nix/store/{digit * 32}-{name}")
    for digit, name in (("3", "a"), ("2", "b"), ("1", "c"), ("0", "d.drv"))
)
ZERO = Hash.parse("sha256:" + "0" * 64)
INFOS = {
    A: ReferenceInfo(A, ZERO, 1, (B, A)),
    B: ReferenceInfo(B, ZERO, 10, (C,)),
    C: ReferenceInfo(C, ZERO, 100, (), ca="text:sha256:" + "0" * 52),
    D: ReferenceInfo(D, ZERO, 1000, (C,), outputs=(B,)),
}


def test_graphs_in_the_classic_form() -> None:
    """The closure is told path by path, in the order of the paths."""
    drv = _derivation({"exportReferencesGraph": f"g {A}"})
    made = build_environment(drv, graph=INFOS.__getitem__)
    assert made.files == {"g": f"{C}\n\n0\n{B}\n\n1\n{C}\n{A}\n\n2\n{B}\n{A}\n"}


def test_graphs_in_the_structured_form() -> None:
    """Each path is told with its size and its closure's."""
    zeros = "sha256:" + "0" * 52
    assert graph_json(exported([A], INFOS.__getitem__)) == [
        {
            "ca": INFOS[C].ca,
            "closureSize": 100,
            "narHash": zeros,
            "narSize": 100,
            "path": str(C),
            "references": [],
            "valid": True,
        },
        {
            "closureSize": 110,
            "narHash": zeros,
            "narSize": 10,
            "path": str(B),
            "references": [str(C)],
            "valid": True,
        },
        {
            "closureSize": 111,
            "narHash": zeros,
            "narSize": 1,
            "path": str(A),
            "references": [str(B), str(A)],
            "valid": True,
        },
    ]


def test_a_structured_graph_replaces_an_attribute() -> None:
    """It is told under its name, beside what asked for it."""
    attrs = {"exportReferencesGraph": {"g": [str(C)]}, "g": 1}
    made = build_environment(_derivation({"__json": json.dumps(attrs)}), graph=INFOS.__getitem__)
    told = json.loads(made.files[".attrs.json"])
    assert told["g"] == graph_json({C: INFOS[C]})
    assert told["exportReferencesGraph"] == {"g": [str(C)]}


def test_the_outputs_of_derivations_are_exported_too() -> None:
    """A graph with a derivation in it holds what the derivation makes."""
    assert list(exported([D], INFOS.__getitem__)) == [D, C, B]


def test_a_long_chain_is_exported_without_recursion() -> None:
    """Depth costs no stack."""
    paths = [StorePath(number.to_bytes(20, "little"), "x") for number in range(3_000)]
    infos = {
        path: ReferenceInfo(path, ZERO, 1, tuple(paths[number + 1 : number + 3]))
        for number, path in enumerate(paths)
    }
    found = exported([paths[0]], infos.__getitem__)
    assert len(validity_registration(found).splitlines()) == 3 * 3_000 + 2 * 3_000 - 3
    assert graph_json(found)[0]["closureSize"] == 3_000
