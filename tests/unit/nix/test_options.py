from __future__ import annotations

import json

import pytest

from nixbk.nix.derivation import Derivation, DerivationError, DerivationOutput
from nixbk.nix.options import (
    DerivationOptions,
    OutputChecks,
    derivation_options,
    output_checks,
)
from nixbk.nix.store_path import StorePath

A = "/nix/store/00000000000000000000000000000000-a"
B = "/nix/store/11111111111111111111111111111111-b"
NOTHING = DerivationOptions(
    output_checks={},
    unsafe_discard_references=(),
    pass_as_file=frozenset(),
    export_references_graph={},
    impure_env_vars=(),
    required_system_features=(),
    no_chroot=False,
    prefer_local_build=False,
    allow_substitutes=True,
)


def _with_env(**env: str) -> Derivation:
    outputs = {"out": DerivationOutput(A), "dev": DerivationOutput(B)}
    return Derivation("x", outputs, {}, (), "s", "b", (), env)


def _with_attrs(**attrs: object) -> Derivation:
    return _with_env(__json=json.dumps(attrs))


@pytest.mark.parametrize("drv", [_with_env(), _with_attrs()], ids=["env", "attrs"])
def test_nothing_is_asked_by_default(drv: Derivation) -> None:
    """A plain derivation has the options that Nix takes for granted."""
    assert derivation_options(drv) == NOTHING


def test_options_in_the_environment() -> None:
    """Lists are words, flags are ``1``, and checks hold for every output."""
    checks = OutputChecks(
        allowed_references=(A, "out"),
        allowed_requisites=(),
        disallowed_references=(B,),
        disallowed_requisites=("dev",),
        ignore_self_refs=True,
    )
    drv = _with_env(
        allowedReferences=f"out\n{A} out\t",
        allowedRequisites="",
        disallowedReferences=f"/nix/./store/../store//{B[11:]}/",
        disallowedRequisites="dev",
        maxSize="1",
        passAsFile="b a b",
        exportReferencesGraph=f"two {B}/bin/x one {A}",
        impureEnvVars="http_proxy all_proxy",
        requiredSystemFeatures="kvm big-parallel",
        __noChroot="1",
        preferLocalBuild="1",
        allowSubstitutes="",
    )
    assert derivation_options(drv) == DerivationOptions(
        output_checks={"dev": checks, "out": checks},
        unsafe_discard_references=(),
        pass_as_file=frozenset({"a", "b"}),
        export_references_graph={
            "two": (StorePath.parse(B),),
            "one": (StorePath.parse(A),),
        },
        impure_env_vars=("all_proxy", "http_proxy"),
        required_system_features=("big-parallel", "kvm"),
        no_chroot=True,
        prefer_local_build=True,
        allow_substitutes=False,
    )
    assert output_checks(drv) == {"dev": checks, "out": checks}


def test_options_in_structured_attributes() -> None:
    """Lists and flags are JSON, and checks are given for each output."""
    drv = _with_attrs(
        outputChecks={
            "out": {"allowedReferences": ["out", A], "maxSize": 5, "maxClosureSize": 7.0},
            "dev": {},
            "doc": {"maxSize": 1},
        },
        allowedReferences=[],
        unsafeDiscardReferences={"out": True, "dev": False},
        passAsFile=["a"],
        exportReferencesGraph={"g": [B, [A, [A + "/bin"]]], "one": A},
        impureEnvVars=["b", "a"],
        requiredSystemFeatures=["kvm"],
        __noChroot=True,
        preferLocalBuild=True,
        allowSubstitutes=False,
    )
    checks = OutputChecks(allowed_references=(A, "out"), max_size_bytes=5, max_closure_size_bytes=7)
    assert derivation_options(drv) == DerivationOptions(
        output_checks={"out": checks},
        unsafe_discard_references=("out",),
        pass_as_file=frozenset(),
        export_references_graph={
            "g": (StorePath.parse(A), StorePath.parse(B)),
            "one": (StorePath.parse(A),),
        },
        impure_env_vars=("a", "b"),
        required_system_features=("kvm",),
        no_chroot=True,
        prefer_local_build=True,
        allow_substitutes=False,
    )
    assert output_checks(drv) == {"out": checks}


def test_a_structured_graph_that_is_no_object_is_ignored() -> None:
    """Nix warns and goes on."""
    assert derivation_options(_with_attrs(exportReferencesGraph=["g", A])) == NOTHING


BAD = {
    "odd graph": (
        _with_env(exportReferencesGraph="one"),
        "exportReferencesGraph has an odd number of words: 'one'",
    ),
    "graph name": (
        _with_env(exportReferencesGraph=f"../x {A}"),
        "exportReferencesGraph has the bad file name '../x'",
    ),
    "graph path": (
        _with_env(exportReferencesGraph="x /etc"),
        "the path '/etc' is not in the Nix store",
    ),
    "graph value": (
        _with_attrs(exportReferencesGraph={"g": [1]}),
        "exportReferencesGraph holds 1, no string or list",
    ),
    "checks": (
        _with_attrs(outputChecks=[]),
        "the structured attribute 'outputChecks' is no object",
    ),
    "check": (
        _with_attrs(outputChecks={"out": 1}),
        "the structured attribute 'outputChecks.out' is no object",
    ),
    "rule": (
        _with_attrs(outputChecks={"out": {"allowedReferences": "out"}}),
        "the structured attribute 'outputChecks.out.allowedReferences' is no list of strings",
    ),
    "size": (
        _with_attrs(outputChecks={"out": {"maxSize": -1}}),
        "the structured attribute 'outputChecks.out.maxSize' is no size in bytes",
    ),
    "size in words": (
        _with_attrs(outputChecks={"out": {"maxSize": "1G"}}),
        "the structured attribute 'outputChecks.out.maxSize' is no size in bytes",
    ),
    "flag": (
        _with_attrs(preferLocalBuild="1"),
        "the structured attribute 'preferLocalBuild' is neither true nor false",
    ),
}


@pytest.mark.parametrize(("drv", "message"), BAD.values(), ids=BAD)
def test_options_of_a_wrong_shape_are_refused(drv: Derivation, message: str) -> None:
    """The option at fault is named."""
    with pytest.raises(DerivationError) as caught:
        derivation_options(drv)
    assert str(caught.value) == message
