"""What a binary cache tells of a store path: its ``.narinfo``. Pure.

Grammar::

    narinfo = *( field LF )
    field   = "StorePath: " path
            / "URL: " url                       ; relative to the cache, or absolute
            / "Compression: " method            ; bzip2, if it is missing or empty
            / "FileHash: " hash                 ; SHA-256 of what is at the URL
            / "FileSize: " size                 ; 0: unknown
            / "NarHash: " hash                  ; SHA-256
            / "NarSize: " size                  ; not 0
            / "References: " [basename *(SP basename)]
            / "Deriver: " (basename / "unknown-deriver")
            / "Sig: " signature                 ; any number of them
            / "CA: " [content-address]
            / name ":" 1*char                   ; of no meaning here
    size    = 1*20DIGIT                         ; less than 2^64

They may come in any order, and are printed in this one. StorePath, URL, NarHash
and NarSize must be there. Each but Sig comes once: Nix takes the last of some and
refuses others, and what two readers read in two ways is refused here.

Source: ``NarInfo::NarInfo`` and ``NarInfo::to_string``, Nix
``src/libstore/nar-info.cc``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.nix.content_address import parse_content_address
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.signatures import Signature, fingerprint
from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_SIZE: Final = (1 << 64) - 1
_SIZE: Final = re.compile(r"[0-9]{1,20}")
_WORD: Final = re.compile(r"[!-~]+")  # printable ASCII without the space
_SHOWN: Final = 100
_LONGEST: Final = 400
_UNKNOWN_DERIVER: Final = "unknown-deriver"
_OLD_DEFAULT: Final = "bzip2"


class NarInfoError(NixbkError):
    """Bytes that are no narinfo.

    Attributes:
        field: which of its fields is wrong, as Nix writes it; empty for what is no field.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


@dataclass(frozen=True, slots=True)
class NarInfo:
    """What a binary cache tells of a store path; nothing of it is proven.

    Attributes:
        store_path: what it is about.
        url: where the archive is: relative to the cache, or absolute. Printable ASCII without a
            space; anything else is left to who opens it.
        compression: of the archive, a word that need not be known.
        file_hash: SHA-256 of the archive as it is at the URL, if it is told.
        file_size: its length in bytes, if it is told.
        nar_hash: SHA-256 of the NAR.
        nar_size: length of the NAR in bytes, not 0.
        references: what it refers to, sorted; itself included, if so.
        deriver: the base name of the derivation it came from, or empty.
        signatures: ``<key name>:<base 64>``, in the order in which Nix prints them.
        content_address: how its path follows from its content, or empty.

    Raises:
        NarInfoError: a field breaks its rule.

    Source: ``NarInfo``, Nix ``src/libstore/include/nix/store/nar-info.hh``.
    """

    store_path: StorePath
    url: str
    compression: str
    file_hash: Hash | None
    file_size: int | None
    nar_hash: Hash
    nar_size: int
    references: tuple[StorePath, ...] = ()
    deriver: str = ""
    signatures: tuple[str, ...] = ()
    content_address: str = ""

    def __post_init__(self) -> None:
        _check_word("URL", self.url)
        _check_word("Compression", self.compression)
        if self.file_hash is not None:
            _check_sha256("FileHash", self.file_hash)
        if self.file_size is not None:
            _check_size("FileSize", self.file_size)
        _check_sha256("NarHash", self.nar_hash)
        _check_size("NarSize", self.nar_size)
        if self.deriver:
            _deriver(self.deriver)
        if self.content_address:
            _check_content_address(self.content_address)
        object.__setattr__(self, "references", tuple(sorted(set(self.references), key=str)))
        object.__setattr__(self, "signatures", _sorted_signatures(self.signatures))

    @classmethod
    def parse(cls, data: bytes) -> NarInfo:
        """The narinfo that *data* holds; the inverse of `to_bytes`.

        Raises:
            NarInfoError: *data* breaks the grammar of this module.

        Source: ``NarInfo::NarInfo``, Nix ``src/libstore/nar-info.cc``.
        """
        values, signatures = _fields(data)
        file_hash, file_size = values.get("FileHash"), values.get("FileSize")
        references = values.get("References", "").split(" ")
        deriver = values.get("Deriver", _UNKNOWN_DERIVER)
        return cls(
            store_path=_path("StorePath", _required(values, "StorePath"), StorePath.parse),
            url=_required(values, "URL"),
            compression=values.get("Compression") or _OLD_DEFAULT,
            file_hash=None if file_hash is None else _hash("FileHash", file_hash),
            file_size=None if file_size is None else _size("FileSize", file_size) or None,
            nar_hash=_hash("NarHash", _required(values, "NarHash")),
            nar_size=_size("NarSize", _required(values, "NarSize")),
            references=tuple(
                _path("References", reference, StorePath.from_basename)
                for reference in references
                if reference
            ),
            deriver="" if deriver == _UNKNOWN_DERIVER else _deriver(deriver),
            signatures=tuple(signatures),
            content_address=values.get("CA", ""),
        )

    def to_bytes(self) -> bytes:
        """The narinfo as Nix prints it; the inverse of `parse`.

        Source: ``NarInfo::to_string``, Nix ``src/libstore/nar-info.cc``.
        """
        lines = [
            f"StorePath: {self.store_path}",
            f"URL: {self.url}",
            f"Compression: {self.compression}",
        ]
        if self.file_hash is not None:
            lines.append(f"FileHash: sha256:{self.file_hash.base32()}")
        if self.file_size is not None:
            lines.append(f"FileSize: {self.file_size}")
        lines += [
            f"NarHash: sha256:{self.nar_hash.base32()}",
            f"NarSize: {self.nar_size}",
            f"References: {' '.join(path.basename for path in self.references)}",
        ]
        if self.deriver:
            lines.append(f"Deriver: {self.deriver}")
        lines += [f"Sig: {signature}" for signature in self.signatures]
        if self.content_address:
            lines.append(f"CA: {self.content_address}")
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def fingerprint(self) -> bytes:
        """What its signatures sign."""
        return fingerprint(self.store_path, self.nar_hash, self.nar_size, self.references)


