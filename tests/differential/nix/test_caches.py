"""Binary caches, keys and signatures are those of real Nix, in both directions."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from nix_values import mutations
from real_nix import FEATURES

from nixbk.nix.cache_info import CacheInfo
from nixbk.nix.content_address import follows_from_content
from nixbk.nix.hashes import Hash
from nixbk.nix.narinfo import NarInfo, NarInfoError
from nixbk.nix.signatures import PublicKey, SecretKey, verify

if TYPE_CHECKING:
    from real_nix import Nix

    from nixbk.nix.store_path import StorePath

# The second comes first as a text, and last as a name.
NAMES: Final = ("test", "test-1", "a b")
UNTRUSTED: Final = 2
FAILED: Final = 4


@dataclass(frozen=True)
class Cache:
    """A binary cache in a folder."""

    folder: Path

    @property
    def url(self) -> str:
        """How Nix calls it."""
        return f"file://{self.folder}"

    def infos(self) -> dict[Path, NarInfo]:
        """All that it tells, by file; each as it is printed again."""
        infos = {}
        for file in sorted(self.folder.glob("*.narinfo")):
            infos[file] = NarInfo.parse(file.read_bytes())
            assert infos[file].to_bytes() == file.read_bytes()
        return infos


def _signed(cache: Cache, keys: list[Path], **parameters: str) -> str:
    """The URL of *cache* for a copy that signs with *keys*."""
    if keys:
        parameters["secret-keys"] = ",".join(map(str, keys))
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"{cache.url}?{query}"


def _untrusted(cache: Cache, keys: list[PublicKey]) -> set[StorePath]:
    """The paths of *cache* that real Nix does not trust, or that make it fail."""
    command = ["nix", "store", "verify", "--all", "--no-contents", "--store", cache.url]
    command += ["--sigs-needed", "1", "--trusted-public-keys", " ".join(map(str, keys))]
    environment = {**os.environ, "NIX_CONFIG": f"extra-experimental-features = {FEATURES}"}
    done = subprocess.run(command, capture_output=True, check=False, env=environment, text=True)
    untrusted = set(re.findall(r"path '(\S+)' is untrusted", done.stderr))
    failed = set(re.findall(r"'(\S+)' is not allowed to refer to other store paths", done.stderr))
    status = (UNTRUSTED if untrusted else 0) | (FAILED if failed else 0)
    assert done.returncode == status, done.stderr
    paths = {info.store_path for info in cache.infos().values()}
    return {path for path in paths if str(path) in untrusted or path.name in failed}


def _refused(cache: Cache, keys: list[PublicKey]) -> set[StorePath]:
    """The paths that we do not trust."""
    by_name = {key.name: key for key in keys}
    return {
        info.store_path
        for info in cache.infos().values()
        if not any(verify(info.fingerprint, text, by_name) for text in info.signatures)
        and not _follows(info)
    }


def _follows(info: NarInfo) -> bool:
    return follows_from_content(
        info.store_path, info.content_address, info.references, info.nar_hash
    )


@pytest.fixture(scope="module")
def paths(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Store objects of all kinds, with all they refer to."""
    expression = Path(__file__).parent / "caches.nix"
    found = nix.words("nix-build", "--no-out-link", expression)
    found += nix.words("nix-instantiate", expression)
    rewritten = json.loads(
        nix.run("nix", "store", "make-content-addressed", "--json", "--recursive", found[0])
    )
    found += rewritten["rewrites"].values()
    folder = tmp_path_factory.mktemp("added")
    (folder / "tree" / "folder").mkdir(parents=True)
    (folder / "tree" / "folder" / "file").write_text("content")
    (folder / "file").write_text("content")
    for mode, algorithm in [
        *itertools.product(["nar", "flat"], ["md5", "sha1", "sha256", "sha512"]),
        ("git", "sha1"),
        ("git", "sha256"),
        ("text", "sha256"),
    ]:
        command = ("nix", "store", "add", "--mode", mode, "--hash-algo", algorithm)
        place = folder / ("tree" if mode in {"nar", "git"} else "file")
        found += nix.words(*command, "--name", f"{mode}-{algorithm}", place)
    return found


