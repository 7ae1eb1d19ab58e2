"""Content addresses are written and read as Nix does."""

from __future__ import annotations

import pytest

from nixbk.nix.content_address import (
    content_address,
    follows_from_content,
    parse_content_address,
)
from nixbk.nix.hashes import Hash, HashAlgorithm, HashError
from nixbk.nix.store_path import (
    IngestionMethod,
    StorePath,
    fixed_output_path,
    source_path,
    text_path,
)

ADDRESSES = {
    "nar": "fixed:r:sha256:",
    "flat": "fixed:sha256:",
    "text": "text:sha256:",
    "git": "fixed:git:sha256:",
}


@pytest.mark.parametrize(("method", "prefix"), ADDRESSES.items())
def test_both_ways(method: str, prefix: str) -> None:
    """What is written is read as it was."""
    content = Hash.of(b"content")
    text = content_address(method, content)
    assert text == prefix + content.base32()
    assert parse_content_address(text) == (method, content)


def test_no_address() -> None:
    """A path that does not follow from content has none."""
    assert content_address("none", Hash.of(b"")) == ""


WRONG = {
    "nothing": "",
    "unknown": "other:sha256:" + "0" * 52,
    "no algorithm": "fixed:r:" + "0" * 52,
    "another base": "fixed:r:sha256:" + "0" * 64,
    "not a hash": "text:sha256:xyz",
    "two methods": "fixed:r:git:sha256:" + "0" * 52,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_what_is_none(text: str) -> None:
    """Nothing but Nix's own spelling is read."""
    with pytest.raises(HashError):
        parse_content_address(text)


def test_every_algorithm() -> None:
    """The hash may be one of any algorithm."""
    for algorithm in HashAlgorithm:
        content = Hash.of(b"x", algorithm)
        assert parse_content_address(content_address("flat", content)) == ("flat", content)


CONTENT = Hash.of(b"content")
OTHER = Hash.of(b"other")
NAR = content_address("nar", CONTENT)
BAR = StorePath.from_basename("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar")
PLAIN = source_path("x", CONTENT.digest)
WITH_BAR = source_path("x", CONTENT.digest, [BAR])
ITSELF = source_path("x", CONTENT.digest, [BAR], self_reference=True)
TEXT = text_path("x", b"content", [BAR])
# src/libstore-tests/data/nar-info/json-1/impure.json of Nix
FOO = StorePath.from_basename("n5wkd9frr45pa74if5gpz9j7mifg27fh-foo")
FOO_ADDRESS = "fixed:r:sha256:1lr187v6dck1rjh2j6svpikcfz53wyl3qrlcbb405zlh13x0khhh"
FOO_NAR = Hash.parse("sha256-FePFYIlMuycIXPZbWi7LGEiMmZSX9FMbaQenWBzm1Sc=")


def _fixed(
    method: IngestionMethod, algorithm: HashAlgorithm = HashAlgorithm.SHA256
) -> tuple[StorePath, str, tuple[StorePath, ...], Hash, bool]:
    content = Hash.of(b"content", algorithm)
    return (
        fixed_output_path("x", content, method),
        content_address(method, content),
        (),
        OTHER,
        True,
    )


FOLLOWS = {
    "an archive": (PLAIN, NAR, (), CONTENT, True),
    "an archive of another hash": (PLAIN, NAR, (), OTHER, False),
    "a reference": (WITH_BAR, NAR, (BAR,), CONTENT, True),
    "a reference of another hash": (WITH_BAR, NAR, (BAR,), OTHER, False),
    "a reference that is not told": (WITH_BAR, NAR, (), CONTENT, False),
    "a reference too many": (PLAIN, NAR, (BAR,), CONTENT, False),
    "a path that refers to itself": (ITSELF, NAR, (BAR, ITSELF), OTHER, True),
    "itself, not told": (ITSELF, NAR, (BAR,), CONTENT, False),
    "itself, though it does not": (WITH_BAR, NAR, (BAR, WITH_BAR), CONTENT, False),
    "as Nix has it": (FOO, FOO_ADDRESS, (BAR, FOO), FOO_NAR, True),
    "another address": (FOO, NAR, (BAR, FOO), FOO_NAR, False),
    "a text": (TEXT, content_address("text", CONTENT), (BAR,), OTHER, True),
    "a text without its reference": (TEXT, content_address("text", CONTENT), (), OTHER, False),
    "a text that refers to itself": (
        TEXT,
        content_address("text", CONTENT),
        (BAR, TEXT),
        OTHER,
        False,
    ),
    "a text with another hash": (
        TEXT,
        content_address("text", Hash.of(b"content", HashAlgorithm.SHA1)),
        (BAR,),
        OTHER,
        False,
    ),
    "a text as an archive": (TEXT, NAR, (BAR,), CONTENT, False),
    "a file": _fixed("flat"),
    "a file by SHA-512": _fixed("flat", HashAlgorithm.SHA512),
    "a tree by SHA-1": _fixed("nar", HashAlgorithm.SHA1),
    "a tree of git": _fixed("git", HashAlgorithm.SHA1),
    "a file with references": (*_fixed("flat")[:2], (BAR,), OTHER, False),
    "a file that refers to itself": (*_fixed("flat")[:2], (_fixed("flat")[0],), OTHER, False),
    "a tree of git by MD5": (
        _fixed("flat")[0],
        content_address("git", Hash.of(b"content", HashAlgorithm.MD5)),
        (),
        OTHER,
        False,
    ),
    "another path": (BAR, NAR, (), CONTENT, False),
    "another name": (source_path("y", CONTENT.digest), FOO_ADDRESS, (), CONTENT, False),
    "no address": (PLAIN, "", (), CONTENT, False),
    "what is no address": (PLAIN, "fixed:r:", (), CONTENT, False),
}


@pytest.mark.parametrize(
    ("path", "address", "references", "nar_hash", "follows"), FOLLOWS.values(), ids=FOLLOWS
)
def test_follows_from_content(
    path: StorePath,
    address: str,
    references: tuple[StorePath, ...],
    nar_hash: Hash,
    follows: bool,
) -> None:
    """A path needs no signature if address and references make it, and no hash says otherwise."""
    assert follows_from_content(path, address, references, nar_hash) is follows
    assert follows_from_content(path, address, references[::-1], nar_hash) is follows
