"""What caches tell of outputs whose paths do not follow from their recipes."""

from __future__ import annotations

import json

import pytest

from nixbk.nix.signatures import PublicKey
from nixbk.nix.store_path import StorePath
from nixbk.nix.told_output import ToldOutput, ToldOutputError

# as Nix 2.34 wrote it to a cache, with the key that it signed it with
ID = "sha256:57a0991bbc103d2b69fedf56feb408d7cba79be82c4e2579121f75c053f8d132!out"
SIGNATURE = (
    "k-1:3mpLFvlPIoQHDANsTy9VKBlZQaR5oiqZHoKQVyaoVr1JP8O/K0pON0bFNcnbGZX2XnptI+L1jZBtOuR6Ah/xCg=="
)
NAME = "6sbsvr47sc2lxsrdycj60pwppyi3carq-float"
FILE = (
    f'{{"dependentRealisations":{{}},"id":"{ID}","outPath":"{NAME}","signatures":["{SIGNATURE}"]}}'
)
KEY = PublicKey.parse("k-1:EoljQW9EafFDljxuHsWPxHA+shhC4K3Pic/tSWqGGNo=")
KEYS = {KEY.name: KEY}


def test_a_file_of_nix() -> None:
    """It is read, and its signature is one of what it says."""
    found = ToldOutput.parse(FILE.encode())
    assert found.id == ID
    assert found.path == StorePath.parse("/nix/store/6sbsvr47sc2lxsrdycj60pwppyi3carq-float")
    assert found.signatures == (SIGNATURE,)
    assert found.is_signed(KEYS)
    assert not found.is_signed({})


OTHERS = {
    "id": ID.replace("!out", "!dev"),
    "outPath": "6sbsvr47sc2lxsrdycj60pwppyi3carq-other",
    "dependentRealisations": {ID: "6sbsvr47sc2lxsrdycj60pwppyi3carq-float"},
    "new": 1,
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_of_it_is_signed(name: str) -> None:
    """Whatever is changed, the signature is one of something else."""
    changed = {**json.loads(FILE), name: OTHERS[name]}
    assert not ToldOutput.parse(json.dumps(changed).encode()).is_signed(KEYS)


def test_order_and_blanks_do_not_count() -> None:
    """What is signed is the same however it is written."""
    text = json.dumps(dict(sorted(json.loads(FILE).items(), reverse=True)), indent=1)
    assert ToldOutput.parse(text.encode()).is_signed(KEYS)


NONE = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "no text": b"\xff",
    "no id": FILE.replace('"id"', '"x"').encode(),
    "an id that is no text": FILE.replace(f'"{ID}"', "1").encode(),
    "no path": FILE.replace("6sbsvr47", "../6sbs").encode(),
    "a path that is no text": FILE.replace(f'"{NAME}"', "1").encode(),
    "no signatures": FILE.replace(f'["{SIGNATURE}"]', "1").encode(),
    "signatures that are no text": FILE.replace(f'["{SIGNATURE}"]', "[1]").encode(),
    "half a character": FILE.replace(f'"{ID}"', '"\\ud800"').encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_none(name: str) -> None:
    """It is refused, whatever it is."""
    with pytest.raises(ToldOutputError):
        ToldOutput.parse(NONE[name])
