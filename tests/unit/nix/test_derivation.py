from __future__ import annotations

import pytest

from nixbk.nix.derivation import Derivation, DerivationError, DerivationKind, DerivationOutput
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.store_path import StorePath

A = "/nix/store/00000000000000000000000000000000-a"
B = "/nix/store/11111111111111111111111111111111-b"
A_DRV, B_DRV = A + ".drv", B + ".drv"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

# From `nix-instantiate` of Nix 2.34.8: derivation { name = "x"; system = "x86_64-linux";
# builder = "/bin/sh"; v = "a\"\\\n\t\r$"; args = [ "-c" "échø" ]; outputs = [ "out" "dev" ]; }
TWO_OUTPUTS = (
    r'Derive([("dev","/nix/store/9ng77b36ivfcsa7cslc3kpybxz37kyhy-x-dev","",""),'
    r'("out","/nix/store/szfz9bbyq3rvvginsii7snry9mf0mxdf-x","","")],[],[],"x86_64-linux",'
    r'"/bin/sh",["-c","échø"],[("builder","/bin/sh"),'
    r'("dev","/nix/store/9ng77b36ivfcsa7cslc3kpybxz37kyhy-x-dev"),("name","x"),'
    r'("out","/nix/store/szfz9bbyq3rvvginsii7snry9mf0mxdf-x"),("outputs","out dev"),'
    r'("system","x86_64-linux"),("v","a\"\\\n\t\r$")])'
).encode()

SMALL = f'Derive([("out","{A}","","")],[],[],"s","b",[],[])'


def test_every_field_is_read() -> None:
    """A derivation that Nix wrote is read to the last character, and found at its path."""
    drv = Derivation.from_bytes("x", TWO_OUTPUTS)
    dev = "/nix/store/9ng77b36ivfcsa7cslc3kpybxz37kyhy-x-dev"
    out = "/nix/store/szfz9bbyq3rvvginsii7snry9mf0mxdf-x"
    assert drv == Derivation(
        name="x",
        outputs={"out": DerivationOutput(out), "dev": DerivationOutput(dev)},
        input_drvs={},
        input_srcs=(),
        system="x86_64-linux",
        builder="/bin/sh",
        args=("-c", "échø"),
        env={
            "v": 'a"\\\n\t\r$',
            "system": "x86_64-linux",
            "outputs": "out dev",
            "out": out,
            "name": "x",
            "dev": dev,
            "builder": "/bin/sh",
        },
    )
    assert list(drv.env) == ["builder", "dev", "name", "out", "outputs", "system", "v"]
    assert str(drv.path()) == "/nix/store/6vgrn4irgqd0x51szv2rhq1gnnkbnkd0-x.drv"
    assert (drv.kind, drv.is_builtin) == (DerivationKind.INPUT_ADDRESSED, False)


def test_a_built_derivation_prints_as_nix_prints_it() -> None:
    """Fields in any order, and lists with doubles, print in Nix's order."""
    a_drv, b_drv = StorePath.parse(A_DRV), StorePath.parse(B_DRV)
    a, b = StorePath.parse(A), StorePath.parse(B)
    drv = Derivation(
        name="x",
        outputs={"out": DerivationOutput(A), "dev": DerivationOutput(B)},
        input_drvs={b_drv: ("out",), a_drv: ("out", "dev", "out")},
        input_srcs=(b, a, b),
        system="s",
        builder="builtin:fetchurl",
        args=(),
        env={"b": "", "a\n": "1"},
    )
    assert drv.to_bytes().decode() == (
        f'Derive([("dev","{B}","",""),("out","{A}","","")],'
        f'[("{A_DRV}",["dev","out"]),("{B_DRV}",["out"])],["{A}","{B}"],"s","builtin:fetchurl",[],'
        r'[("a\n","1"),("b","")])'
    )
    assert drv.is_builtin
    assert Derivation.from_bytes("x", drv.to_bytes()) == drv


