"""Content addresses are written and read as Nix does."""

from __future__ import annotations

import pytest

from nixbk.nix.content_address import content_address, parse_content_address
from nixbk.nix.hashes import Hash, HashAlgorithm, HashError

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