@pytest.fixture(scope="module")
def secrets(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of keys that real Nix made, by their names."""
    folder = tmp_path_factory.mktemp("keys")
    files = {}
    for number, name in enumerate(NAMES):
        files[name] = folder / str(number)
        files[name].write_bytes(nix.run("nix", "key", "generate-secret", "--key-name", name))
    return files


@pytest.fixture(scope="module")
def unsigned(nix: Nix, paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """All paths in a cache that has no signatures."""
    cache = Cache(tmp_path_factory.mktemp("unsigned"))
    nix.run("nix", "copy", "--to", _signed(cache, [], compression="none"), *paths)
    return cache


@pytest.mark.parametrize("compression", ["xz", "zstd", "none", "gzip", "bzip2", "br"])
def test_what_nix_copies(
    nix: Nix, paths: list[str], secrets: dict[str, Path], tmp_path: Path, compression: str
) -> None:
    """What real Nix writes is printed byte for byte, and its signatures are right."""
    cache = Cache(tmp_path)
    nix.run(
        "nix", "copy", "--to", _signed(cache, [*secrets.values()], compression=compression), *paths
    )
    keys = {name: SecretKey.parse(file.read_text()).public for name, file in secrets.items()}
    infos = cache.infos()
    assert len(infos) > len(paths)
    facts = _facts(nix, cache)
    for file, info in infos.items():
        archive = (tmp_path / info.url).read_bytes()
        assert info.file_hash == Hash.of(archive)
        assert info.file_size == len(archive)
        assert info.compression == compression
        assert file.stem == info.store_path.basename.partition("-")[0]
        assert _as_facts(info) == facts[str(info.store_path)]
        assert [text.partition(":")[0] for text in info.signatures] == sorted(NAMES)
        for text in info.signatures:
            assert verify(info.fingerprint, text, keys)
            assert not verify(info.fingerprint + b",", text, keys)
    assert CacheInfo.parse((tmp_path / "nix-cache-info").read_bytes()) == CacheInfo()
    assert (tmp_path / "nix-cache-info").read_bytes() == CacheInfo().to_bytes()


def _facts(nix: Nix, cache: Cache, *paths: str) -> dict[str, dict[str, Any]]:
    """What real Nix reads from *cache*, without what no narinfo holds."""
    command = ("nix", "path-info", "--json", "--json-format", "1", "--store", cache.url)
    facts: dict[str, dict[str, Any]] = json.loads(nix.run(*command, *(paths or ("--all",))))
    for fact in facts.values():
        for field in ("version", "registrationTime", "storeDir", "ultimate"):
            del fact[field]
    return facts


def _as_facts(info: NarInfo) -> dict[str, Any]:
    """*info*, as real Nix tells it."""
    facts: dict[str, Any] = {
        "ca": info.content_address or None,
        "compression": info.compression,
        "deriver": f"/nix/store/{info.deriver}" if info.deriver else None,
        "narHash": info.nar_hash.sri(),
        "narSize": info.nar_size,
        "references": list(map(str, info.references)),
        "signatures": list(info.signatures),
        "url": info.url,
    }
    if info.file_hash is not None:
        facts["downloadHash"] = info.file_hash.sri()
    if info.file_size is not None:
        facts["downloadSize"] = info.file_size
    return facts


def test_keys(nix: Nix, secrets: dict[str, Path]) -> None:
    """A key that Nix made is ours, and one that we made is Nix's."""
    convert = ("nix", "key", "convert-secret-to-public")
    for name, file in secrets.items():
        key = SecretKey.parse(file.read_text())
        assert (key.name, key.to_text()) == (name, file.read_text())
        assert str(key.public) == nix.run(*convert, stdin=file.read_bytes()).decode()
    for name in NAMES:
        key = SecretKey.generate(name)
        public = nix.run(*convert, stdin=f"{key.to_text()}\n".encode()).decode()
        assert PublicKey.parse(public) == key.public


def test_what_follows_from_content(unsigned: Cache) -> None:
    """Without signatures, Nix trusts what follows from its content, and so do we."""
    untrusted = _untrusted(unsigned, [])
    assert _refused(unsigned, []) == untrusted
    assert {path.name for path in untrusted} == {"own", "own-dev", "alone", "many"}
    trusted = [info for info in unsigned.infos().values() if info.store_path not in untrusted]
    kinds = {
        (info.content_address.rpartition(":")[0], info.store_path in info.references)
        for info in trusted
    }
    algorithms = ["md5", "sha1", "sha256", "sha512"]
    assert kinds == {
        ("text:sha256", False),
        ("fixed:r:sha256", True),
        ("fixed:git:sha1", False),
        ("fixed:git:sha256", False),
        *((f"fixed:{algorithm}", False) for algorithm in algorithms),
        *((f"fixed:r:{algorithm}", False) for algorithm in algorithms),
    }


def _copy(cache: Cache, folder: Path) -> Cache:
    """The narinfos of *cache* in another folder."""
    for file in [*cache.folder.glob("*.narinfo"), cache.folder / "nix-cache-info"]:
        (folder / file.name).write_bytes(file.read_bytes())
    return Cache(folder)


def test_nix_verifies_what_we_sign(unsigned: Cache, tmp_path: Path) -> None:
    """Nix trusts what we signed with the key it is told, and with no other."""
    cache = _copy(unsigned, tmp_path)
    ours, other = SecretKey.generate("ours"), SecretKey.generate("ours")
    for file, info in cache.infos().items():
        file.write_bytes(replace(info, signatures=(ours.sign(info.fingerprint),)).to_bytes())
    for keys in ([ours.public], [other.public], [other.public, PublicKey("x", ours.public.key)]):
        assert _untrusted(cache, keys) == _refused(cache, keys)
    assert _untrusted(cache, [ours.public]) == set()
    assert _untrusted(cache, [other.public]) != set()


def test_we_verify_what_nix_signs(
    nix: Nix, unsigned: Cache, secrets: dict[str, Path], tmp_path: Path
) -> None:
    """`nix store sign` adds what we would add, and prints it in our order."""
    cache = _copy(unsigned, tmp_path)
    expected = {}
    for file, info in cache.infos().items():
        mine = [SecretKey.parse(key.read_text()) for key in secrets.values()]
        texts = tuple(key.sign(info.fingerprint) for key in mine)
        expected[file] = replace(info, signatures=texts).to_bytes()
    for key in secrets.values():
        nix.run("nix", "store", "sign", "--all", "--store", cache.url, "--key-file", key)
    assert {file: file.read_bytes() for file in expected} == expected


LIES: Final[dict[str, tuple[str, str]]] = {
    "the size": (r"NarSize: (\d+)", r"NarSize: 1\1"),
    "the hash": (r"NarHash: sha256:.{10}", "NarHash: sha256:" + "1" * 10),
    "a reference less": (r"(?m)^(References: (?:\S+ )*)\S+$", r"\1"),
    "no references": (r"References: .*", "References: "),
    "a reference more": (
        r"References: ",
        "References: 00000000000000000000000000000000-a ",
    ),
    "the name": (r"StorePath: (.*)", r"StorePath: \g<1>x"),
    "no content address": (r"CA: .*\n", ""),
    "another content address": (r"CA: (.*:).{10}", r"CA: \g<1>" + "1" * 10),
    "another method": (r"CA: fixed:(?!r:|git:)", r"CA: fixed:r:"),
    "an archive for a text": (r"CA: text:", "CA: fixed:r:"),
    "a signature": (r"Sig: (test:)\w{10}", r"Sig: \g<1>AAAAAAAAAA"),
    "a name of a key": (r"Sig: test:", "Sig: toast:"),
    "the place": (r"URL: .*", "URL: elsewhere"),
    "the compression": (r"Compression: .*", "Compression: xz"),
    "the file": (r"FileSize: .*", "FileSize: 1"),
    "the deriver": (r"Deriver: \w{10}", "Deriver: 0000000000"),
}


@pytest.mark.parametrize(("pattern", "lie"), LIES.values(), ids=LIES)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_lies(  # noqa: PLR0913, PLR0917 - a lie has two halves
    nix: Nix, unsigned: Cache, tmp_path: Path, pattern: str, lie: str, signed: bool
) -> None:
    """What is altered is trusted by us just if it is by Nix, unless its hash is a lie."""
    cache = _copy(unsigned, tmp_path)
    key = SecretKey("test", bytes(32))
    lies = {}
    for file, info in cache.infos().items():
        if signed:
            info = replace(info, signatures=(key.sign(info.fingerprint),))  # noqa: PLW2901
        truth = info.to_bytes().decode()
        altered = NarInfo.parse(re.sub(pattern, lie, truth).encode())
        if altered.content_address.startswith("text:") and info.store_path in altered.references:
            continue  # which Nix asserts never to see
        file.write_bytes(altered.to_bytes())
        lies[altered.store_path] = altered.nar_hash != info.nar_hash
    ours, theirs = _refused(cache, [key.public]), _untrusted(cache, [key.public])
    assert ours - theirs == {path for path in ours - theirs if lies[path]}
    assert theirs <= ours


def _example(cache: Cache) -> NarInfo:
    """What has a value in every field."""
    (info,) = (info for info in cache.infos().values() if info.store_path.name == "many")
    key = SecretKey("test", bytes(32))
    address = f"fixed:r:sha256:{info.nar_hash.base32()}"
    return replace(info, signatures=(key.sign(b""),), content_address=address)


_VALUES: Final = {
    "StorePath": ["/nix/store/x"],
    "URL": ["", "x", "https://host/x?a=b&c#d%20", "../x", "nar/x:y", "x y", "é", "\0"],
    "Compression": ["", "none", "br", "lz4", "XZ", "xz ", "x z"],
    "FileHash": ["", "sha256-" + "A" * 43 + "=", "sha256:" + "0f" * 32, "sha1:" + "0" * 32],
    "FileSize": ["", "0", "007", "+5", "-5", "0x5", " 5", "5 ", str(2**64 - 1), str(2**64)],
    "NarHash": ["", "sha256-" + "A" * 43, "sha256:" + "0F" * 32, "0" * 52, "md5:" + "0" * 26],
    "NarSize": ["", "0", "00000000000000000000005", "5", "5k", str(2**64 - 1), str(2**64)],
    "References": ["", " ", "0" * 32 + "-b " + "0" * 32 + "-a", "0" * 32 + "-a  " * 2, "a"],
    "Deriver": ["", "unknown-deriver", "0" * 32 + "-x", "/nix/store/" + "0" * 32 + "-x.drv", "x"],
    "Sig": ["", "a", "a:", ":AAAA", "a:AAA", "a b:AA==", "a:AAAA=", "a:A A", "test:/w", "a:é"],
    "CA": ["", "text:sha256:" + "0" * 52, "fixed:git:sha1:" + "0" * 32, "fixed:md5:0", "x"],
    "System": ["", "x"],
    "X": ["", "Y: x"],
    "": ["", "x"],
}


@st.composite
def _altered(draw: st.DrawFn, data: bytes) -> bytes:
    """*data* with lines that are dropped, doubled, moved or have another value."""
    lines = data.decode().splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        name = lines[at].partition(":")[0]
        match draw(st.sampled_from(["value", "drop", "double", "move", "insert", "mutate"])):
            case "value":
                lines[at] = f"{name}: {draw(st.sampled_from(_VALUES[name]))}"
            case "drop" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "move":
                lines.append(lines.pop(at))
            case "insert":
                name = draw(st.sampled_from(sorted(_VALUES)))
                lines.insert(at, f"{name}: {draw(st.sampled_from(_VALUES[name]))}")
            case _:
                text = draw(mutations(lines[at].encode("utf-8", "surrogateescape")))
                if b"\n" not in text and _known(text):
                    lines[at] = text.decode("utf-8", "surrogateescape")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _known(line: bytes) -> bool:
    """Whether *line* has a value for the tables above."""
    name, colon, _ = line.decode("utf-8", "surrogateescape").partition(":")
    return bool(colon) and name in _VALUES


@given(st.data())
@settings(
    max_examples=300,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each step starts a process
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_we_read_nix_reads(
    nix: Nix, unsigned: Cache, tmp_path: Path, data: st.DataObject
) -> None:
    """A narinfo that was changed in any way and that we read, Nix reads as we do."""
    example = _example(unsigned)
    text = data.draw(_altered(example.to_bytes()))
    try:
        info = NarInfo.parse(text)
    except NarInfoError:
        event("refused")
        return
    if info.store_path != example.store_path:
        return
    hash_part = info.store_path.basename.partition("-")[0]
    (tmp_path / "nix-cache-info").write_bytes(CacheInfo().to_bytes())
    (tmp_path / f"{hash_part}.narinfo").write_bytes(text)
    facts = _facts(nix, Cache(tmp_path), str(info.store_path))
    theirs = facts[str(info.store_path)]
    if not theirs.get("downloadSize", 1):
        del theirs["downloadSize"]  # unknown
    assert _as_facts(info) == theirs
