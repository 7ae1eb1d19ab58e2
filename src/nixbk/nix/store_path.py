"""Store paths: their text, and the hashes they are made of. Pure.

Grammar::

    path     = "/nix/store/" basename
    basename = digest "-" name
    digest   = 32 base-32 digits        ; 20 bytes
    name     = 1*211( ALPHA / DIGIT / "+" / "-" / "." / "_" / "?" / "=" )
               ; not "." or "..", nor either of them followed by "-"

A digest is the SHA-256, folded to 20 bytes, of a fingerprint::

    fingerprint = type ":sha256:" base16 ":/nix/store:" name
    type        = "text" *(":" path)
                / "source" *(":" path) [":self"]
                / "output:" output-name

Source: Nix ``src/libstore/path.cc`` and ``src/libstore/store-dir-config.cc``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from nixbk.errors import NixbkError
from nixbk.nix import base32
from nixbk.nix.hashes import Hash, HashAlgorithm

if TYPE_CHECKING:
    from collections.abc import Iterable

STORE_DIR: Final = "/nix/store"

IngestionMethod = Literal["flat", "nar", "text", "git"]

_PREFIX: Final = STORE_DIR + "/"
_DIGEST_BYTES: Final = 20
_DIGEST_DIGITS: Final = 32
_MAX_NAME: Final = 211
_NAME: Final = re.compile(r"(?!\.\.?(?:-|\Z))[0-9A-Za-z+\-._?=]{1,211}")
_NAME_CHARACTERS: Final = re.compile(r"[0-9A-Za-z+\-._?=]*")


class StorePathError(NixbkError):
    """A text or a name that makes no store path."""


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a store path.

    Raises:
        StorePathError: *name* breaks the grammar of this module.

    Source: ``checkName``, Nix ``src/libstore/path.cc``.
    """
    if _NAME.fullmatch(name):
        return
    if not name:
        raise StorePathError("the name of a store path is empty")
    if len(name) > _MAX_NAME:
        raise StorePathError(f"the store path name {name!r} is longer than {_MAX_NAME} characters")
    if not _NAME_CHARACTERS.fullmatch(name):
        raise StorePathError(
            f"the store path name {name!r} has a character other than letters, digits and +-._?="
        )
    raise StorePathError(f"the store path name {name!r} begins with a '.' or '..' component")


