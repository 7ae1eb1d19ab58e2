"""What of a lock its images and its sandbox need, whatever is wrong with it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nixbk.schema.lock_graph import is_fetched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from nixbk.nix.derivation import Derivation
    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock


class Reached(NamedTuple):
    """What is needed; a ``.drv`` may be built from, and an object that is unpacked.

    Attributes:
        derivations: whose recipes are needed.
        outputs: of derivations, in the lock or not.
        objects: sources and substitutes.
    """

    derivations: AbstractSet[StorePath]
    outputs: AbstractSet[tuple[StorePath, str]]
    objects: AbstractSet[StorePath]


def reach(lock: Lock) -> Reached:
    """All that an installable or the sandbox needs. Linear in the lock."""
    outputs, objects = _wishes(lock)
    work = [path for path, _ in outputs] if lock.fallback else [*lock.roots, *lock.sandbox_drvs]
    derivations: set[StorePath] = set()
    while work:
        path = work.pop()
        derivation = lock.derivations.get(path)
        if derivation is None or path in derivations:
            continue
        derivations.add(path)
        objects += derivation.input_srcs
        outputs |= {(item, n) for item, names in derivation.input_drvs.items() for n in names}
        for item, names in derivation.input_drvs.items():
            if lock.fallback or not is_fetched(lock, item, names):
                work.append(item)
        for made, output in _made_for(lock, derivation):
            work.append(made)
            outputs |= {(made, output)} if output else set()
    objects += [lock.substituted[key] for key in outputs if key in lock.substituted]
    return Reached(derivations, outputs, _closure(lock, objects))


def _wishes(lock: Lock) -> tuple[set[tuple[StorePath, str]], list[StorePath]]:
    """The outputs, and the objects besides, that installables and the sandbox name."""
    outputs: set[tuple[StorePath, str]] = set()
    objects: list[StorePath] = []
    for installable in (i for image in lock.images.values() for i in image.installables):
        if installable.drv_path is None:
            objects += installable.paths.values()
        else:
            outputs |= {(installable.drv_path, name) for name in installable.outputs}
    for entry in lock.sandbox.values():
        if entry.drv_path is None:
            objects.append(entry.path)
        else:
            outputs.add((entry.drv_path, entry.output))
    return outputs, objects


def _made_for(lock: Lock, derivation: Derivation) -> Iterator[tuple[StorePath, str]]:
    """The derivations that others make for one, each with the output that is taken of it.

    The output is empty where it is a derivation again.
    """
    for need in derivation.dynamic:
        path: StorePath | None = need.path
        for number, name in enumerate(need.chain, start=1):
            path = lock.made.get((path, name)) if path else None
            if path:
                yield path, need.output if number == len(need.chain) else ""


def _closure(lock: Lock, roots: list[StorePath]) -> set[StorePath]:
    reached: set[StorePath] = set()
    while roots:
        path = roots.pop()
        entry = lock.sources.get(path) or lock.substitutes.get(path)
        if entry is not None and path not in reached:
            reached.add(path)
            roots.extend(entry.references)
    return reached
