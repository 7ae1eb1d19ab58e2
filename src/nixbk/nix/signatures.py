"""Signatures of store objects, and the keys they are made with. Pure, but for `SecretKey.generate`.

Grammar::

    signature   = name ":" base64               ; of 64 bytes, Ed25519
    public-key  = name ":" base64               ; of 32 bytes
    secret-key  = name ":" base64               ; of 64 bytes: the seed, then the public key
    name        = 1*( printable character but ":" )
    fingerprint = "1;" path ";sha256:" base32 ";" nar-size ";" [path *("," path)]

What is signed is the fingerprint: a path, its archive and its references, sorted.
It says neither where the archive is nor how it is compressed.

Base 64 is printed with its padding, and read without it, too.

The library is libsodium, as it is Nix's: what is a signature for one is one for the other.

Source: Nix ``src/libutil/signature/local-keys.cc``; ``ValidPathInfo::fingerprint``,
Nix ``src/libstore/path-info.cc``.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nacl.signing import VerifyKey

    from nixbk.nix.hashes import Hash
    from nixbk.nix.store_path import StorePath

_SEED_BYTES: Final = 32
_PUBLIC_BYTES: Final = 32
_SECRET_BYTES: Final = _SEED_BYTES + _PUBLIC_BYTES
_SIGNATURE_BYTES: Final = 64
_BASE64: Final = re.compile(r"([0-9A-Za-z+/]+)={0,2}")


class SignatureError(NixbkError):
    """A text that is no signature, or no key."""


def fingerprint(
    path: StorePath, nar_hash: Hash, nar_size: int, references: Iterable[StorePath]
) -> bytes:
    """What a signature of *path* signs.

    Args:
        path: of the store object.
        nar_hash: of its NAR.
        nar_size: of its NAR, in bytes.
        references: what it refers to, in any order; itself included, if so.

    Source: ``ValidPathInfo::fingerprint``, Nix ``src/libstore/path-info.cc``.
    """
    sorted_references = ",".join(sorted({str(reference) for reference in references}))
    hashed = f"{nar_hash.algorithm}:{nar_hash.base32()}"
    return f"1;{path};{hashed};{nar_size};{sorted_references}".encode("ascii")


@dataclass(frozen=True, slots=True, order=True)
class Signature:
    """The name of a key, and what was signed with it; they order as Nix prints them.

    Attributes:
        key_name: of the key.
        signature: raw; Nix reads any length but none, and verifies 64 bytes.

    Raises:
        SignatureError: the name breaks the grammar of this module.

    Source: ``Signature``, Nix ``src/libutil/include/nix/util/signature/local-keys.hh``.
    """

    key_name: str
    signature: bytes

    def __post_init__(self) -> None:
        _check_name("signature", self.key_name)

    @classmethod
    def parse(cls, text: str) -> Signature:
        """The signature that *text* spells; the inverse of `str`.

        Raises:
            SignatureError: *text* is no ``<name>:<base 64>``.
        """
        return cls(*_parse("signature", text, repr(text)))

    def __str__(self) -> str:
        return _print(self.key_name, self.signature)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key by which signatures are verified.

    Attributes:
        name: such as ``cache.example.org-1``.
        key: 32 raw bytes.

    Raises:
        SignatureError: a field breaks its rule.

    Source: ``PublicKey``, Nix ``src/libutil/signature/local-keys.cc``.
    """

    name: str
    key: bytes

    def __post_init__(self) -> None:
        _check_name("public key", self.name)
        _check_size("public key", self.name, self.key, _PUBLIC_BYTES)

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """The key that *text* spells, white space around it aside; the inverse of `str`.

        Raises:
            SignatureError: *text* is no ``<name>:<base 64 of 32 bytes>``.
        """
        return cls(*_parse("public key", text.strip(), repr(text.strip())))

    def __str__(self) -> str:
        return _print(self.name, self.key)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether *signature*, raw, is one of *data* with this key.

        Source: ``PublicKey::verifyDetachedAnon``, Nix ``src/libutil/signature/local-keys.cc``.
        """
        from nacl.exceptions import BadSignatureError  # noqa: PLC0415 - slow to import

        if len(signature) != _SIGNATURE_BYTES:
            return False
        try:
            _loaded(self.key).verify(data, signature)
        except BadSignatureError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key with which fingerprints are signed; its `repr` and its `str` hide it.

    Attributes:
        name: such as ``cache.example.org-1``.
        seed: 32 raw bytes, from which all follows.

    Raises:
        SignatureError: a field breaks its rule.

    Source: ``SecretKey``, Nix ``src/libutil/signature/local-keys.cc``.
    """

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_name("secret key", self.name)
        _check_size("secret key", self.name, self.seed, _SEED_BYTES)

    @classmethod
    def parse(cls, text: str) -> SecretKey:
        """The key that *text* spells, white space around it aside; the inverse of `to_text`.

        Raises:
            SignatureError: *text* is no ``<name>:<base 64 of 64 bytes>``, or its second half is
                not the public key of the first. The error does not tell the key.
        """
        name, both = _parse("secret key", text.strip(), "the text")
        _check_size("secret key", name, both, _SECRET_BYTES)
        key = cls(name, both[:_SEED_BYTES])
        if key.public.key != both[_SEED_BYTES:]:
            raise SignatureError(f"the secret key {name!r} does not go with its own public key")
        return key

    @classmethod
    def generate(cls, name: str) -> SecretKey:
        """A new key, drawn by chance from the system.

        Source: ``SecretKey::generate``, Nix ``src/libutil/signature/local-keys.cc``.
        """
        from nacl.signing import SigningKey  # noqa: PLC0415 - slow to import

        return cls(name, bytes(SigningKey.generate()))

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        from nacl.signing import SigningKey  # noqa: PLC0415 - slow to import

        return PublicKey(self.name, bytes(SigningKey(self.seed).verify_key))

    def to_text(self) -> str:
        """The text of the key, for its file alone; the inverse of `parse`."""
        return _print(self.name, self.seed + self.public.key)

    def sign(self, data: bytes) -> str:
        """The text of the signature of *data*; the same whenever it is asked for.

        Source: ``SecretKey::signDetached``, Nix ``src/libutil/signature/local-keys.cc``.
        """
        from nacl.signing import SigningKey  # noqa: PLC0415 - slow to import

        return str(Signature(self.name, SigningKey(self.seed).sign(data).signature))


