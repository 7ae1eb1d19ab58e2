"""A binary cache that is written to. Effects: sockets, or the files of a folder.

Files are written in such an order that whoever reads meanwhile, or after an end in between, finds
nothing that is not there: the NAR, then the narinfo, and that behind those of its references.

Source: ``BinaryCacheStore``, Nix ``src/libstore/binary-cache-store.cc``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from nixbk.errors import NixbkError
from nixbk.nix.cache_info import FILE_NAME, CacheInfo, CacheInfoError
from nixbk.nix.narinfo import NarInfo, NarInfoError
from nixbk.nix.signatures import verify
from nixbk.nix.store_path import STORE_DIR
from nixbk.resolve.caches.address import AddressError, CacheAddress
from nixbk.resolve.caches.faults import CacheError, NotInCacheError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nixbk.apply.pack import Packed
    from nixbk.nix.signatures import SecretKey
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.offers import Offer
    from nixbk.resolve.caches.transport import CacheClient

AT_ONCE: Final = 16
"""Questions, and files, that are under way."""

_MAX_BYTES: Final = 1 << 20
_HASH_CHARACTERS: Final = 32
_NAR_TYPE: Final = "application/x-nix-nar"
_NARINFO_TYPE: Final = "text/x-nix-narinfo"
_INFO_TYPE: Final = "text/x-nix-cache-info"
_PUT: Final = "a server that is pushed to has to take files by HTTP PUT"
_OPTIONS: Final = {"compression": "--compression", "secret-key": "--secret-key-file"}


def target_address(url: str, folder: Path) -> CacheAddress:
    """Where to push to.

    Args:
        url: as the user wrote it.
        folder: that ``file:./folder`` is relative to.

    Raises:
        AddressError: nothing can be pushed there.
    """
    try:
        return CacheAddress.parse(url, folder)
    except AddressError as error:
        parts = urlsplit(url)
        given = [_OPTIONS[key] for key, _ in parse_qsl(parts.query) if key in _OPTIONS]
        if given:
            raise AddressError(error.message, hint=f"give {given[0]} instead") from error
        raise


class PushTarget:
    """One cache, written to from many threads."""

    def __init__(self, client: CacheClient, key: SecretKey | None) -> None:
        self._client = client
        self._key = key
        self._keys = {key.name: key.public} if key is not None else {}

    @property
    def name(self) -> str:
        """What the cache is called."""
        return self._client.cache.name

    def is_cache(self) -> bool:
        """Whether there is a cache already, and of the right store.

        Raises:
            CacheError: it cannot be asked, or it is one of another store.
        """
        try:
            info = CacheInfo.parse(self._client.read(FILE_NAME, _MAX_BYTES))
        except NotInCacheError:
            return False
        except CacheInfoError as error:
            raise CacheError(f"its {FILE_NAME}: {error.message}", where=self.name) from error
        if info.store_dir != STORE_DIR:
            raise CacheError(
                f"it has paths of the store {info.store_dir!r}, not of {STORE_DIR}", where=self.name
            )
        return True

    def introduce(self) -> None:
        """Make it a cache."""
        self._put(FILE_NAME, CacheInfo().to_bytes(), _INFO_TYPE)

    def ask(self, paths: Iterable[StorePath]) -> Mapping[StorePath, NarInfo]:
        """What it tells of those of *paths* that it has; what is no narinfo does not count."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = {path: pool.submit(self._ask, path) for path in paths}
            try:
                answers = {path: future.result() for path, future in asked.items()}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {path: info for path, info in answers.items() if info is not None}

    def _ask(self, path: StorePath) -> NarInfo | None:
        try:
            info = NarInfo.parse(self._client.read(_narinfo_url(path), _MAX_BYTES))
        except (NotInCacheError, NarInfoError):
            return None
        return info if info.store_path == path else None

    def put_archive(self, packed: Packed) -> None:
        """Have it hold a file; one of the same name is the same."""
        if not self._client.exists(packed.url):
            self._put(packed.url, packed.file, _NAR_TYPE)

    def put_info(self, offer: Offer, packed: Packed) -> NarInfo:
        """Tell of a path whose file it holds, and whose references it has, if they are to be."""
        info = self._signed(
            NarInfo(
                store_path=offer.path,
                url=packed.url,
                compression=packed.compression,
                file_hash=packed.file_hash,
                file_size=packed.file_size,
                nar_hash=offer.info.nar_hash,
                nar_size=offer.info.nar_size_bytes,
                references=offer.info.references,
                deriver=offer.deriver.basename if offer.deriver else "",
                content_address=offer.content_address,
            )
        )
        self._write(info)
        return info

    def wants_signature(self, offer: Offer, there: NarInfo) -> bool:
        """Whether it tells the truth about a path, and our key has not signed that yet."""
        if self._key is None or not is_same(offer, there):
            return False
        return not any(
            verify(there.fingerprint, signature, self._keys) for signature in there.signatures
        )

    def add_signature(self, there: NarInfo) -> None:
        """Sign what it tells already."""
        self._write(self._signed(there))

    def _signed(self, info: NarInfo) -> NarInfo:
        if self._key is None:
            return info
        return replace(info, signatures=(*info.signatures, self._key.sign(info.fingerprint)))

    def _write(self, info: NarInfo) -> None:
        self._put(_narinfo_url(info.store_path), info.to_bytes(), _NARINFO_TYPE)

    def _put(self, url: str, content: bytes | Path, media_type: str) -> None:
        try:
            self._client.put(url, content, media_type)
        except CacheError as error:
            if error.hint or self._client.cache.address.kind == "file":
                raise
            raise CacheError(error.message, where=error.where, hint=_PUT) from error


def is_same(offer: Offer, there: NarInfo) -> bool:
    """Whether a cache has a path with the content that it has here."""
    info = offer.info
    return (there.nar_hash, there.nar_size, set(there.references)) == (
        info.nar_hash,
        info.nar_size_bytes,
        set(info.references),
    )


def require_key(offers: Iterable[Offer], key: SecretKey | None, *, unsigned: bool) -> None:
    """See that all that needs a signature will have one.

    Raises:
        NixbkError: it will not, and the user did not say that it need not.
    """
    if key is not None or unsigned:
        return
    wanting = [offer.path for offer in offers if not offer.content_address]
    if wanting:
        more = f" (and {len(wanting) - 1} more)" if len(wanting) > 1 else ""
        raise NixbkError(
            f"there is no key to sign {wanting[0].name!r} with{more}",
            where="--secret-key-file",
            hint="name the file of a key; 'nix-store --generate-binary-cache-key' makes one; or "
            "give --unsigned for a cache that is believed without",
        )


def _narinfo_url(path: StorePath) -> str:
    return f"{path.basename[:_HASH_CHARACTERS]}.narinfo"
