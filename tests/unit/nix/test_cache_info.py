"""What a cache tells of itself is read as Nix does."""

from __future__ import annotations

import pytest

from nixbk.nix.cache_info import CacheInfo, CacheInfoError

KNOWN = {
    "nothing": (b"", CacheInfo()),
    "as Nix makes it": (b"StoreDir: /nix/store\n", CacheInfo()),
    "as the public cache has it": (
        b"StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n",
        CacheInfo(want_mass_query=True, priority=40),
    ),
    "without spaces or an end": (
        b"Priority:-3\r\n\nWantMassQuery:1",
        CacheInfo(want_mass_query=True, priority=-3),
    ),
    "no mass queries": (b"WantMassQuery: true\n", CacheInfo()),
    "another store": (b"StoreDir: /gnu/store\n", CacheInfo("/gnu/store")),
    "the last counts": (b"Priority: 1\nPriority: 2\n", CacheInfo(priority=2)),
    "unknown lines": (b"<html>\n\xff\0:\nStoreDir\nPriority\nX: y\n", CacheInfo()),
}


@pytest.mark.parametrize(("data", "info"), KNOWN.values(), ids=KNOWN)
def test_what_is_read(data: bytes, info: CacheInfo) -> None:
    """What is read is printed as what is read the same."""
    assert CacheInfo.parse(data) == info
    assert CacheInfo.parse(info.to_bytes()) == info


def test_what_is_printed() -> None:
    """A file has what there is to tell."""
    assert CacheInfo().to_bytes() == b"StoreDir: /nix/store\n"
    everything = CacheInfo(want_mass_query=True, priority=0)
    assert everything.to_bytes() == b"StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 0\n"


WRONG = {
    "no number": (b"Priority: high\n", "Priority", "'high' is no number"),
    "no value": (b"Priority:\n", "Priority", "'' is no number"),
    "a large number": (
        b"Priority: " + b"9" * 10_000 + b"\n",
        "Priority",
        f"'{'9' * 100}' is no number",
    ),
    "no directory": (b"StoreDir: nix\n", "StoreDir", "'nix' is no directory"),
    "bytes": (b"StoreDir: /\xff\n", "StoreDir", "'/\\udcff' is no directory"),
}


@pytest.mark.parametrize(("data", "field", "message"), WRONG.values(), ids=WRONG)
def test_what_is_refused(data: bytes, field: str, message: str) -> None:
    """What Nix cannot read is refused, with the field and the reason."""
    with pytest.raises(CacheInfoError) as caught:
        CacheInfo.parse(data)
    assert (caught.value.field, caught.value.message) == (field, f"{field}: {message}")


def test_valid_once_built() -> None:
    """No value prints as what it is not."""
    for store_dir in ("", "nix", "/a\nPriority: 1", "/a "):
        with pytest.raises(CacheInfoError):
            CacheInfo(store_dir)
    with pytest.raises(CacheInfoError):
        CacheInfo(priority=10**9)
