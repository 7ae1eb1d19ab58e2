"""Which answers of caches are believed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from memory_caches import KEY, KEYS, STRANGER, cache, nar_info, store_path

from nixbk.nix.content_address import content_address
from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import source_path
from nixbk.resolve.caches.judge import RefusedAnswerError, judge

if TYPE_CHECKING:
    from nixbk.nix.narinfo import NarInfo

GOOD = nar_info("a", "b", "a")
OTHER = Hash.of(b"other")


def _resigned(info: NarInfo) -> NarInfo:
    return replace(info, signatures=(KEY.sign(info.fingerprint),))


def test_a_signed_answer() -> None:
    """What a key of the manifest signed is taken as it is."""
    answer = judge(cache(), GOOD.store_path, GOOD.to_bytes(), KEYS)
    assert (answer.status, answer.info, answer.error) == ("accepted", GOOD, None)
    assert (answer.file_hash, answer.file_size) == (GOOD.file_hash, 100)


PLAIN = _resigned(replace(GOOD, compression="none", file_hash=None, file_size=None))
ACCEPTED = {
    "by one of two": replace(
        GOOD, signatures=(*nar_info("a", key=STRANGER).signatures, *GOOD.signatures)
    ),
    "without a size": replace(GOOD, file_size=None),
    "not compressed": PLAIN,
    "not compressed, and so": replace(PLAIN, file_hash=PLAIN.nar_hash, file_size=PLAIN.nar_size),
    "another place": replace(GOOD, url="https://o.example/x"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    """What the signature does not cover may be as it likes, while it makes sense."""
    info = ACCEPTED[name]
    answer = judge(cache(), info.store_path, info.to_bytes(), KEYS)
    assert answer.error is None
    expected = info.nar_hash if info.compression == "none" else info.file_hash
    assert answer.file_hash == expected


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "another path": (nar_info("b").to_bytes(), "StorePath", f"it is about '{store_path('b')}'"),
    "another NAR": (
        replace(GOOD, nar_hash=OTHER).to_bytes(),
        "Sig",
        "StorePath, NarHash, NarSize or References are not what 'main-1' signed",
    ),
    "another size": (
        replace(GOOD, nar_size=9).to_bytes(),
        "Sig",
        "StorePath, NarHash, NarSize or References are not what 'main-1' signed",
    ),
    "other references": (
        replace(GOOD, references=()).to_bytes(),
        "Sig",
        "StorePath, NarHash, NarSize or References are not what 'main-1' signed",
    ),
    "nobody's": (nar_info("a", key=None).to_bytes(), "Sig", "nobody signed it"),
    "a stranger's": (
        nar_info("a", key=STRANGER).to_bytes(),
        "Sig",
        "it is signed by 'stranger-1', whose key the manifest does not have",
    ),
    "a huge NAR": (
        _resigned(replace(GOOD, nar_size=1 << 63)).to_bytes(),
        "NarSize",
        "9223372036854775808 bytes are no size of a NAR",
    ),
    "lzip": (
        replace(GOOD, compression="lzip").to_bytes(),
        "Compression",
        "'lzip' is not one of bzip2, gzip, none, xz, zstd",
    ),
    "no hash of the file": (
        replace(GOOD, file_hash=None).to_bytes(),
        "FileHash",
        "it is missing, and the NAR is compressed",
    ),
    "not compressed, another hash": (
        replace(PLAIN, file_hash=OTHER).to_bytes(),
        "FileHash",
        "it is not the NAR's, which is not compressed",
    ),
    "not compressed, another size": (
        replace(PLAIN, file_size=1).to_bytes(),
        "FileSize",
        "it is not the NAR's, which is not compressed",
    ),
    "an address of a file": (
        replace(GOOD, url="file:///etc/passwd").to_bytes(),
        "URL",
        "'file:///etc/passwd' is no address of a file in a cache",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """A narinfo that lies is refused, with the field at fault."""
    data, field, message = REFUSED[name]
    answer = judge(cache(), GOOD.store_path, data, KEYS)
    assert (answer.status, answer.info) == ("refused", None)
    assert isinstance(answer.error, RefusedAnswerError)
    assert answer.error.field == field
    assert answer.error.message == f"the narinfo of 'main' is refused: {field}: {message}"
    assert answer.error.where == str(GOOD.store_path)


NONSENSE = {
    "a page": b"<!doctype html>\n<p>Please log in: here</p>\n",
    "nothing": b"",
    "cut": GOOD.to_bytes()[:-20],
    "no text": b"\xff\x00\xfe\n",
    "a bad hash": GOOD.to_bytes().replace(b"NarHash: sha256:", b"NarHash: sha256:!"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense(name: str) -> None:
    """What is no narinfo is refused, not raised."""
    answer = judge(cache(), GOOD.store_path, NONSENSE[name], KEYS)
    assert answer.status == "refused"
    assert isinstance(answer.error, RefusedAnswerError)


def test_a_cache_that_is_taken_at_its_word() -> None:
    """``trust = false`` asks for no signature, and for all the rest."""
    plain = cache(trust=False)
    assert (
        judge(plain, GOOD.store_path, nar_info("a", key=None).to_bytes(), {}).status == "accepted"
    )
    assert judge(plain, GOOD.store_path, nar_info("b").to_bytes(), {}).status == "refused"


def test_what_follows_from_its_content() -> None:
    """A path that its content makes needs no signature; one that claims to does."""
    base = nar_info("a", key=None)
    path = source_path("src", base.nar_hash.digest)
    address = content_address("nar", base.nar_hash)
    info = replace(base, store_path=path, content_address=address)
    assert judge(cache(), path, info.to_bytes(), {}).status == "accepted"
    lying = replace(base, content_address=address)
    answer = judge(cache(), lying.store_path, lying.to_bytes(), {})
    assert isinstance(answer.error, RefusedAnswerError)
    assert answer.error.field == "Sig"
