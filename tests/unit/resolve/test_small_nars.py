"""Which store paths are symbolic links, from archives that are short enough to be one's."""

from __future__ import annotations

import bz2
import gzip
import lzma
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from backports import zstd
from fetched import entry, store_path

from nixbk.errors import NixbkError
from nixbk.nix.content_address import content_address
from nixbk.nix.hashes import Hash
from nixbk.nix.nar import Symlink, file_nar, write
from nixbk.resolve.caches.answers import Answers
from nixbk.resolve.small_nars import LONGEST_LINK_BYTES, SmallNarError, look_into
from nixbk.schema.lock import LockedArchive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nixbk.schema.lock import Compression, LockedSubstitute

LINK, FILE = store_path("link"), store_path("file")
TARGET = "/nix/store/somewhere"
PACK: dict[Compression, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


@dataclass
class Files:
    """Caches of files.

    Attributes:
        files: by cache and URL.
        asked: what was asked for, round by round.
    """

    files: dict[tuple[str, str], bytes | NixbkError]
    asked: list[list[tuple[str, str]]] = field(default_factory=list)

    def small_files(
        self, wanted: Iterable[tuple[str, str]], limit_bytes: int
    ) -> dict[tuple[str, str], bytes | NixbkError]:
        """The files."""
        assert limit_bytes > LONGEST_LINK_BYTES
        self.asked.append(list(wanted))
        return {key: self.files[key] for key in self.asked[-1]}


def _told(
    found: LockedSubstitute, data: bytes, *caches: str, how: Compression = "xz"
) -> LockedSubstitute:
    """An entry as caches tell it, with the archive *data*."""
    file = PACK[how](data)
    return found._replace(
        file_type="directory",
        target="",
        archives=tuple(
            LockedArchive(cache, f"nar/{found.path.name}", Hash.of(file), len(file), how)
            for cache in caches
        ),
    )


LINK_NAR = b"".join(write([Symlink("", TARGET)]))
FILE_NAR = file_nar(FILE.name.encode())


@pytest.mark.parametrize("how", PACK)
def test_links_are_told_apart(how: Compression) -> None:
    """Type and target of a link are found, whatever the archive is compressed by."""
    link, other = entry(LINK, target=TARGET), entry(FILE)
    told = {
        LINK: _told(link, LINK_NAR, "main", how=how),
        FILE: _told(other, FILE_NAR, "main", how=how),
    }
    files = Files(
        {("main", "nar/link"): PACK[how](LINK_NAR), ("main", "nar/file"): PACK[how](FILE_NAR)}
    )
    kept = Answers(None)
    found = look_into(told, files, kept, {})
    assert [(row.file_type, row.target) for row in found.values()] == [
        ("symlink", TARGET),
        ("directory", ""),
    ]
    assert len(files.asked) == 1
    assert look_into(told, Files({}), kept, {}) == found
    assert look_into(told, Files({}), Answers(None), found) == found


def test_long_archives_are_not_fetched() -> None:
    """No archive of a link is longer than that of the longest target."""
    longest = b"".join(write([Symlink("", "x" * 4095)]))
    assert len(longest) <= LONGEST_LINK_BYTES
    large = entry(FILE)._replace(nar_size=LONGEST_LINK_BYTES + 8)
    assert look_into({FILE: large}, Files({}), Answers(None), {}) == {FILE: large}


@pytest.mark.parametrize(("method", "asks"), [("text", 0), ("flat", 0), ("nar", 1), ("git", 1)])
def test_plain_files_are_not_fetched(method: str, asks: int) -> None:
    """What follows from the content of one file is no link; who unpacks it checks that."""
    told = _told(entry(FILE), FILE_NAR, "main")
    address = content_address(method, Hash.of(b""))
    files = Files({("main", "nar/file"): lzma.compress(FILE_NAR)})
    look_into({FILE: told._replace(content_address=address)}, files, Answers(None), {})
    assert len(files.asked) == asks


def test_the_next_cache_is_asked() -> None:
    """Each archive is tried until one is what was signed."""
    told = _told(entry(LINK, target=TARGET), LINK_NAR, "one", "two", "three")
    files = Files(
        {
            ("one", "nar/link"): NixbkError("HTTP 500"),
            ("two", "nar/link"): b"wrong",
            ("three", "nar/link"): lzma.compress(LINK_NAR),
        }
    )
    found = look_into({LINK: told}, files, Answers(None), {})
    assert found[LINK].target == TARGET
    assert [row[0][0] for row in files.asked] == ["one", "two", "three"]


WRONG: dict[str, tuple[bytes | NixbkError, bytes, str]] = {
    "absent": (NixbkError("HTTP 404"), LINK_NAR, "HTTP 404"),
    "bytes": (b"x", LINK_NAR, "its file has the hash '"),
    "stream": (b"no stream of xz", b"x", "the file is no xz stream"),
    "content": (lzma.compress(FILE_NAR), FILE_NAR, "where the narinfo has NarHash '"),
    "endless": (lzma.compress(bytes(1 << 20)), b"", f"and its size {len(LINK_NAR) + 1}, "),
}


@pytest.mark.parametrize(("file", "data", "message"), WRONG.values(), ids=WRONG)
def test_wrong_archives(file: bytes | NixbkError, data: bytes, message: str) -> None:
    """The error names the path, the cache and the reason."""
    told = _told(entry(LINK, target=TARGET), data, "main")
    if isinstance(file, bytes) and message != WRONG["bytes"][2]:
        archive = LockedArchive("main", "nar/link", Hash.of(file), None, "xz")
        told = told._replace(archives=(archive,))
    with pytest.raises(SmallNarError) as caught:
        look_into({LINK: told}, Files({("main", "nar/link"): file}), Answers(None), {})
    assert caught.value.message.startswith(f"the archive of '{LINK}' in 'main': ")
    assert message in caught.value.message
    assert caught.value.substituter == "main"
