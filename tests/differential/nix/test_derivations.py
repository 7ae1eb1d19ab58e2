"""Derivations are read, printed and hashed as real Nix does it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nix_values import names, output_names

from nixbk.nix import structured_attrs
from nixbk.nix.derivation import Derivation, DerivationError
from nixbk.nix.derivation_hash import DerivationHasher, load
from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from real_nix import Nix

GENERATED: Final = Path(__file__).with_name("generated.nix")
_RESERVED: Final = {
    *("__contentAddressed", "__impure", "__json", "__structuredAttrs", "__ignoreNulls"),
    *("args", "builder", "impureEnvVars", "inputs", "name", "outputs", "sources", "system"),
    *("outputHash", "outputHashAlgo", "outputHashMode", "exportReferencesGraph"),
}


def _shown(drv: Derivation) -> dict[str, Any]:
    """What `nix derivation show` says of a derivation, of what nixbk knows."""
    env = dict(drv.env)
    env.pop("__json", None)
    return {
        "args": list(drv.args),
        "builder": drv.builder,
        "env": env,
        "inputs": {
            "drvs": {path.basename: list(names) for path, names in drv.input_drvs.items()},
            "srcs": [path.basename for path in drv.input_srcs],
        },
        "name": drv.name,
        "outputs": sorted(drv.outputs),
        "structuredAttrs": drv.structured_attrs,
        "system": drv.system,
    }


def _simplified(shown: dict[str, Any]) -> dict[str, Any]:
    """The same of what real Nix printed."""
    drvs = {path: drv["outputs"] for path, drv in shown["inputs"]["drvs"].items()}
    return {
        **{key: shown[key] for key in ("args", "builder", "env", "name", "system")},
        "inputs": {"drvs": drvs, "srcs": shown["inputs"]["srcs"]},
        "outputs": sorted(shown["outputs"]),
        "structuredAttrs": shown.get("structuredAttrs"),
    }


def _check(nix: Nix, roots: list[str], *store: str) -> dict[StorePath, Derivation]:
    """Compare all that *roots* need with what real Nix says of it."""
    root = store[1] if store else ""
    graph = load(map(StorePath.parse, roots), lambda path: Path(f"{root}{path}").read_bytes())
    shown = json.loads(nix.run("nix", "derivation", "show", "-r", *store, *roots))
    expected = {path: _simplified(drv) for path, drv in shown["derivations"].items()}
    assert {path.basename: _shown(drv) for path, drv in graph.items()} == expected
    hasher = DerivationHasher(graph.__getitem__)
    for path, drv in graph.items():
        assert drv.path() == path
        rebuilt = Derivation(
            drv.name,
            drv.outputs,
            drv.input_drvs,
            drv.input_srcs,
            drv.system,
            drv.builder,
            drv.args,
            drv.env,
        )
        assert rebuilt.to_bytes() == drv.to_bytes()
        if drv.structured_attrs is not None:
            assert structured_attrs.dump(drv.structured_attrs) == drv.env["__json"]
        if drv.kind.has_known_paths:
            declared = {name: output.path for name, output in drv.outputs.items()}
            made = {name: str(made) for name, made in hasher.output_paths(drv).items()}
            assert made == declared
        else:
            with pytest.raises(DerivationError, match="known only after a build"):
                hasher.output_paths(drv)
    return graph


@pytest.mark.parametrize("floating", [False, True], ids=["input-addressed", "floating"])
def test_minipkgs(nix: Nix, floating: bool) -> None:
    """Every derivation of minipkgs: fields, path, outputs."""
    ca = ("--arg", "ca", "true") if floating else ()
    found = nix.words("nix-instantiate", nix.minipkgs / "default.nix", *ca)
    graph = _check(nix, sorted({path.partition("!")[0] for path in found}))
    assert len(graph) == 80


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_tricky = st.lists(
    st.sampled_from(['"', "\\", "\n", "\r", "\t", '("out","', "${", "é", "\x7f", "😀"]), max_size=6
).map("".join)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def _specifications(draw: st.DrawFn) -> list[dict[str, Any]]:
    specs: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["plain", "plain", "plain", "fixed", "structured", "floating"]))
        values = _text | _tricky
        env_names = _text.filter(lambda name: name not in _RESERVED)
        env = draw(
            st.dictionaries(env_names, _json if kind == "structured" else values, max_size=5)
        )
        outputs = ["out"]
        if kind != "fixed":
            outputs = draw(st.lists(output_names, min_size=1, max_size=3, unique=True))
        outputs = [name for name in outputs if name != "drv"] or ["out"]
        earlier = st.lists(st.integers(0, number - 1), max_size=4) if number else st.just([])
        deps = [(index, draw(st.sampled_from(specs[index]["outputs"]))) for index in draw(earlier)]
        specs.append(
            {
                "name": draw(names.filter(lambda name: not name.endswith(".drv"))),
                "env": {name: env[name] for name in env if name not in outputs},
                "args": draw(st.lists(values, max_size=3)),
                "outputs": outputs,
                "deps": deps,
                "sources": draw(st.lists(_text, max_size=2)),
                "fixed": {
                    "algorithm": draw(st.sampled_from(["md5", "sha1", "sha256", "sha512"])),
                    "mode": draw(st.sampled_from(["flat", "recursive"])),
                }
                if kind == "fixed"
                else None,
                "structured": kind == "structured",
                "floating": kind == "floating",
            }
        )
    return specs


@given(_specifications())
@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each step starts two processes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_generated_graphs(nix: Nix, specs: list[dict[str, Any]]) -> None:
    """Graphs of every kind of derivation, with strings and shapes that nobody would write."""
    with tempfile.TemporaryDirectory() as folder:
        specification = Path(folder) / "specification.json"
        specification.write_text(json.dumps(specs))
        store = ("--store", f"{folder}/store")
        found = nix.words(
            *("nix-instantiate", *store, GENERATED),
            *("--argstr", "specification", str(specification)),
        )
        roots = sorted({path.rpartition("/nix/store/")[2].partition("!")[0] for path in found})
        _check(nix, [f"/nix/store/{path}" for path in roots], *store)
        nix.run("chmod", "-R", "u+w", folder)
