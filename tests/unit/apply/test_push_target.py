"""Caches are written in an order in which nothing that is told of is missing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fetched import KEY, OTHER, STRANGER, store_path
from memory_caches import MemoryLine
from proven import SETUP

from nixbk.apply.pack import Packed
from nixbk.apply.push_target import PushTarget, is_same, require_key, target_address
from nixbk.errors import NixbkError
from nixbk.nix.hashes import Hash
from nixbk.nix.narinfo import NarInfo
from nixbk.nix.signatures import SecretKey, verify
from nixbk.planner.offers import Offer
from nixbk.planner.realisation import RealisedOutput
from nixbk.resolve.caches.address import AddressError
from nixbk.resolve.caches.cache import Cache
from nixbk.resolve.caches.faults import CacheError, CacheRefusedError, CacheUnreachableError
from nixbk.resolve.caches.transport import CacheClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixbk.resolve.caches.wire import Request

PATH = store_path("app")
INFO = RealisedOutput(PATH, Hash.of(b"nar"), 120, (PATH, store_path("lib")))
OFFER = Offer(INFO, "", deriver=store_path("app.drv"))
FLOATING = Offer(INFO, "fixed:r:sha256:" + "0" * 52)
FILE = b"packed"


def over_http(
    folder: Path, url: str, code: int = 0
) -> Callable[[Request], tuple[int, list[bytes]]]:
    """A server of the files of a folder; it answers *code* to what is written, if not 0."""

    def answer(request: Request) -> tuple[int, list[bytes]]:
        file = folder / request.url.removeprefix(f"{url}/")
        if request.method == "PUT":
            data = request.content
            file.parent.mkdir(exist_ok=True)
            if not code:
                file.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
            return code or 201, []
        if not file.exists():
            return 404, []
        return 200, [] if request.method == "HEAD" else [file.read_bytes()]

    return answer


@contextmanager
def target(
    place: tuple[str, Path], key: SecretKey | None = KEY, code: int = 0
) -> Iterator[PushTarget]:
    """A cache to push to."""
    url, folder = place
    cache = Cache(url, target_address(url, Path("/")))
    line = MemoryLine(over_http(folder, url, code))
    with CacheClient(
        cache, environ={}, line=lambda: line, wait=lambda _event, _seconds: None
    ) as client:
        yield PushTarget(client, key)


@pytest.fixture(params=["file", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The address of a cache, and its folder."""
    folder = tmp_path / "a cache"
    if request.param == "file":
        return f"file://{folder}", folder
    folder.mkdir()
    return "https://cache.example/x", folder


def packed(tmp_path: Path) -> Packed:
    """A packed file."""
    file = tmp_path / "packed"
    file.write_bytes(FILE)
    return Packed(file, "zstd", Hash.of(FILE), len(FILE))


def test_a_new_cache(place: tuple[str, Path], tmp_path: Path) -> None:
    """It is made one, and has what it was given."""
    _, folder = place
    with target(place) as cache:
        assert not cache.is_cache()
        cache.introduce()
        assert (folder / "nix-cache-info").read_bytes() == b"StoreDir: /nix/store\n"
        assert cache.is_cache()
        assert cache.ask([PATH]) == {}
        cache.put_archive(packed(tmp_path))
        info = cache.put_info(OFFER, packed(tmp_path))
        assert cache.ask([PATH, store_path("other")]) == {PATH: info}
    assert (folder / info.url).read_bytes() == FILE
    data = (folder / f"{PATH.basename[:32]}.narinfo").read_bytes()
    assert NarInfo.parse(data) == info
    assert info == NarInfo(
        store_path=PATH,
        url=f"nar/{Hash.of(FILE).base32()}.nar.zst",
        compression="zstd",
        file_hash=Hash.of(FILE),
        file_size=len(FILE),
        nar_hash=INFO.nar_hash,
        nar_size=120,
        references=INFO.references,
        deriver=store_path("app.drv").basename,
        signatures=(KEY.sign(info.fingerprint),),
    )
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["nar", "nix-cache-info", f"{PATH.basename[:32]}.narinfo"]
    )


def test_a_file_that_is_there_is_not_sent(place: tuple[str, Path], tmp_path: Path) -> None:
    """Its name says what is in it."""
    _, folder = place
    found = packed(tmp_path)
    (folder / "nar").mkdir(parents=True)
    (folder / found.url).write_bytes(b"there")
    with target(place) as cache:
        cache.put_archive(found)
    assert (folder / found.url).read_bytes() == b"there"


