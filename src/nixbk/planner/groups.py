"""Which substitutes are unpacked by one step. Pure.

A container takes 50 to 100 ms to start, so paths of one image share one, in two ways:

* Those that share a layer lie in one root. Other than whole roots, layers are copies; so they are
  exactly those that :func:`nixbk.image.layers.plan_layers` puts together with the usual budget.
* Those that have a layer each lie in a root each, as long as all of a step are soon unpacked once
  more. Which of them come together follows from their names, so that a new version of one, or one
  more, leaves the other steps alone.

What shares a step shares its fate in BuildKit's cache, too, so whatever is of use beyond one
image keeps a step of its own, as does what can be built instead. The groups are a part of every
cache key above them.
"""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

from nixbk.graph.closure import closure
from nixbk.image.layers import PathInfo, plan_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock, LockedImage

BUDGET: Final = 100
"""The layers of an image that says nothing of them."""


USUALLY: Final = 8
"""How many paths with layers of their own share a step, on average, if they are small."""
MOST: Final = 16
"""How many do at most."""
MOST_BYTES: Final = 32_000_000
"""How large their NARs together are at most: what xz makes in half a second."""
_VERSION: Final = re.compile(r"-(?![A-Za-z]).*", re.DOTALL)
"""Source: ``DrvName``, Nix ``src/libstore/names.cc``."""

Root: TypeAlias = "tuple[StorePath, ...]"
"""The paths of one root, sorted."""
Group: TypeAlias = "tuple[Root, ...]"
"""The roots of one step, sorted."""


def groups(lock: Lock) -> tuple[Group, ...]:
    """The paths of each step that unpacks substitutes, by the root that they lie in.

    Returns:
        Every substitute of *lock* once; all sorted.
    """
    if lock.fallback:  # what is lost is built instead, and the others of a group are not
        return tuple(((path,),) for path in sorted(lock.substitutes))
    closures = [_closure(lock, _fetched(lock, image)) for image in lock.images.values()]
    users = Counter(path for found in closures for path in found)
    inputs = _closure(lock, _inputs(lock))
    together: list[Group] = []
    for image, found in zip(lock.images.values(), closures, strict=True):
        # what is built adds paths that nobody knows yet, and changes the layers
        whole = all(_is_fetched(lock, image)) and found.isdisjoint(lock.sources)
        if not whole:
            continue
        layers = plan_layers([_info(lock, path) for path in sorted(found)], BUDGET)
        private = [
            tuple(path for path in layer if users[path] == 1 and path not in inputs)
            for layer in layers
        ]
        together += [(root,) for root in private if len(root) > 1]
        single = {
            path: lock.substitutes[path].nar_size
            for layer, own in zip(layers, private, strict=True)
            if len(layer) == 1
            for path in own
        }
        together += [tuple((path,) for path in batch) for batch in batches(single)]
    grouped = {path for group in together for root in group for path in root}
    alone = (((path,),) for path in lock.substitutes if path not in grouped)
    return tuple(sorted([*together, *alone]))


def batches(sizes: Mapping[StorePath, int]) -> Iterator[Sequence[StorePath]]:
    """Divide store paths where their names say, whatever others there are.

    Args:
        sizes: bytes of each NAR.

    Returns:
        Each path once; those of a batch sorted, of which there is one at least.
    """
    batch: list[StorePath] = []
    last, size = "", 0
    for name, path in sorted((_VERSION.sub("", path.name), path) for path in sizes):
        ends = name != last and sha256(name.encode()).digest()[0] % USUALLY == 0
        if batch and (ends or len(batch) == MOST or size + sizes[path] > MOST_BYTES):
            yield sorted(batch)
            batch, size = [], 0
        batch.append(path)
        last, size = name, size + sizes[path]
    if batch:
        yield sorted(batch)


def _is_fetched(lock: Lock, image: LockedImage) -> Iterable[bool]:
    """Of each installable, whether it is fetched and not built."""
    return (
        len(lock.fetched(installable)) == len(installable.outputs)
        for installable in image.installables
    )


def _fetched(lock: Lock, image: LockedImage) -> Iterable[StorePath]:
    return (path for installable in image.installables for path in lock.fetched(installable))


def _inputs(lock: Lock) -> set[StorePath]:
    """The substitutes that steps other than those of images see."""
    found = {path for drv in lock.derivations for path in lock.substituted_inputs(drv)}
    found.update(entry.path for entry in lock.sandbox.values() if entry.path in lock.substitutes)
    return found


def _closure(lock: Lock, roots: Iterable[StorePath]) -> frozenset[StorePath]:
    """What is reachable from substitutes, sources of the lock included."""

    def references(path: StorePath) -> Iterable[StorePath]:
        found = lock.substitutes.get(path) or lock.sources.get(path)
        return found.references if found else ()

    return frozenset(closure(roots, references))


def _info(lock: Lock, path: StorePath) -> PathInfo:
    found = lock.substitutes[path]
    return PathInfo(path, found.nar_size, found.references)
