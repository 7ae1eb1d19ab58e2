"""Whatever the bytes, there is a value or one error that nixbk raises on purpose."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nix_values import derivations, hashes, mutations, nix_strings, store_paths, trees

from nixbk.errors import NixbkError
from nixbk.nix import base32, structured_attrs
from nixbk.nix.aterm import DerivationError
from nixbk.nix.attrs_sh import attrs_sh
from nixbk.nix.derivation import Derivation
from nixbk.nix.hashes import Hash
from nixbk.nix.nar import Event, NarError, read, write
from nixbk.nix.options import derivation_options
from nixbk.nix.store_path import StorePath


@given(derivations().flatmap(lambda drv: mutations(drv.to_bytes())))
def test_derivations(data: bytes) -> None:
    """What is still read is what Nix would print; all else is refused."""
    try:
        drv = Derivation.from_bytes("x", data)
    except DerivationError:
        return
    again = Derivation(
        drv.name,
        drv.outputs,
        drv.input_drvs,
        drv.input_srcs,
        drv.system,
        drv.builder,
        drv.args,
        drv.env,
    )
    assert (again, again.to_bytes(), again.source) == (drv, data, drv.source)


@given(st.binary(max_size=200))
def test_any_bytes_as_derivation(data: bytes) -> None:
    """Bytes that begin like a derivation are hardly ever one."""
    for head in (b"", b"Derive([", b'Derive([("out","","","")],[],[],"","",[],['):
        with pytest.raises(DerivationError):
            Derivation.from_bytes("x", head + data + b"!")


@given(trees().flatmap(lambda tree: mutations(b"".join(write(tree)))), st.integers(1, 64))
def test_archives(data: bytes, size: int) -> None:
    """What is still read is what would be written; all else is refused."""
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    try:
        events: list[Event] = list(read(chunks))
    except NarError:
        return
    assert b"".join(write(events)) == data


@given(store_paths.flatmap(lambda path: mutations(str(path).encode())))
def test_store_paths(data: bytes) -> None:
    """A changed path is another path or none."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        path = StorePath.parse(text)
    except NixbkError:
        return
    assert str(path) == text


@given(hashes().flatmap(lambda known: mutations(str(known).encode())))
def test_hashes(data: bytes) -> None:
    """A changed hash is another hash or none."""
    try:
        known = Hash.parse(data.decode("utf-8", "surrogateescape"))
    except NixbkError:
        return
    assert Hash.parse(str(known)) == known


@given(nix_strings)
def test_base32(text: str) -> None:
    """Any text is base 32 or is refused."""
    try:
        assert base32.encode(base32.decode(text)) == text
    except base32.Base32Error:
        return


_JSON = b'{"a":[1,-2.5e+30,null,true,"x\\u00e9\\n"],"outputChecks":{"out":{"maxSize":1}}}'


@given(mutations(_JSON))
def test_structured_attributes(data: bytes) -> None:
    """What is still JSON has both its forms; all else is refused."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        attrs = structured_attrs.parse(text)
    except DerivationError:
        return
    attrs_sh(attrs)
    printed = structured_attrs.dump(attrs)
    assert structured_attrs.dump(structured_attrs.parse(printed)) == printed


_OPTIONS = ["passAsFile", "exportReferencesGraph", "allowedReferences", "impureEnvVars", "__json"]


@given(st.dictionaries(st.sampled_from(_OPTIONS), nix_strings))
def test_options(env: dict[str, str]) -> None:
    """Options of any shape are read or refused."""
    drv = Derivation.from_bytes("x", b'Derive([("out","","","")],[],[],"","",[],[])')
    drv = Derivation(drv.name, drv.outputs, {}, (), "", "", (), env)
    try:
        derivation_options(drv)
    except NixbkError:
        return


HEAD = b'Derive([("out","","","")],'
REPEATED = {
    "open strings": HEAD + b'[],[],"","",["' + b'\\"' * 500_000,
    "backslashes": HEAD + b'[],[],"","",[],[("a","' + b"\\\\" * 500_000,
    "heads of variables": HEAD + b'[],[],"","",[],[' + b'("a","' * 200_000,
    "variables": HEAD + b'[],[],"","",[],[' + b'("a",""),' * 100_000,
    "escaped variables": HEAD + b'[],[],"","",[],[("a","' + b'(\\"a\\",\\"' * 100_000,
    "heads of inputs": HEAD + b'[("/nix/store/' + b'("a",["out"' * 100_000,
    "output lists": HEAD + b'[("a",[' + b'"out",' * 200_000,
    "inputs": HEAD + b"[" + b'("a",["out"]),' * 100_000 + b")],[",
    "sources": HEAD + b'[],["' + b'a","' * 200_000,
    "arguments": HEAD + b'[],[],"","",[' + b'"a",' * 200_000,
    "parentheses": HEAD + b"[" + b"(" * 1_000_000,
    "outputs": b"Derive([" + b'("out","","",""),' * 50_000,
    "quotes": HEAD + b'[],[],"","",[],[' + b'"' * 1_000_000,
}


@pytest.mark.parametrize("data", REPEATED.values(), ids=REPEATED)
def test_hostile_lengths_take_linear_time(data: bytes) -> None:
    """A megabyte of the same is refused in the time a megabyte takes."""
    start = time.process_time()
    with pytest.raises(DerivationError):
        Derivation.from_bytes("x", data)
    assert time.process_time() - start < 2


def test_a_long_string_is_a_string() -> None:
    """Escapes by the million neither recurse nor blow up."""
    data = HEAD + b'[],[],"","",[],[("a","' + b"\\\\\\n" * 1_000_000 + b'")])'
    drv = Derivation.from_bytes("x", data)
    assert drv.env == {"a": "\\\n" * 1_000_000}
