"""What caches tell: printing and reading are inverses, and no bytes do harm."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nix_values import digests, drv_paths, hashes, mutations, names, nix_strings, store_paths

from nixbk.errors import NixbkError
from nixbk.nix.cache_info import CacheInfo, CacheInfoError
from nixbk.nix.content_address import content_address, follows_from_content
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.narinfo import NarInfo, NarInfoError
from nixbk.nix.signatures import (
    PublicKey,
    SecretKey,
    Signature,
    SignatureError,
    fingerprint,
    verify,
)
from nixbk.nix.store_path import IngestionMethod, StorePath, StorePathError, fixed_output_path

key_names = st.text("ab1-. é", min_size=1, max_size=5)
seeds = st.binary(min_size=32, max_size=32)
secret_keys = st.builds(SecretKey, key_names, seeds)
sha256s = seeds.map(lambda digest: Hash(HashAlgorithm.SHA256, digest))
sizes = st.integers(1, (1 << 64) - 1) | st.integers(1, 100)
words = st.text(
    st.characters(min_codepoint=ord("!"), max_codepoint=ord("~")), min_size=1, max_size=9
)
signatures = st.builds(Signature, key_names, st.binary(min_size=1, max_size=70)).map(str)
methods: st.SearchStrategy[IngestionMethod] = st.sampled_from(["nar", "flat", "text", "git"])
addresses = st.builds(content_address, methods, hashes())
references = st.lists(store_paths, max_size=3)


@st.composite
def narinfos(draw: st.DrawFn) -> NarInfo:
    """What a cache may tell, though it is not true."""
    path = draw(store_paths)
    return NarInfo(
        store_path=path,
        url=draw(words),
        compression=draw(st.sampled_from(["xz", "zstd", "none"]) | words),
        file_hash=draw(st.none() | sha256s),
        file_size=draw(st.none() | sizes),
        nar_hash=draw(sha256s),
        nar_size=draw(sizes),
        references=tuple(draw(references | references.map(lambda others: [path, *others]))),
        deriver=draw(st.just("") | drv_paths.map(lambda drv: drv.basename)),
        signatures=tuple(draw(st.lists(signatures, max_size=3))),
        content_address=draw(st.just("") | addresses),
    )


@given(narinfos())
def test_narinfos(info: NarInfo) -> None:
    """A narinfo is read as it was printed, field by field and byte by byte."""
    data = info.to_bytes()
    again = NarInfo.parse(data)
    assert (again, again.to_bytes(), again.fingerprint) == (info, data, info.fingerprint)


@given(narinfos(), st.data())
def test_the_order_of_lines_is_nothing(info: NarInfo, data: st.DataObject) -> None:
    """Lines that come in another order, with others among them, tell the same."""
    unknown = data.draw(st.lists(st.sampled_from([b"X: y\n", b"Sys:tem\n", b"\xff: \0\n"])))
    lines = [*info.to_bytes().splitlines(keepends=True), *unknown]
    assert NarInfo.parse(b"".join(data.draw(st.permutations(lines)))) == info


@given(narinfos().flatmap(lambda info: mutations(info.to_bytes())))
def test_changed_narinfos(data: bytes) -> None:
    """What is still read is printed as what is read the same; all else is refused."""
    try:
        info = NarInfo.parse(data)
    except NarInfoError:
        return
    again = NarInfo.parse(info.to_bytes())
    assert (again, again.fingerprint) == (info, info.fingerprint)


_FIELDS = ["StorePath", "URL", "FileSize", "NarHash", "References", "Deriver", "Sig", "CA", "X"]


@given(st.lists(st.tuples(st.sampled_from(_FIELDS), nix_strings | words), max_size=6))
def test_any_values(fields: list[tuple[str, str]]) -> None:
    """Fields of any values are hardly ever a narinfo."""
    text = "".join(f"{name}: {value}\n" for name, value in fields)
    with pytest.raises(NarInfoError):
        NarInfo.parse(text.encode("utf-8", "surrogateescape"))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Bytes are no narinfo, and no key; some are a nix-cache-info."""
    with pytest.raises(NarInfoError):
        NarInfo.parse(data)
    text = data.decode("utf-8", "surrogateescape")
    for parse in (PublicKey.parse, SecretKey.parse):
        with pytest.raises(SignatureError):
            parse(text)
    assert not verify(b"", text, {"a": PublicKey("a", bytes(32))})
    try:
        info = CacheInfo.parse(data)
    except CacheInfoError:
        return
    assert CacheInfo.parse(info.to_bytes()) == info


_cache_infos = st.builds(
    CacheInfo,
    st.just("/nix/store") | names.map(lambda name: f"/{name}"),
    st.booleans(),
    st.none() | st.integers(-(10**9) + 1, 10**9 - 1),
)


@given(_cache_infos)
def test_cache_infos(info: CacheInfo) -> None:
    """What a cache tells of itself is read as it was printed."""
    assert CacheInfo.parse(info.to_bytes()) == info


@given(_cache_infos.flatmap(lambda info: mutations(info.to_bytes())))
def test_changed_cache_infos(data: bytes) -> None:
    """A changed nix-cache-info is another, or refused."""
    try:
        info = CacheInfo.parse(data)
    except CacheInfoError:
        return
    assert CacheInfo.parse(info.to_bytes()) == info


