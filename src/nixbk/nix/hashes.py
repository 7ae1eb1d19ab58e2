"""Hashes in every spelling Nix reads and prints. Pure.

Grammar::

    hash   = sri / [algo ":"] base16 / [algo ":"] base32 / [algo ":"] base64
    sri    = algo "-" base64            ; the padding may be missing
    algo   = "md5" / "sha1" / "sha256" / "sha512"
    base16 = 1*HEXDIG                   ; either case is read, lower is printed

Without ``-`` the length alone tells base 16, 32 and 64 apart, so the algorithm
has to be known, from the prefix or from the caller.

Source: ``Hash::parseAny`` and ``Hash::to_string``, Nix ``src/libutil/hash.cc``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nixbk.errors import NixbkError
from nixbk.nix import base32


class HashError(NixbkError):
    """A text that is no hash, or not the hash that is asked for."""


class HashAlgorithm(StrEnum):
    """An algorithm Nix hashes with."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA512 = "sha512"

    @property
    def size_bytes(self) -> int:
        """How long a digest is."""
        return _SIZES[self]

    @classmethod
    def parse(cls, text: str) -> HashAlgorithm:
        """The algorithm named *text*.

        Raises:
            HashError: Nix has no such algorithm.

        Source: ``parseHashAlgo``, Nix ``src/libutil/hash.cc``.
        """
        try:
            return cls(text)
        except ValueError:
            raise HashError(
                f"unknown hash algorithm {text!r}",
                hint="nixbk knows md5, sha1, sha256 and sha512",
            ) from None

    def digest(self, data: bytes) -> bytes:
        """The digest of *data*."""
        return hashlib.new(self.value, data, usedforsecurity=False).digest()


_SIZES: Final = {
    HashAlgorithm.MD5: 16,
    HashAlgorithm.SHA1: 20,
    HashAlgorithm.SHA256: 32,
    HashAlgorithm.SHA512: 64,
}
_BASE64: Final = re.compile(r"([0-9A-Za-z+/]*)={0,2}")
_BASE16: Final = re.compile(r"[0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class Hash:
    """An algorithm and a digest of its length.

    Attributes:
        algorithm: what made the digest.
        digest: raw bytes, `HashAlgorithm.size_bytes` of them.

    Raises:
        HashError: the digest has another length.

    Source: ``Hash``, Nix ``src/libutil/hash.hh``.
    """

    algorithm: HashAlgorithm
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != self.algorithm.size_bytes:
            raise HashError(
                f"a {self.algorithm} digest has {self.algorithm.size_bytes} bytes,"
                f" not {len(self.digest)}"
            )

    @classmethod
    def of(cls, data: bytes, algorithm: HashAlgorithm = HashAlgorithm.SHA256) -> Hash:
        """The hash of *data*."""
        return cls(algorithm, algorithm.digest(data))

    @classmethod
    def parse(cls, text: str, algorithm: HashAlgorithm | None = None) -> Hash:
        """The hash that *text* spells in any of Nix's ways.

        Args:
            text: see the grammar of this module.
            algorithm: what is expected; needed if *text* does not say.

        Raises:
            HashError: *text* is no hash, or one of another algorithm.

        Source: ``Hash::parseAny``, Nix ``src/libutil/hash.cc``.
        """
        prefix, colon, rest = text.partition(":")
        dash = ""
        if not colon:
            prefix, dash, rest = text.partition("-")
        if colon or dash:
            named = HashAlgorithm.parse(prefix)
            if algorithm is not None and named is not algorithm:
                raise HashError(f"the hash {text!r} should be one of {algorithm}")
            algorithm = named
        elif algorithm is None:
            raise HashError(
                f"the hash {text!r} does not say of which algorithm it is",
                hint="write it as 'sha256-…' (SRI) or 'sha256:…'",
            )
        else:
            rest = text
        if dash:
            return cls(algorithm, _decode_base64(text, rest, algorithm))
        return cls(algorithm, _decode_any(text, rest, algorithm))

    def __str__(self) -> str:
        return self.sri()

    def sri(self) -> str:
        """``sha256-<base64>``, the spelling nixbk prints."""
        return f"{self.algorithm}-{self.base64()}"

    def base16(self) -> str:
        """Lower case hexadecimal digits, without a prefix."""
        return self.digest.hex()

    def base32(self) -> str:
        """Nix's own base 32, without a prefix."""
        return base32.encode(self.digest)

    def base64(self) -> str:
        """Base 64 with padding, without a prefix."""
        return base64.b64encode(self.digest).decode("ascii")


def _decode_any(text: str, rest: str, algorithm: HashAlgorithm) -> bytes:
    """Tell the base by the length, as ``baseFromSize`` does."""
    size = algorithm.size_bytes
    if len(rest) == size * 2:
        if not _BASE16.fullmatch(rest):
            raise HashError(f"the hash {text!r} has a character that is no base-16 digit")
        return bytes.fromhex(rest)
    if len(rest) == base32.encoded_length(size):
        try:
            return base32.decode(rest)
        except base32.Base32Error as error:
            raise HashError(f"the hash {text!r} is no base-32 hash: {error.message}") from error
    if len(rest) == (size + 2) // 3 * 4:
        return _decode_base64(text, rest, algorithm)
    raise HashError(f"the hash {text!r} has the wrong length for {algorithm}")


def _decode_base64(text: str, rest: str, algorithm: HashAlgorithm) -> bytes:
    """Read base 64 with or without its padding, as Nix does."""
    match = _BASE64.fullmatch(rest)
    if not match:
        raise HashError(f"the hash {text!r} is no base-64 text")
    digits = match[1]
    try:
        digest = base64.b64decode(digits + "=" * (-len(digits) % 4))
    except binascii.Error as error:
        raise HashError(f"the hash {text!r} is no base-64 text") from error
    if len(digest) != algorithm.size_bytes:
        raise HashError(
            f"the hash {text!r} has {len(digest)} bytes,"
            f" where {algorithm} has {algorithm.size_bytes}"
        )
    return digest