def verify(data: bytes, signature: str, keys: Mapping[str, PublicKey]) -> bool:
    """Whether *signature* is one of *data* with the key of its name among *keys*.

    Args:
        data: what was signed: a `fingerprint`.
        signature: a text; one that is no signature verifies nothing.
        keys: by their names.

    Source: ``verifyDetached``, Nix ``src/libutil/signature/local-keys.cc``.
    """
    try:
        parsed = Signature.parse(signature)
    except SignatureError:
        return False
    key = keys.get(parsed.key_name)
    return key is not None and key.name == parsed.key_name and key.verify(data, parsed.signature)


@lru_cache(maxsize=64)
def _loaded(key: bytes) -> VerifyKey:
    """The key as the library has it."""
    from nacl.signing import VerifyKey  # noqa: PLC0415 - slow to import

    return VerifyKey(key)


def _parse(what: str, text: str, shown: str) -> tuple[str, bytes]:
    """The name and the bytes in ``<name>:<base 64>``."""
    name, colon, encoded = text.partition(":")
    if not colon:
        raise SignatureError(
            f"{shown} is no {what}: it has no ':'",
            hint=f"a {what} is written as 'NAME:BASE64'",
        )
    _check_name(what, name)
    match = _BASE64.fullmatch(encoded)
    if match:
        digits = match[1]
        try:
            return name, base64.b64decode(digits + "=" * (-len(digits) % 4))
        except binascii.Error:
            pass  # a number of digits that no bytes have; not chained, since it might tell a secret
    raise SignatureError(f"the {what} {name!r} is not followed by base-64 text")


def _print(name: str, data: bytes) -> str:
    """``<name>:<base 64>``."""
    return f"{name}:{base64.b64encode(data).decode('ascii')}"


def _check_name(what: str, name: str) -> None:
    """Refuse names that Nix could not read back, and those that no file of ours can hold."""
    if not name:
        raise SignatureError(f"the {what} has no name before its ':'")
    if ":" in name or not name.isprintable():
        raise SignatureError(f"{name!r} is no name of a {what}")


def _check_size(what: str, name: str, data: bytes, size_bytes: int) -> None:
    if len(data) != size_bytes:
        raise SignatureError(f"the {what} {name!r} has {len(data)} bytes, not {size_bytes}")