BROKEN = {
    "empty": b"",
    "half": b"StorePath: /nix/store/",
    "another": None,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_narinfo_does_not_count(place: tuple[str, Path], name: str) -> None:
    """It is written anew."""
    _, folder = place
    data = BROKEN[name]
    if data is None:
        other = RealisedOutput(store_path("other"), Hash.of(b"nar"), 120, ())
        info = NarInfo(other.path, "nar/x", "none", None, None, other.nar_hash, 120)
        data = info.to_bytes()
    folder.mkdir(exist_ok=True)
    (folder / f"{PATH.basename[:32]}.narinfo").write_bytes(data)
    with target(place) as cache:
        assert cache.ask([PATH]) == {}


def test_signatures_are_added(place: tuple[str, Path], tmp_path: Path) -> None:
    """To what is true and not signed with this key, whoever else signed it."""
    with target(place, OTHER) as cache:
        there = cache.put_info(OFFER, packed(tmp_path))
        assert not cache.wants_signature(OFFER, there)
    with target(place, None) as cache:
        assert not cache.wants_signature(OFFER, there)
    with target(place, STRANGER) as cache:  # a key of the same name as ours
        cache.add_signature(there)
        (there,) = cache.ask([PATH]).values()
    with target(place) as cache:
        assert cache.wants_signature(OFFER, there)
        cache.add_signature(there)
        (there,) = cache.ask([PATH]).values()
        assert not cache.wants_signature(OFFER, there)
        lie = Offer(INFO._replace(nar_size_bytes=121), "")
        assert not is_same(lie, there)
        assert not cache.wants_signature(lie, replace(there, signatures=()))
    for key in (KEY, OTHER):
        keys = {key.name: key.public}
        assert any(verify(there.fingerprint, text, keys) for text in there.signatures)


def test_content_addresses_are_told(place: tuple[str, Path], tmp_path: Path) -> None:
    """Without a key, too."""
    with target(place, None) as cache:
        info = cache.put_info(FLOATING, packed(tmp_path))
    assert (info.content_address, info.signatures) == (FLOATING.content_address, ())
    assert info.deriver == ""


def test_other_stores_are_refused(place: tuple[str, Path]) -> None:
    """And what is no nix-cache-info at all."""
    url, folder = place
    folder.mkdir(exist_ok=True)
    for text, said in (
        ("StoreDir: /gnu/store\n", "it has paths of the store '/gnu/store', not of /nix/store"),
        ("StoreDir: x\n", "its nix-cache-info: StoreDir: 'x' is no directory"),
    ):
        (folder / "nix-cache-info").write_text(text)
        with target(place) as cache, pytest.raises(CacheError) as caught:
            cache.is_cache()
        assert caught.value.message == said
        assert caught.value.where == url


ANSWERS: dict[int, tuple[type[CacheError], str]] = {
    401: (CacheRefusedError, "a login for its host in ~/.netrc"),
    403: (CacheRefusedError, "a login for its host in ~/.netrc"),
    405: (CacheError, "HTTP PUT"),
    500: (CacheUnreachableError, "is the cache up, and its address right?"),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_caches_that_take_nothing(tmp_path: Path, code: int) -> None:
    """The message says what they answered, and where."""
    kind, hint = ANSWERS[code]
    with target(("https://cache.example", tmp_path), code=code) as cache:
        with pytest.raises(kind, match=rf"HTTP {code} from 'https://cache.example/nix") as caught:
            cache.introduce()
        assert hint in str(caught.value.hint)


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    """The message says which file, and why."""
    (tmp_path / "file").write_text("")
    with target((f"file://{tmp_path}/file/cache", tmp_path)) as cache:
        assert not cache.is_cache()
        with pytest.raises(CacheError, match=r"cannot write .*/nix-cache-info': not a directory"):
            cache.introduce()


ADDRESSES = {
    "a bucket": ("s3://B/x", "expected the name of a bucket", "write s3://BUCKET/PREFIX"),
    "a parameter": ("s3://bucket?compression=xz", "'compression'", "give --compression instead"),
    "a machine": ("ssh://host", "no binary caches at 'ssh://host'", "write http://host/path"),
    "a folder": ("/srv/cache", "no binary caches at '/srv/cache'", "file:///folder"),
    "compression": ("file:///x?compression=xz", "'compression'", "give --compression instead"),
    "key": ("file:///x?secret-key=/k", "'secret-key'", "give --secret-key-file instead"),
    "login": ("https://a:secret@host/", "has a login in it", "~/.netrc"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses_that_nothing_is_pushed_to(name: str) -> None:
    """The hint says what to write, and no message has a secret."""
    url, message, hint = ADDRESSES[name]
    with pytest.raises(AddressError) as caught:
        target_address(url, Path("/"))
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert "secret@" not in str(caught.value)


def test_who_needs_a_key() -> None:
    """What does not follow from its content, unless the user says otherwise."""
    require_key([FLOATING], None, unsigned=False)
    require_key([OFFER], None, unsigned=True)
    require_key([OFFER], KEY, unsigned=False)
    setup = Offer(RealisedOutput(SETUP.path, SETUP.nar_hash, SETUP.nar_size, ()), "", source=SETUP)
    with pytest.raises(NixbkError) as caught:
        require_key([FLOATING, OFFER, setup], None, unsigned=False)
    assert caught.value.message == "there is no key to sign 'app' with (and 1 more)"
    assert "--unsigned" in str(caught.value.hint)
