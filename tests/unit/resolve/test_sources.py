"""The bytes of sources, had again from the repository and the bundle."""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING

import pytest

from nixbk.nix.hashes import Hash
from nixbk.nix.nar import file_nar, nar_hash
from nixbk.nix.store_path import fixed_output_path, source_path
from nixbk.resolve.bundle import is_whole, prune_bundle, save, write_bundle
from nixbk.resolve.bundle_files import bundle_file, bundle_folder
from nixbk.resolve.filesystem import nar_of
from nixbk.resolve.sources import SourceError, changed_sources, open_source
from nixbk.schema.lock import (
    BundleOrigin,
    FileOrigin,
    InputOrigin,
    Lock,
    LockedInput,
    LockedSource,
    Origin,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _source(archive: bytes, origin: Origin, name: str = "x") -> LockedSource:
    found, size = nar_hash([archive])
    return LockedSource(source_path(name, found.digest), found, size, (), origin, "regular")


def _bundled(archive: bytes) -> LockedSource:
    return _source(archive, BundleOrigin(nar_hash([archive])[0].digest.hex()))


def test_a_file_of_the_repository(tmp_path: Path) -> None:
    """The archive of a file is made from the file."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_bytes(b"hello")
    archive = file_nar(b"hello")
    with open_source(tmp_path / "nixbk.lock", _source(archive, FileOrigin("dir/x"))) as file:
        assert file.read() == archive


def test_a_large_archive_of_the_bundle(tmp_path: Path) -> None:
    """An archive of any size comes back from the bundle."""
    lock_path = tmp_path / "nixbk.lock"
    archive = file_nar(bytes(range(256)) * 40_000)
    source = _bundled(archive)
    digest = source.nar_hash.digest.hex()
    assert write_bundle(lock_path, {digest: lambda: iter([archive])}) == 1
    assert write_bundle(lock_path, {digest: lambda: iter([archive])}) == 0
    assert is_whole(lock_path, [digest])
    with open_source(lock_path, source) as file:
        assert file.read() == archive


def test_the_folder_itself(tmp_path: Path) -> None:
    """The folder of the lock is a source without the lock's own files."""
    (tmp_path / "a").write_bytes(b"a")
    archive = b"".join(nar_of(tmp_path))
    source = _source(archive, FileOrigin("."))._replace(file_type="directory")
    (tmp_path / "nixbk.lock").write_bytes(b"lock")
    (tmp_path / "nixbk.sources").mkdir()
    with open_source(tmp_path / "nixbk.lock", source) as file:
        assert file.read() == archive


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    """What changed since it was locked is told, before a byte of it is used."""
    (tmp_path / "x").write_bytes(b"hello")
    source = _source(file_nar(b"hello"), FileOrigin("x"))
    lock_path = tmp_path / "nixbk.lock"
    lock = Lock({}, {}, {source.path: source})
    assert changed_sources(lock_path, lock) == ()
    for contents in (b"olleh", b"hello, and more"):
        (tmp_path / "x").write_bytes(contents)
        with pytest.raises(SourceError) as caught:
            open_source(lock_path, source)
        assert str(caught.value) == (
            f"{source.path}: 'x' is not what was locked as 'x'\n  hint: run 'nixbk lock'"
        )
    (error,) = changed_sources(lock_path, lock)
    assert str(error) == str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    """The file is named, and what to do."""
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / "nixbk.lock", _source(file_nar(b""), FileOrigin("x")))
    assert str(caught.value) == (
        f"{tmp_path / 'x'}: cannot read the file: no such file or directory\n"
        "  hint: run 'nixbk lock'"
    )