def test_bytes_that_are_no_utf8_come_through() -> None:
    """Nix's strings are bytes, and none of them is lost."""
    data = SMALL.encode().replace(b"[])", b'[("\xc3\xa9\xff","\xed\xa0\x80")])')
    drv = Derivation.from_bytes("a", data)
    assert drv.env == {"é\udcff": "\udced\udca0\udc80"}
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
    assert (rebuilt, rebuilt.to_bytes()) == (drv, data)


# From `nix-instantiate` of Nix 2.34.8 with the experimental features named.
KINDS = {
    "fixed flat": (
        DerivationOutput("/nix/store/4iq0mcxymblzl1gqy5qv51ncqb170c63-f", "sha256", ABC),
        DerivationKind.FIXED,
    ),
    "fixed recursive": (
        DerivationOutput("/nix/store/92mx48lzpi4pbjmxnj2hdspiss0vgr6s-f", "r:sha256", ABC),
        DerivationKind.FIXED,
    ),
    "floating": (DerivationOutput("", "r:sha256", ""), DerivationKind.FLOATING),
    "text": (DerivationOutput("", "text:sha256", ""), DerivationKind.FLOATING),
    "deferred": (DerivationOutput("", "", ""), DerivationKind.DEFERRED),
    "impure": (DerivationOutput("", "r:sha256", "impure"), DerivationKind.IMPURE),
    "input-addressed": (DerivationOutput(A, "", ""), DerivationKind.INPUT_ADDRESSED),
}


@pytest.mark.parametrize(("output", "kind"), KINDS.values(), ids=KINDS)
def test_kinds_of_outputs(output: DerivationOutput, kind: DerivationKind) -> None:
    """The three fields of an output say its kind, and print as they were read."""
    assert output.kind is kind
    fields = f'"{output.path}","{output.method_algorithm}","{output.hash}"'
    data = SMALL.replace(f'"{A}","",""', fields).encode()
    drv = Derivation.from_bytes("f", data)
    assert (drv.outputs, drv.kind, drv.to_bytes()) == ({"out": output}, kind, data)


def test_a_fixed_output_knows_its_hash_and_path() -> None:
    """The path of a fixed output follows from its hash and its name."""
    output = KINDS["fixed recursive"][0]
    assert output.content_hash == Hash.of(b"abc", HashAlgorithm.SHA256)
    assert (output.method, output.is_fixed, output.is_floating) == ("nar", True, False)
    assert str(output.fixed_path("f", "out")) == output.path
    floating = KINDS["floating"][0]
    assert (floating.content_hash, floating.is_floating, floating.method) == (None, True, "nar")
    assert DerivationOutput(A).method is None
    with pytest.raises(DerivationError, match=r"^the output 'out' is not fixed$"):
        floating.fixed_path("f", "out")


BAD_OUTPUTS = {
    "path elsewhere": (("/tmp/x", "", ""), "the path '/tmp/x' is not in the Nix store"),
    "hash alone": (("", "", "00"), "the hash '00' has no algorithm"),
    "fixed without path": (("", "sha256", ABC), "a fixed output has no path"),
    "fixed, short hash": ((A, "sha256", "00"), "the hash '00' is no base-16 sha256 hash"),
    "fixed, upper case": (
        (A, "sha256", ABC.upper()),
        f"the hash {ABC.upper()!r} is no base-16 sha256 hash",
    ),
    "floating with path": (
        (A, "sha256", ""),
        f"a content-addressed output cannot have the path {A!r}",
    ),
    "unknown algorithm": (
        ("", "r:sha3", ""),
        "unknown hash algorithm 'sha3'\n  hint: nixbk knows md5, sha1, sha256 and sha512",
    ),
    "unknown method": (("", "x:sha256", ""), "unknown content-addressing method 'x:sha256'"),
    "empty method": (("", ":sha256", ""), "unknown content-addressing method ':sha256'"),
}