@dataclass(frozen=True, slots=True, order=True)
class StorePath:
    """One direct child of the store directory; valid once built.

    Paths order as their texts do.

    Attributes:
        digest: 20 raw bytes, not their 32 base-32 digits.
        name: 1 to 211 characters of ``[0-9A-Za-z+._?=-]``.

    Raises:
        StorePathError: a field breaks its rule.

    Source: ``StorePath``, Nix ``src/libstore/path.cc``.
    """

    digest: bytes = field(compare=False)
    name: str = field(compare=False)
    _text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.digest) != _DIGEST_BYTES:
            raise StorePathError(
                f"the digest of a store path has {_DIGEST_BYTES} bytes, not {len(self.digest)}"
            )
        check_name(self.name)
        text = f"{_PREFIX}{base32.encode(self.digest)}-{self.name}"
        object.__setattr__(self, "_text", text)

    @staticmethod
    @lru_cache(maxsize=1 << 17)
    def parse(text: str) -> StorePath:
        """The store path whose full text is *text*; the inverse of `str`.

        Raises:
            StorePathError: *text* is not exactly ``/nix/store/<digest>-<name>``.

        Source: ``StoreDirConfig::parseStorePathCanonical``, Nix
            ``src/libstore/store-dir-config.cc``.
        """
        digest, name = _parts(text)
        path = object.__new__(StorePath)
        object.__setattr__(path, "digest", digest)
        object.__setattr__(path, "name", name)
        object.__setattr__(path, "_text", text)
        return path

    @staticmethod
    def from_basename(text: str) -> StorePath:
        """The store path whose last component is *text*.

        Raises:
            StorePathError: *text* is no ``<digest>-<name>``.
        """
        return StorePath.parse(_PREFIX + text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return self._text

    @property
    def basename(self) -> str:
        """``<digest>-<name>``, the path without the store directory."""
        return self._text[len(_PREFIX) :]

    @property
    def is_derivation(self) -> bool:
        """Whether the name ends in ``.drv``."""
        return self.name.endswith(".drv")


def _parts(text: str) -> tuple[bytes, str]:
    """The digest and the name in the text of a store path."""
    if not text.startswith(_PREFIX):
        raise StorePathError(f"the path {text!r} is not in the Nix store")
    basename = text[len(_PREFIX) :]
    if basename[_DIGEST_DIGITS : _DIGEST_DIGITS + 1] != "-":
        raise StorePathError(f"{text!r} is no store path: no '-' follows a digest of 32 characters")
    name = basename[_DIGEST_DIGITS + 1 :]
    try:
        digest = base32.decode(basename[:_DIGEST_DIGITS])
        check_name(name)
    except (base32.Base32Error, StorePathError) as error:
        raise StorePathError(f"{text!r} is no store path: {error.message}") from error
    return digest, name


def output_path_name(drv_name: str, output_name: str) -> str:
    """The name of an output's store path.

    Source: ``outputPathName``, Nix ``src/libstore/derivations.cc``.
    """
    return drv_name if output_name == "out" else f"{drv_name}-{output_name}"


def text_path(name: str, content: bytes, references: Iterable[StorePath] = ()) -> StorePath:
    """The path of a text that refers to *references*: a derivation, a ``toFile``.

    Source: ``StoreDirConfig::makeFixedOutputPathFromCA`` with ``TextInfo``.
    """
    kind = _with_references("text", references)
    return _make(kind, hashlib.sha256(content).hexdigest(), name)


def source_path(
    name: str,
    nar_sha256: bytes,
    references: Iterable[StorePath] = (),
    *,
    self_reference: bool = False,
) -> StorePath:
    """The path of a tree added by its NAR hash.

    Args:
        name: of the path.
        nar_sha256: raw SHA-256 of the tree's NAR.
        references: other store paths the tree holds.
        self_reference: whether it holds its own path.

    Source: ``StoreDirConfig::makeFixedOutputPath``, SHA-256 and ``NixArchive``.
    """
    kind = _with_references("source", references)
    return _make(kind + ":self" if self_reference else kind, nar_sha256.hex(), name)


def fixed_output_path(
    name: str,
    content: Hash,
    method: IngestionMethod,
    references: Iterable[StorePath] = (),
    *,
    self_reference: bool = False,
) -> StorePath:
    """The path of content known by its hash.

    Args:
        name: of the path.
        content: what the content must hash to.
        method: ``flat`` (one file), ``nar`` (any tree, ``recursive`` in Nix code),
            ``text`` or ``git`` (a git tree).
        references: only ``text``, and ``nar`` with SHA-256, can have any.
        self_reference: whether it holds its own path; only ``nar`` with SHA-256 can.

    Raises:
        StorePathError: the method does not go with the hash or with references.

    Source: ``StoreDirConfig::makeFixedOutputPathFromCA``, Nix
        ``src/libstore/store-dir-config.cc``.
    """
    is_sha256 = content.algorithm is HashAlgorithm.SHA256
    if method == "text":
        if not is_sha256:
            raise StorePathError(f"the text {name!r} must be hashed with sha256")
        if self_reference:
            raise StorePathError(f"the text {name!r} may not refer to itself")
        return _make(_with_references("text", references), content.base16(), name)
    if method == "nar" and is_sha256:
        return source_path(name, content.digest, references, self_reference=self_reference)
    if method == "git" and content.algorithm not in {HashAlgorithm.SHA1, HashAlgorithm.SHA256}:
        raise StorePathError(f"the git tree {name!r} must be hashed with sha1 or sha256")
    if self_reference or tuple(references):
        raise StorePathError(f"the fixed output {name!r} may not refer to other store paths")
    inner = f"fixed:out:{_METHOD_PREFIXES[method]}{content.algorithm}:{content.base16()}:"
    return _make("output:out", hashlib.sha256(inner.encode("ascii")).hexdigest(), name)


_METHOD_PREFIXES: Final[dict[IngestionMethod, str]] = {
    "flat": "",
    "nar": "r:",
    "text": "text:",
    "git": "git:",
}


def output_path(drv_name: str, output_name: str, modulo: bytes) -> StorePath:
    """The path of an input-addressed output.

    Args:
        drv_name: the derivation's name, without ``.drv``.
        output_name: such as ``out``.
        modulo: raw SHA-256 of the derivation with its outputs masked.

    Source: ``StoreDirConfig::makeOutputPath``.
    """
    return _make(f"output:{output_name}", modulo.hex(), output_path_name(drv_name, output_name))


def fallback_path(drv_path: StorePath, name: str, output_name: str) -> StorePath:
    """Where an output is while it is built, when its path follows from its content.

    Args:
        drv_path: the derivation that is built.
        name: of the path.
        output_name: such as ``out``.

    Source: ``DerivationBuilderImpl::makeFallbackPath``, Nix
        ``src/libstore/unix/build/derivation-builder.cc``.
    """
    kind = f"rewrite:{drv_path.basename}:name:{output_name}"
    return _make(kind, bytes(HashAlgorithm.SHA256.size_bytes).hex(), name)


def _with_references(kind: str, references: Iterable[StorePath]) -> str:
    """Append the sorted references. Source: ``makeType``, Nix ``store-dir-config.cc``."""
    return ":".join([kind, *sorted({str(path) for path in references})])


def _make(kind: str, sha256_hex: str, name: str) -> StorePath:
    """Source: ``StoreDirConfig::makeStorePath``, Nix ``store-dir-config.cc``."""
    check_name(name)
    fingerprint = f"{kind}:sha256:{sha256_hex}:{STORE_DIR}:{name}"
    return StorePath(compress_hash(hashlib.sha256(fingerprint.encode("ascii")).digest()), name)


def compress_hash(digest: bytes, size_bytes: int = _DIGEST_BYTES) -> bytes:
    """Fold a digest to *size_bytes* by exclusive or.

    Source: ``compressHash``, Nix ``src/libutil/hash.cc``.
    """
    folded = 0
    for start in range(0, len(digest), size_bytes):
        folded ^= int.from_bytes(digest[start : start + size_bytes], "little")
    return folded.to_bytes(size_bytes, "little")
