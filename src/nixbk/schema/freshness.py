"""What of the manifest changed since the lock was made. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.schema.problems import KeyPath, show_key
from nixbk.schema.sandbox import SHELL_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.schema.lock import Lock, LockedImage
    from nixbk.schema.manifest import Image, Manifest, Sandbox


class StaleLockError(NixbkError):
    """The manifest asks for something else than what was locked.

    Attributes:
        keys: the keys of the manifest that changed.
    """

    def __init__(self, keys: tuple[KeyPath, ...], manifest: str, lock: str) -> None:
        names = ", ".join(show_key(key) for key in keys)
        super().__init__(
            f"{manifest} changed since {lock} was made: {names}", hint="run 'nixbk lock'"
        )
        self.keys = keys


def require_fresh(
    manifest: Manifest, lock: Lock, manifest_name: str = "nixbk.toml", lock_name: str = "nixbk.lock"
) -> None:
    """Refuse a lock that was made of another manifest.

    Only what decides the evaluation counts: a new entrypoint needs no new lock.

    Raises:
        StaleLockError: names every key that changed.
    """
    keys = changed_keys(manifest, lock)
    if keys:
        raise StaleLockError(keys, manifest_name, lock_name)


def changed_keys(manifest: Manifest, lock: Lock) -> tuple[KeyPath, ...]:
    """The keys of *manifest* that are not what *lock* was made of, in their order."""
    return tuple(_changed(manifest, lock))


def _changed(manifest: Manifest, lock: Lock) -> Iterator[KeyPath]:
    for name, wanted in manifest.inputs.items():
        locked = lock.inputs.get(name)
        if locked is None or (locked.url, locked.flake) != (wanted.url, wanted.flake):
            yield ("inputs", name)
    for name, locked in lock.inputs.items():
        if name not in manifest.inputs and name != locked.url:
            yield ("inputs", name)
    yield from (("sandbox", *key) for key in _sandbox(manifest.sandbox, lock))
    used = {a.substituter for entry in lock.substitutes.values() for a in entry.archives}
    yield from (("substituters", name) for name in sorted(used - manifest.substituters.keys()))
    if manifest.fallback != lock.fallback:
        yield ("fallback",)
    for key, image in manifest.images.items():
        found = lock.images.get(key)
        if found is None:
            yield ("images", key)
            continue
        yield from (("images", key, field) for field in _image(image, found))
    yield from (("images", key) for key in lock.images if key not in manifest.images)


def _sandbox(sandbox: Sandbox, lock: Lock) -> Iterator[KeyPath]:
    wanted = sandbox.sources
    for target, (key, source) in wanted.items():
        found = lock.sandbox.get(target)
        if found is None or found.text != source.text:
            yield key
    for target in lock.sandbox:
        if target not in wanted:
            yield ("shell",) if target == SHELL_TARGET else ("paths", target)
    if tuple(sorted(set(sandbox.system_features))) != lock.features:
        yield ("system-features",)


def _image(image: Image, locked: LockedImage) -> Iterator[str]:
    if image.installables != tuple(i.text for i in locked.installables):
        yield "installables"
    if image.platforms and image.platforms != locked.platforms:
        yield "platforms"
