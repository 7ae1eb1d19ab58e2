"""What a builder finds under real Nix is what nixbk would hand it."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from nixbk.nix.derivation import Derivation
from nixbk.nix.environment import BuildEnvironment, ReferenceInfo, build_environment
from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from real_nix import Nix

EXPRESSION: Final = Path(__file__).with_name("environment.nix")
BUILDS: Final = (
    "plain",
    "passed",
    "fixed",
    "graphs",
    "structured",
    "structuredGraphs",
)


@pytest.fixture(scope="module")
def derivations(nix: Nix) -> dict[str, Derivation]:
    """The derivations by attribute, all of them built."""
    arguments = ("--argstr", "seedPath", nix.minipkgs / "seed")
    nix.run("nix-build", "--no-out-link", EXPRESSION, *arguments)
    found = {}
    for name in BUILDS:
        (text,) = nix.words("nix-instantiate", EXPRESSION, "-A", name, *arguments)
        path = StorePath.parse(text.partition("!")[0])
        data = Path(str(path)).read_bytes()
        found[name] = Derivation.from_bytes(path.name.removesuffix(".drv"), data)
    return found


def _expected(drv: Derivation, nix: Nix) -> BuildEnvironment:
    @cache
    def info(path: StorePath) -> ReferenceInfo:
        command = ("nix", "path-info", "--json", "--json-format", "1", str(path))
        (facts,) = json.loads(nix.run(*command)).values()
        return ReferenceInfo(
            path=path,
            nar_hash=Hash.parse(facts["narHash"]),
            nar_size=facts["narSize"],
            references=tuple(map(StorePath.parse, facts["references"])),
            ca=facts["ca"] or "",
        )

    return build_environment(drv, graph=info)


def _environ(data: bytes) -> dict[str, str]:
    """The environment in a process's list, without what each machine sets anew."""
    pairs = [entry.partition(b"=") for entry in data.split(b"\0")[:-1]]
    return {name.decode(): value.decode() for name, _, value in pairs}


@pytest.mark.parametrize("name", [name for name in BUILDS if name != "fixed"])
def test_a_builder_finds_the_same(name: str, derivations: dict[str, Derivation], nix: Nix) -> None:
    """Environment, arguments and files are those that real Nix gave, byte for byte."""
    drv = derivations[name]
    expected = _expected(drv, nix)
    out = Path(drv.outputs["out"].path)
    environ = _environ((out / "environ").read_bytes())
    if "NIX_BUILD_CORES" not in expected.env:
        del environ["NIX_BUILD_CORES"]
    assert list(expected.env.items()) == sorted(environ.items())
    args = (out / "args").read_bytes().decode().split("\0")[1:-1]
    assert list(expected.args) == args
    files = {file.name: file.read_bytes().decode() for file in (out / "files").iterdir()}
    assert expected.files == files
    assert expected.impure_env == ()


def test_a_fixed_output_builder_finds_the_same(
    derivations: dict[str, Derivation], nix: Nix
) -> None:
    """A fixed-output build is told so, and inherits the variables it names."""
    drv = derivations["fixed"]
    expected = _expected(drv, nix)
    log = nix.run("nix-store", "--read-log", str(drv.path()))
    environ = _environ(base64.b64decode(log))
    del environ["NIX_BUILD_CORES"]
    assert expected.impure_env == ("NIXBK_TEST_ABSENT", "NIXBK_TEST_TOO")
    assert {**expected.env, **dict.fromkeys(expected.impure_env, "")} == environ