_KNOWN: Final = frozenset(
    {
        "StorePath",
        "URL",
        "Compression",
        "FileHash",
        "FileSize",
        "NarHash",
        "NarSize",
        "References",
        "Deriver",
        "Sig",
        "CA",
    }
)


def _fields(data: bytes) -> tuple[dict[str, str], list[str]]:
    """The values of the known fields by their names, and the signatures."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if lines.pop():
        raise NarInfoError("", "the narinfo does not end with a line feed")
    values: dict[str, str] = {}
    signatures: list[str] = []
    for number, line in enumerate(lines, 1):
        name, _, rest = line.partition(":")
        if not rest:  # Nix takes the next line for its value
            raise NarInfoError("", f"line {number} is no field of a narinfo: {_shown(line)}")
        if name not in _KNOWN:
            continue
        if not rest.startswith(" "):
            raise NarInfoError(name, "no space follows its ':'")
        if name == "Sig":
            signatures.append(rest[1:])
        elif name in values:
            raise NarInfoError(name, "it is there more than once")
        else:
            values[name] = rest[1:]
    return values, signatures


def _required(values: dict[str, str], field: str) -> str:
    value = values.get(field)
    if not value:
        raise NarInfoError(field, "it is missing" if value is None else "it is empty")
    return value


def _path(field: str, text: str, read: Callable[[str], StorePath]) -> StorePath:
    try:
        return read(text)
    except NixbkError as error:
        raise _from(field, error) from error


def _hash(field: str, text: str) -> Hash:
    try:
        return Hash.parse(text)
    except NixbkError as error:
        raise _from(field, error) from error


def _size(field: str, text: str) -> int:
    if not _SIZE.fullmatch(text):
        raise NarInfoError(field, f"{_shown(text)} is no size in bytes")
    return int(text)


def _deriver(basename: str) -> str:
    """*basename*, if it is one of a store path."""
    return _path("Deriver", basename, StorePath.from_basename).basename


def _check_word(field: str, text: str) -> None:
    if not _WORD.fullmatch(text):
        raise NarInfoError(
            field, f"{_shown(text)} is empty, or has a space or what is not printable ASCII"
        )


def _check_sha256(field: str, value: Hash) -> None:
    if value.algorithm is not HashAlgorithm.SHA256:
        raise NarInfoError(field, f"it is a hash of {value.algorithm}, not of sha256")


def _check_size(field: str, size: int) -> None:
    if not 0 < size <= _MAX_SIZE:
        raise NarInfoError(field, f"{size} is no size of an archive")


def _check_content_address(text: str) -> None:
    try:
        parse_content_address(text)
    except NixbkError as error:
        raise _from("CA", error) from error


def _sorted_signatures(texts: Iterable[str]) -> tuple[str, ...]:
    """Each signature once, as Nix orders and spells them: by the key's name, then by its bytes."""
    try:
        return tuple(map(str, sorted({Signature.parse(text) for text in texts})))
    except NixbkError as error:
        raise _from("Sig", error) from error


def _from(field: str, error: NixbkError) -> NarInfoError:
    """*error*, with the field that is at fault, and no longer than a person reads."""
    message = error.message
    return NarInfoError(
        field, message if len(message) <= _LONGEST else f"{message[:_LONGEST]}… (cut)"
    )


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}… (cut)"