@pytest.mark.parametrize(("fields", "message"), BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
def test_bad_outputs_are_refused(fields: tuple[str, str, str], message: str) -> None:
    """Fields that do not go together are refused with the reason."""
    with pytest.raises(DerivationError) as caught:
        DerivationOutput(*fields)
    assert str(caught.value) == message


OUT = f'("out","{A}","","")'


def _malformed(text: str, before: str, expected: str) -> tuple[str, str]:
    """A text, and the message about what follows *before* in it."""
    position = text.index(before) + len(before)
    found = text[position : position + 20]
    return text, f"malformed derivation at byte {position}: {found!r} is not {expected}"


def _with_inputs(inputs: str, sources: str = "") -> str:
    return SMALL.replace("[],[],", f"[{inputs}],[{sources}],", 1)


def _with_env(env: str) -> str:
    return SMALL.replace(",[])", f",[{env}])")


HEAD = "Derive(["
TO_SYSTEM = "[],[]"
TO_ENV = '"s","b",[],['
AN_OUTPUT, AN_INPUT, A_VARIABLE = "an output", "an input derivation", "an environment variable"
BAD_TEXTS = {
    "empty": ("", "the derivation ends at byte 0, before 'Derive(['"),
    "a version without need": (
        'DrvWithVersion("xp-dyn-drv",[("out","","","")],[("/nix/store/'
        + "0" * 32
        + '-a.drv",["out"])],[],"s","/b",[],[])',
        "the derivation has a version, and no dynamic input",
    ),
    "another version": (
        'DrvWithVersion("xp-other",[',
        "malformed derivation at byte 0: 'DrvWithVersion(\"xp-o' is not 'Derive(['",
    ),
    "something else": _malformed("#!/bin/sh\n", "", "'Derive(['"),
    "no outputs": _malformed(SMALL.replace(OUT, ""), HEAD, AN_OUTPUT),
    "cut in the outputs": _malformed(SMALL[:20], HEAD, AN_OUTPUT),
    "cut behind the outputs": (
        HEAD + OUT + "]",
        f"the derivation ends at byte {len(HEAD + OUT) + 1}, before ',['",
    ),
    "cut in the environment": _malformed(_with_env('("a","b')[:-2], TO_ENV, A_VARIABLE),
    "cut at the very end": (
        SMALL[:-1],
        f"the derivation ends at byte {len(SMALL) - 1}, before the end of the derivation",
    ),
    "trailing byte": _malformed(SMALL + "\n", TO_ENV + "]", "the end of the derivation"),
    "trailing byte behind variables": _malformed(_with_env('("a","b")') + "\n", TO_ENV, A_VARIABLE),
    "outputs unsorted": (
        SMALL.replace(OUT, OUT + "," + OUT.replace("out", "dev")),
        "the output 'dev' is not in sorted order",
    ),
    "output twice": (
        SMALL.replace(OUT, OUT + "," + OUT),
        "the output 'out' is not in sorted order",
    ),
    "inputs unsorted": (
        _with_inputs(f'("{B_DRV}",["out"]),("{A_DRV}",["out"])'),
        f"the input derivation {A_DRV!r} is not in sorted order",
    ),
    "input twice": (
        _with_inputs(f'("{A_DRV}",["dev"]),("{A_DRV}",["out"])'),
        f"the input derivation {A_DRV!r} is there twice",
    ),
    "input that is no derivation": (
        _with_inputs(f'("{A}",["out"])'),
        f"the input {A!r} is no derivation",
    ),
    "no output of an input": _malformed(_with_inputs(f'("{A_DRV}",[])'), "],[", AN_INPUT),
    "garbage behind an input": _malformed(_with_inputs(f'("{A_DRV}",["out"]);'), "],[", AN_INPUT),
    "outputs of an input unsorted": (
        _with_inputs(f'("{A_DRV}",["out","dev"])'),
        "the output name 'dev' is not in sorted order",
    ),
    "comma behind outputs of an input": (
        _with_inputs(f'("{A_DRV}",["out",])'),
        "the output names '\"out\",' are malformed",
    ),
    "source twice": (_with_inputs("", f'"{A}","{A}"'), f"the input source {A!r} is there twice"),
    "source elsewhere": (
        _with_inputs("", '"/tmp/x"'),
        "the path '/tmp/x' is not in the Nix store",
    ),
    "source without quotes": _malformed(_with_inputs("", "x"), "[],[", "an input source"),
    "system with an escape": _malformed(
        SMALL.replace('"s"', r'"\\"'), "[],[", "the system and the builder"
    ),
    "argument without quotes": _malformed(
        SMALL.replace('"b",[]', '"b",["x",y]'), '["x",', "an argument"
    ),
    "needless escape": _malformed(_with_env(r'("a","\a")'), TO_ENV, A_VARIABLE),
    "line break without escape": _malformed(_with_env('("a","\n")'), TO_ENV, A_VARIABLE),
    "variable twice": (
        _with_env('("a",""),("a","")'),
        "the environment variable 'a' is there twice",
    ),
    "variables unsorted": (
        _with_env('("é",""),("a","")'),
        "the environment variable 'a' is not in sorted order",
    ),
    "variables unsorted by what they mean": (
        _with_env(r'("a\n",""),("a\t","")'),
        "the environment variable 'a\\t' is not in sorted order",
    ),
    "garbage between variables": _malformed(_with_env('("a",""),x,("b","")'), TO_ENV, A_VARIABLE),
    "list closed twice": _malformed(_with_env('("a","")],("b","")'), TO_ENV, A_VARIABLE),
}


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_texts_nix_would_not_print_are_refused(text: str, message: str) -> None:
    """Hostile bytes give one error that says where and what."""
    with pytest.raises(DerivationError) as caught:
        Derivation.from_bytes("a", text.encode())
    assert str(caught.value) == f"derivation 'a': {message}"


def _derivation(**changes: object) -> Derivation:
    fields: dict[str, object] = {
        "name": "x",
        "outputs": {"out": DerivationOutput(A)},
        "input_drvs": {},
        "input_srcs": (),
        "system": "s",
        "builder": "b",
        "args": (),
        "env": {},
    }
    return Derivation(**{**fields, **changes})  # type: ignore[arg-type]


FIXED = KINDS["fixed flat"][0]
BAD_FIELDS: dict[str, tuple[dict[str, object], str]] = {
    "name": (
        {"name": "a b"},
        "the store path name 'a b.drv' has a character other than letters, digits and +-._?=",
    ),
    "name too long": (
        {"name": "a" * 208},
        f"the store path name '{'a' * 208}.drv' is longer than 211 characters",
    ),
    "no outputs": ({"outputs": {}}, "a derivation must have at least one output"),
    "output name": (
        {"outputs": {"a b": DerivationOutput(A)}},
        (
            "'a b' is no output name: the store path name 'a b' has a character other than letters,"
            " digits and +-._?="
        ),
    ),
    "mixed kinds": (
        {"outputs": {"out": DerivationOutput(A), "dev": FIXED}},
        "a derivation cannot mix outputs of the kinds fixed, input-addressed",
    ),
    "two fixed outputs": (
        {"outputs": {"out": FIXED, "dev": FIXED}},
        "a fixed-output derivation must have one output, named 'out'",
    ),
    "fixed output of another name": (
        {"outputs": {"dev": FIXED}},
        "a fixed-output derivation must have one output, named 'out'",
    ),
    "floating of two algorithms": (
        {
            "outputs": {
                "out": DerivationOutput("", "r:sha1", ""),
                "dev": DerivationOutput("", "r:md5", ""),
            }
        },
        "all floating outputs must use the same hash algorithm",
    ),
    "system": ({"system": 'a"'}, "'a\"' is no name of a system"),
    "no text": ({"builder": "\ud800"}, "'\\ud800' has characters that are no text"),
    "no outputs of an input": (
        {"input_drvs": {StorePath.parse(A_DRV): ()}},
        f"no output of the input {A_DRV!r} is asked for",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_derivation_is_valid_once_built(changes: dict[str, object], message: str) -> None:
    """Fields that break a rule make no derivation."""
    with pytest.raises(DerivationError) as caught:
        _derivation(**changes)
    assert str(caught.value) == message


def test_unknown_attributes_are_unknown() -> None:
    """Reading the environment late does not make up attributes."""
    drv = Derivation.from_bytes("x", TWO_OUTPUTS)
    assert not hasattr(drv, "environment")
