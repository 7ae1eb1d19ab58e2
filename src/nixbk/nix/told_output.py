"""What a binary cache tells of an output whose path does not follow from its recipe. Pure.

::

    file        = "realisations/" id ".doi", as Nix 2.34 has it
    id          = "sha256:" base 16 "!" output name     ; see `nixbk.nix.derivation_hash`
    content     = JSON: id, outPath (a base name), signatures, dependentRealisations
    fingerprint = the content without its signatures, keys sorted, without spaces

What an output depended on is signed with it, and otherwise of no use here: what a path needs at
run time are its references.

Source: ``Realisation``, Nix 2.34 ``src/libstore/realisation.cc``; ``makeRealisationPath``,
``src/libstore/binary-cache-store.cc``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.errors import NixbkError
from nixbk.nix.signatures import verify
from nixbk.nix.store_path import STORE_DIR, StorePath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.nix.signatures import PublicKey

_MALFORMED: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class ToldOutputError(NixbkError):
    """A file that tells of no output."""


class ToldOutput(NamedTuple):
    """What is told of an output.

    Attributes:
        id: what the output is called.
        path: what it came to.
        signatures: texts, of which any may be none.
        fingerprint: what is signed.
    """

    id: str
    path: StorePath
    signatures: tuple[str, ...]
    fingerprint: bytes

    @classmethod
    def parse(cls, data: bytes) -> ToldOutput:
        """Read a file of a cache.

        Raises:
            ToldOutputError: it is none.
        """
        try:
            found = json.loads(data)
            signatures = found.pop("signatures", [])
            path = StorePath.parse(f"{STORE_DIR}/{found['outPath']}")
            names = found["id"], *signatures
            text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            fingerprint = text.encode()  # not all that JSON can say is text
        except (*_MALFORMED, NixbkError) as error:
            raise ToldOutputError("it tells of no output") from error
        if not all(isinstance(name, str) for name in names):
            raise ToldOutputError("it tells of no output")
        return cls(found["id"], path, tuple(signatures), fingerprint)

    def is_signed(self, keys: Mapping[str, PublicKey]) -> bool:
        """Whether one of *keys* has signed it."""
        return any(verify(self.fingerprint, text, keys) for text in self.signatures)