def test_a_bundle_that_lacks_a_file(tmp_path: Path) -> None:
    """The file of the bundle is named."""
    source = _bundled(file_nar(b"x"))
    lock_path = tmp_path / "nixbk.lock"
    with pytest.raises(SourceError) as caught:
        open_source(lock_path, source)
    assert str(caught.value) == (
        f"{bundle_file(lock_path, source.nar_hash.digest.hex())}: "
        "the lock's bundle lacks this file\n"
        "  hint: it belongs to the lock: check it out, or run 'nixbk lock'"
    )


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda data: data[:-20], "the file ends early"),
    "empty": (lambda _: b"", "the file ends early"),
    "no xz": (
        lambda _: b"x" * 100,
        "cannot read the archive: Input format not supported by decoder",
    ),
    "other": (lambda _: lzma.compress(b"y" * 100), "is not what was locked as 'x'"),
    "bomb": (lambda _: lzma.compress(bytes(50_000_000)), "is not what was locked as 'x'"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_bundle(tmp_path: Path, kind: str) -> None:
    """Whatever is in the file, the answer is an error, in bounded memory."""
    spoil, message = SPOILT[kind]
    archive = file_nar(b"hello" * 1000)
    source = _bundled(archive)
    digest = source.nar_hash.digest.hex()
    lock_path = tmp_path / "nixbk.lock"
    write_bundle(lock_path, {digest: lambda: iter([archive])})
    place = bundle_file(lock_path, digest)
    place.write_bytes(spoil(place.read_bytes()))
    with pytest.raises(SourceError) as caught:
        open_source(lock_path, source)
    assert message in caught.value.message
    assert not is_whole(lock_path, [digest])
    assert write_bundle(lock_path, {digest: lambda: iter([archive])}) == 1
    open_source(lock_path, source).close()


def _pinned(archive: bytes, reference: str) -> LockedInput:
    found = nar_hash([archive])[0]
    return LockedInput(name="big", url="x", flake=False, locked=reference, rev=None, nar_hash=found)


def test_a_part_of_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree of an input that was fetched before is read in the cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tree" / "dir").mkdir(parents=True)
    (tmp_path / "tree" / "dir" / "x").write_bytes(b"hello")
    pinned = _pinned(b"".join(nar_of(tmp_path / "tree")), "tarball+https://example.org/x.tar")
    trees = tmp_path / "cache" / "nixbk" / "inputs"
    trees.mkdir(parents=True)
    (tmp_path / "tree").rename(trees / pinned.nar_hash.digest.hex())
    archive = file_nar(b"hello")
    source = _source(archive, InputOrigin("big", "dir/x"))
    with open_source(tmp_path / "nixbk.lock", source, {"big": pinned}) as file:
        assert file.read() == archive


def test_an_input_that_only_nix_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be had without Nix is said in words."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = _source(file_nar(b""), InputOrigin("big", ""))
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / "nixbk.lock", source, {"big": _pinned(b"", "hg+https://x/y")})
    assert caught.value.message == "it takes Nix to fetch 'hg+https://x/y'"


def test_a_path_made_of_other_content(tmp_path: Path) -> None:
    """The hash that a path is made of is held against the bytes, too."""
    (tmp_path / "x").write_bytes(b"hello")
    claimed = Hash.of(b"other")
    source = _source(file_nar(b"hello"), FileOrigin("x"))._replace(
        path=fixed_output_path("x", claimed, "flat"),
        method="flat",
        content_hash=claimed,
    )
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / "nixbk.lock", source)
    assert caught.value.message == (
        f"the content hashes to '{Hash.of(b'hello').sri()}', not to '{claimed.sri()}'"
    )
    right = source._replace(content_hash=Hash.of(b"hello"))
    open_source(tmp_path / "nixbk.lock", right).close()


def test_pruning_leaves_what_is_not_ours(tmp_path: Path) -> None:
    """Archives that no lock names go; other files of the folder stay."""
    lock_path = tmp_path / "nixbk.lock"
    kept, gone = _bundled(file_nar(b"kept")), _bundled(file_nar(b"gone"))
    lock = Lock({}, {}, {kept.path: kept})
    archives = {
        kept.nar_hash.digest.hex(): lambda: iter([file_nar(b"kept")]),
        gone.nar_hash.digest.hex(): lambda: iter([file_nar(b"gone")]),
    }
    saved = save(lock_path, lock, archives)
    assert (saved.written, saved.removed) == (2, 1)
    (bundle_folder(lock_path) / "README").write_text("mine")
    assert prune_bundle(lock_path, Lock({}, {}, {})) == 1
    assert [place.name for place in bundle_folder(lock_path).iterdir()] == ["README"]
    (bundle_folder(lock_path) / "README").unlink()
    assert prune_bundle(lock_path, Lock({}, {}, {})) == 0
    assert not bundle_folder(lock_path).exists()


def test_a_bundle_is_reproducible(tmp_path: Path) -> None:
    """The same archive gives the same file."""
    archive = file_nar(b"hello" * 100)
    digest = nar_hash([archive])[0].digest.hex()
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        lock_path = tmp_path / name / "nixbk.lock"
        write_bundle(lock_path, {digest: lambda: iter([archive[:7], archive[7:]])})
        files.append(bundle_file(lock_path, digest).read_bytes())
    assert files[0] == files[1]
