"""Result files: what is read is what the helper writes, and nothing else is taken."""

from __future__ import annotations

import pytest
from locks import store_path

from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.planner.realisation import Realisation, RealisedOutput, ResultError

HASH = Hash(HashAlgorithm.SHA256, bytes(32))
OUT = store_path("out")
LIB = store_path("lib")

RESULTS = {
    "directory": Realisation({"out": RealisedOutput(OUT, HASH, 96, (LIB, OUT))}),
    "file and symlink": Realisation(
        {
            "lib": RealisedOutput(LIB, HASH, 0, (), "regular"),
            "out": RealisedOutput(OUT, HASH, 1, (), "symlink", "/nix/store/\udcff\u00e9"),
        }
    ),
    "nothing": Realisation({}),
}

OUTPUT = f'"path":"{OUT}","narHash":"{HASH.sri()}","narSize":1,"references":[],"type":"directory"'
MALFORMED = {
    "not JSON": b"{",
    "not an object": b"[]",
    "no version": b"{}",
    "another version": b'{"version":2,"outputs":{}}',
    "outputs are a list": b'{"version":1,"outputs":[]}',
    "a negative size": f'{{"version":1,"outputs":{{"out":{{{OUTPUT}}}}}}}'.replace(":1,", ":-1,", 2)
    .replace('"version":-1', '"version":1')
    .encode(),
    "an odd type": f'{{"version":1,"outputs":{{"out":{{{OUTPUT}}}}}}}'.replace(
        '"directory"', '"socket"'
    ).encode(),
    "no path": b'{"version":1,"outputs":{"out":{"narSize":1}}}',
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS.keys())
def test_read_and_write_are_inverses(result: Realisation) -> None:
    """Every result survives the file."""
    assert Realisation.from_bytes(result.to_bytes()) == result


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_anything_else_is_refused(data: bytes) -> None:
    """What no helper writes is one clear error."""
    with pytest.raises(ResultError):
        Realisation.from_bytes(data)