@given(secret_keys)
def test_keys(key: SecretKey) -> None:
    """Keys are read as they were printed, unless white space is at their ends."""
    if key.name == key.name.strip():
        assert SecretKey.parse(key.to_text()) == key
        assert PublicKey.parse(str(key.public)) == key.public


@given(secret_keys, seeds, narinfos(), st.data())
def test_signatures(key: SecretKey, seed: bytes, info: NarInfo, data: st.DataObject) -> None:
    """A signature verifies what was signed with its key, and nothing else."""
    text = key.sign(info.fingerprint)
    keys = {key.name: key.public}
    assert str(Signature.parse(text)) == text == key.sign(info.fingerprint)
    assert verify(info.fingerprint, text, keys)
    other = SecretKey(key.name, seed)
    assert verify(info.fingerprint, text, {key.name: other.public}) is (seed == key.seed)
    changed = data.draw(mutations(info.fingerprint))
    assert verify(changed, text, keys) is (changed == info.fingerprint)
    raw = Signature.parse(text).signature
    changed = data.draw(mutations(raw))
    if changed:
        assert verify(info.fingerprint, str(Signature(key.name, changed)), keys) is (changed == raw)


@given(store_paths, sha256s, sizes, st.lists(store_paths, max_size=4), st.data())
def test_fingerprints(
    path: StorePath, nar_hash: Hash, size: int, others: list[StorePath], data: st.DataObject
) -> None:
    """References are a set; another of anything is another fingerprint."""
    known = fingerprint(path, nar_hash, size, others)
    assert fingerprint(path, nar_hash, size, data.draw(st.permutations(others + others))) == known
    assert fingerprint(path, nar_hash, size + 1, others) != known
    assert fingerprint(path, Hash.of(nar_hash.digest), size, others) != known
    assert fingerprint(path, nar_hash, size, [*others, StorePath(bytes(20), "new-one")]) != known


@given(names, hashes(), methods, st.sets(store_paths, max_size=3), st.booleans(), digests)
def test_what_follows_from_content(  # noqa: PLR0913, PLR0917 - each is one of what a path is made of
    name: str,
    content: Hash,
    method: IngestionMethod,
    others: set[StorePath],
    refers_to_itself: bool,
    digest: bytes,
) -> None:
    """The path that content makes follows from it; no other does."""
    address = content_address(method, content)
    elsewhere = StorePath(digest, name)
    assert not follows_from_content(elsewhere, address, others, content)
    try:
        path = fixed_output_path(name, content, method, others, self_reference=refers_to_itself)
    except StorePathError:
        return
    told = {*others, path} if refers_to_itself else others
    assert follows_from_content(path, address, told, content)
    assert follows_from_content(path, address, {*told, elsewhere}, content) is (elsewhere in told)
    assert not follows_from_content(path, address, told ^ {path}, content)


@given(store_paths, nix_strings | addresses, st.sets(store_paths, max_size=2), sha256s)
def test_any_address(path: StorePath, text: str, others: set[StorePath], nar_hash: Hash) -> None:
    """No text makes a path follow that does not."""
    assert not follows_from_content(path, text, others, nar_hash)


MEGABYTE = 1_000_000
HEAD = b"StorePath: /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x\n"
REPEATED = {
    "colons": b":" * MEGABYTE,
    "line feeds": b"\n" * MEGABYTE,
    "empty fields": b": \n" * MEGABYTE,
    "the same field": HEAD * 20_000,
    "references": b"References: " + b"00bgd045z0d4icpbc2yyz4gx48ak44la-x " * 30_000 + b"\n",
    "references that are none": b"References: " + b"a " * MEGABYTE + b"\n",
    "spaces": HEAD + b"References: " + b" " * MEGABYTE + b"\n",
    "signatures": HEAD + b"Sig: a:AAAA\n" * 100_000,
    "a signature": HEAD + b"Sig: a:" + b"A" * MEGABYTE + b"\n",
    "the padding of a signature": HEAD + b"Sig: a:A" + b"=" * MEGABYTE + b"\n",
    "a name": b"StorePath: /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-" + b"x" * MEGABYTE + b"\n",
    "digits": HEAD + b"NarSize: " + b"9" * MEGABYTE + b"\n",
    "a hash": HEAD + b"NarHash: sha256:" + b"0" * MEGABYTE + b"\n",
    "a URL": HEAD + b"URL: " + b"a" * MEGABYTE + b"\xff\n",
    "bytes": b"\xff" * MEGABYTE,
}


@pytest.mark.parametrize("data", REPEATED.values(), ids=REPEATED)
def test_hostile_lengths_take_linear_time(data: bytes) -> None:
    """A megabyte of the same is refused in the time a megabyte takes."""
    start = time.process_time()
    with pytest.raises(NarInfoError):
        NarInfo.parse(data)
    with contextlib.suppress(CacheInfoError):
        CacheInfo.parse(data)
    for parse in (PublicKey.parse, SecretKey.parse, Signature.parse):
        with pytest.raises(NixbkError):
            parse(data.decode("utf-8", "surrogateescape"))
    assert time.process_time() - start < 2
