"""What is different between two locks, for people and for programs. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock, LockedInstallable

Action = Literal["added", "changed", "removed"]
K = TypeVar("K")
V = TypeVar("V")

_HASH = re.compile(r"\b([0-9a-z]{8})[0-9a-z]{24}-")

SIGNS: dict[Action, str] = {"added": "+", "changed": "~", "removed": "-"}


class Change(NamedTuple):
    """One installable or input that is not what it was.

    Attributes:
        subject: ``images.<image>``, ``sandbox`` or ``inputs``.
        name: the installable's text, where builds find it, or the input's name.
        action: what happened to it.
        old: what it was: a derivation's base name or a locked reference; None when added.
        new: what it is; None when removed.
    """

    subject: str
    name: str
    action: Action
    old: str | None
    new: str | None

    def line(self) -> str:
        """The change in one line of text."""
        values = [_short(value) for value in (self.old, self.new) if value is not None]
        return f"{SIGNS[self.action]} {self.subject}: {self.name}: {' -> '.join(values)}"

    def to_json(self) -> dict[str, Any]:
        """The change as plain values."""
        return {
            "subject": self.subject,
            "name": self.name,
            "action": self.action,
            "old": self.old,
            "new": self.new,
        }


def _short(value: str) -> str:
    """*value* with its first hash cut to what people compare."""
    return _HASH.sub(lambda match: f"{match[1]}…-", value, count=1)


class Count(NamedTuple):
    """How many entries of a kind there are, and how many came and went."""

    total: int
    added: int
    removed: int

    def line(self, noun: str) -> str:
        """The count in a few words."""
        moved = [
            f"{n} {word}" for n, word in ((self.added, "added"), (self.removed, "removed")) if n
        ]
        plural = noun if self.total == 1 else f"{noun}s"
        return f"{self.total} {plural}" + (f" ({', '.join(moved)})" if moved else "")

    def to_json(self) -> dict[str, int]:
        """The count as plain values."""
        return {"total": self.total, "added": self.added, "removed": self.removed}


class Changes(NamedTuple):
    """All that differs between two locks."""

    changes: tuple[Change, ...]
    derivations: Count
    sources: Count
    substitutes: Count = Count(0, 0, 0)


def compare(old: Lock | None, new: Lock) -> Changes:
    """What became of *old*; everything is added when there was none."""
    found = []
    inputs = {name: entry.locked for name, entry in old.inputs.items()} if old else {}
    hashes = {name: str(entry.nar_hash) for name, entry in old.inputs.items()} if old else {}
    for name, before, after in _pairs(inputs, {n: e.locked for n, e in new.inputs.items()}):
        same = after is not None and hashes.get(name) == str(new.inputs[name].nar_hash)
        if before != after or not same:
            found.append(_change("inputs", name, before, after))
    before_paths = {target: str(p.path) for target, p in old.sandbox.items()} if old else {}
    for name, before, after in _pairs(
        before_paths, {target: str(p.path) for target, p in new.sandbox.items()}
    ):
        if before != after:
            found.append(_change("sandbox", name, before, after))
    images = old.images if old else {}
    for key in sorted({*images, *new.images}):
        rows = tuple(
            {i.text: _locked(i) for i in image.installables} if image else {}
            for image in (images.get(key), new.images.get(key))
        )
        for text, before, after in _pairs(*rows):
            if before != after:
                found.append(_change(f"images.{key}", text, before, after))
    return Changes(
        tuple(found),
        _count(old.derivations if old else (), new.derivations),
        _count(old.sources if old else (), new.sources),
        _count(old.substitutes if old else (), new.substitutes),
    )


def _locked(installable: LockedInstallable) -> str:
    if installable.drv_path is None:
        return installable.paths["out"].basename
    return f"{installable.drv_path.basename}^{','.join(installable.outputs)}"


def _change(subject: str, name: str, old: str | None, new: str | None) -> Change:
    action: Action = "added" if old is None else "removed" if new is None else "changed"
    return Change(subject, name, action, old, new)


def _pairs(old: Mapping[K, V], new: Mapping[K, V]) -> Iterator[tuple[K, V | None, V | None]]:
    for key in new:
        yield key, old.get(key), new[key]
    for key in old:
        if key not in new:
            yield key, old[key], None


def _count(old: Collection[StorePath], new: Collection[StorePath]) -> Count:
    before, after = set(old), set(new)
    return Count(len(after), len(after - before), len(before - after))
