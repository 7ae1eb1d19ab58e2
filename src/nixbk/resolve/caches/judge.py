"""What of a cache's answer is to be believed. Pure.

A narinfo is a claim. It is taken when it is about the path that was asked for, makes sense, and
somebody whom the manifest trusts signed it; or the path follows from the content, which is checked
when it is unpacked; or the manifest takes this cache at its word.

Source: ``ValidPathInfo::checkSignatures``, Nix ``src/libstore/path-info.cc``, and
``BinaryCacheStore::narFromPath``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from nixbk.errors import NixbkError
from nixbk.nix.content_address import follows_from_content
from nixbk.nix.narinfo import NarInfo, NarInfoError
from nixbk.nix.signatures import verify
from nixbk.resolve.caches.address import AddressError
from nixbk.schema.lock import Compression

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.nix.hashes import Hash
    from nixbk.nix.signatures import PublicKey
    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.caches.cache import Cache

MAX_NAR_BYTES: Final = 1 << 62
COMPRESSIONS: Final = frozenset(get_args(Compression))
_SHOWN: Final = 100

Status = Literal["accepted", "absent", "refused", "failed"]


class RefusedAnswerError(NixbkError):
    """A narinfo that is not believed; where is the store path.

    Attributes:
        field: the field at fault, as the narinfo has it; empty for what is no narinfo.
    """

    def __init__(self, path: StorePath, field: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, where=str(path), hint=hint)
        self.field = field


class Answer(NamedTuple):
    """What one cache says of one path.

    Attributes:
        substituter: the cache's name in the manifest.
        status: ``accepted``; ``absent``, where the cache does not have it; ``refused``, where what
            it says is not believed; ``failed``, where it says nothing.
        info: of an accepted answer.
        file_hash: SHA-256 of the archive, of an accepted answer.
        file_size: its length in bytes, where it is known.
        error: of a refused or failed answer: `RefusedAnswerError`, or `CacheError`.
    """

    substituter: str
    status: Status
    info: NarInfo | None = None
    file_hash: Hash | None = None
    file_size: int | None = None
    error: NixbkError | None = None


def judge(cache: Cache, path: StorePath, data: bytes, keys: Mapping[str, PublicKey]) -> Answer:
    """Hold an answer against what was asked, and against the keys of the manifest.

    Args:
        cache: who answered.
        path: what was asked for.
        data: the narinfo.
        keys: of the manifest, by their names.
    """
    claim = claim_of(cache, path, data)
    if isinstance(claim, Answer):
        return claim
    return claim.answer(keys, believed=not claim.needs_signature or claim.is_signed(keys))


class Claim(NamedTuple):
    """A narinfo that makes sense, before anybody asks who signed it.

    Attributes:
        cache: who says so.
        path: what it is about.
        info: the narinfo.
        file_hash: SHA-256 of the archive.
        file_size: its length in bytes, where it is known.
    """

    cache: Cache
    path: StorePath
    info: NarInfo
    file_hash: Hash
    file_size: int | None

    @property
    def needs_signature(self) -> bool:
        """Whether it is believed only if somebody signed it."""
        address = self.info.content_address
        return self.cache.trust and not (
            address
            and follows_from_content(self.path, address, self.info.references, self.info.nar_hash)
        )

    def is_signed(self, keys: Mapping[str, PublicKey]) -> bool:
        """Whether one of *keys* signed it; takes a tenth of a millisecond, and may take a thread's.

        Most of that is the library's, which lets other threads run meanwhile.
        """
        signed = self.info.fingerprint
        return any(verify(signed, signature, keys) for signature in self.info.signatures)

    def answer(self, keys: Mapping[str, PublicKey], *, believed: bool) -> Answer:
        """The answer that it is; *keys* tell why one is not *believed*."""
        if not believed:
            error = _unsigned(self.cache, self.path, self.info, keys)
            return Answer(self.cache.name, "refused", error=error)
        return Answer(self.cache.name, "accepted", self.info, self.file_hash, self.file_size)


def claim_of(cache: Cache, path: StorePath, data: bytes) -> Claim | Answer:
    """What a narinfo claims, or the answer that refuses it; see `judge`."""
    try:
        info = _parsed(cache, path, data)
        file_hash, file_size = _archive(cache, path, info)
    except RefusedAnswerError as error:
        return Answer(cache.name, "refused", error=error)
    return Claim(cache, path, info, file_hash, file_size)


def _parsed(cache: Cache, path: StorePath, data: bytes) -> NarInfo:
    try:
        info = NarInfo.parse(data)
    except NarInfoError as error:
        message = f"the narinfo of {cache.name!r} is refused: {error.message}"
        raise RefusedAnswerError(path, error.field, message) from error
    if info.store_path != path:
        raise _lie(cache, path, "StorePath", f"it is about {str(info.store_path)!r}")
    if not 0 < info.nar_size < MAX_NAR_BYTES:
        raise _lie(cache, path, "NarSize", f"{info.nar_size} bytes are no size of a NAR")
    return info


def _archive(cache: Cache, path: StorePath, info: NarInfo) -> tuple[Hash, int | None]:
    """Hash and length of the file at the URL."""
    if info.compression not in COMPRESSIONS:
        shown = repr(info.compression[:_SHOWN])
        known = ", ".join(sorted(COMPRESSIONS))
        raise _lie(cache, path, "Compression", f"{shown} is not one of {known}")
    try:
        cache.address.join(info.url)
    except AddressError as error:
        raise _lie(cache, path, "URL", error.message) from error
    if info.compression == "none":
        if info.file_hash not in {None, info.nar_hash}:
            raise _lie(cache, path, "FileHash", "it is not the NAR's, which is not compressed")
        if info.file_size not in {None, info.nar_size}:
            raise _lie(cache, path, "FileSize", "it is not the NAR's, which is not compressed")
        return info.nar_hash, info.nar_size
    if info.file_hash is None:
        raise _lie(cache, path, "FileHash", "it is missing, and the NAR is compressed")
    if info.file_size is not None and info.file_size >= MAX_NAR_BYTES:
        raise _lie(cache, path, "FileSize", f"{info.file_size} bytes are no size of a file")
    return info.file_hash, info.file_size


def _unsigned(
    cache: Cache, path: StorePath, info: NarInfo, keys: Mapping[str, PublicKey]
) -> RefusedAnswerError:
    """Why no signature counts."""
    names = sorted({signature.partition(":")[0] for signature in info.signatures})
    if not names:
        message = "nobody signed it"
    elif known := [name for name in names if name in keys]:
        message = f"StorePath, NarHash, NarSize or References are not what {known[0]!r} signed"
    else:
        message = f"it is signed by {_listed(names)}, whose key the manifest does not have"
    hint = f"add the key to 'public-keys', or take {cache.name!r} at its word: 'trust = false'"
    return RefusedAnswerError(
        path, "Sig", f"the narinfo of {cache.name!r} is refused: Sig: {message}", hint
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:_SHOWN]) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and others"  # noqa: PLR2004 - enough to tell


def _lie(cache: Cache, path: StorePath, field: str, message: str) -> RefusedAnswerError:
    return RefusedAnswerError(
        path, field, f"the narinfo of {cache.name!r} is refused: {field}: {message}"
    )
