"""Whether what a lock fetches is what somebody whom the manifest trusts has signed. Pure.

A lock says of a store path what a cache has said: the hash of its archive, and what it refers to.
That is believed if a key of the manifest signed it, if the path follows from the content, or if
every cache that it comes from is one that the manifest takes at its word.

Source: ``ValidPathInfo::checkSignatures``, Nix ``src/libstore/path-info.cc``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.nix.content_address import follows_from_content
from nixbk.nix.signatures import PublicKey, fingerprint, verify
from nixbk.schema.problems import Problem, show_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from nixbk.schema.lock import Lock, LockedSubstitute
    from nixbk.schema.manifest import Manifest


class UntrustedError(NixbkError):
    """A lock has a store path that nobody signed whom the manifest trusts."""


def verify_substitutes(lock: Lock, manifest: Manifest) -> list[Problem]:
    """The substitutes of *lock* that *manifest* does not trust; paths are keys of the lock.

    A lock without substitutes costs nothing, and imports no cryptography.
    """
    if not lock.substitutes:
        return []
    keys = {key.name: key for key in map(PublicKey.parse, manifest.public_keys)}
    free = {name for name, entry in manifest.substituters.items() if not entry.trust}
    return [
        Problem(("substitutes", path.basename), _reason(found, keys), HINT, at_key=True)
        for path, found in lock.substitutes.items()
        if not _is_trusted(found, keys, free)
    ]


HINT = (
    "add the key to 'public-keys' of a substituter, "
    "or run 'nixbk lock' to take it from elsewhere or to build it"
)


def require_trusted(lock: Lock, manifest: Manifest, lock_name: str = "nixbk.lock") -> None:
    """Refuse a lock with substitutes that *manifest* does not trust.

    Raises:
        UntrustedError: tells the first of them, and how many there are.
    """
    problems = verify_substitutes(lock, manifest)
    if not problems:
        return
    first, more = problems[0], len(problems) - 1
    others = f" (and {more} more)" if more else ""
    where = f"{lock_name}: {show_key(first.path)}"
    raise UntrustedError(f"{first.message}{others}", where=where, hint=first.hint)


def _is_trusted(
    found: LockedSubstitute, keys: Mapping[str, PublicKey], free: Collection[str]
) -> bool:
    address = found.content_address
    if address and follows_from_content(found.path, address, found.references, found.nar_hash):
        return True
    if found.signatures:
        signed = fingerprint(found.path, found.nar_hash, found.nar_size, found.references)
        if any(verify(signed, signature, keys) for signature in found.signatures):
            return True
    return all(archive.substituter in free for archive in found.archives)


def _reason(found: LockedSubstitute, keys: Mapping[str, PublicKey]) -> str:
    names = sorted({signature.partition(":")[0] for signature in found.signatures})
    if not names:
        return "nobody signed it"
    known = [name for name in names if name in keys]
    if known:
        return f"the signature by {known[0]!r} is not one of this entry"
    return f"it is signed by {names[0]!r}, whose key the manifest does not have"
