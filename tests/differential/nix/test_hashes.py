"""Hashes are spelled as real Nix spells them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from nixbk.nix.hashes import Hash, HashAlgorithm

if TYPE_CHECKING:
    from real_nix import Nix

SPELLINGS = {
    "base16": lambda known: f"{known.algorithm}:{known.base16()}",
    "nix32": lambda known: f"{known.algorithm}:{known.base32()}",
    "base64": lambda known: f"{known.algorithm}:{known.base64()}",
    "sri": Hash.sri,
}


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_every_spelling(nix: Nix, algorithm: HashAlgorithm) -> None:
    """Two hundred digests in each base, there and back."""
    known = [Hash.of(str(number).encode(), algorithm) for number in range(198)]
    known += [Hash(algorithm, bytes([byte]) * algorithm.size_bytes) for byte in (0, 255)]
    spelled = {name: list(map(spell, known)) for name, spell in SPELLINGS.items()}
    for name, texts in spelled.items():
        printed = nix.words("nix", "hash", "convert", "--to", name, *spelled["base16"])
        assert texts == [
            text if name == "sri" else f"{algorithm}:{text.rpartition(':')[2]}" for text in printed
        ]
        assert list(map(Hash.parse, printed_with_algorithm(printed, algorithm, name))) == known


def printed_with_algorithm(printed: list[str], algorithm: HashAlgorithm, name: str) -> list[str]:
    """What Nix printed, with the algorithm that it leaves out of some spellings."""
    if name == "sri":
        return printed
    return [text if ":" in text else f"{algorithm}:{text}" for text in printed]


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_hashes_of_content(nix: Nix, algorithm: HashAlgorithm) -> None:
    """The hash of some bytes is the one Nix computes."""
    (text,) = nix.words(
        "nix", "eval", "--raw", "--expr", f'builtins.hashString "{algorithm}" "abc"'
    )
    assert Hash.parse(text, algorithm) == Hash.of(b"abc", algorithm)
    assert text == hashlib.new(algorithm, b"abc", usedforsecurity=False).hexdigest()
