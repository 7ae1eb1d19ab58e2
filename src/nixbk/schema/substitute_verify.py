"""The proof that what a lock fetches is whole, and stands for what it says. Pure.

That a cache has told the truth is held against the manifest by `nixbk.schema.substitutes`, and
against the bytes by who unpacks them. Here is what follows from the lock alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.nix.content_address import follows_from_content
from nixbk.nix.store_path import output_path_name
from nixbk.schema.lock_graph import EDITED
from nixbk.schema.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock, LockedSubstitute
    from nixbk.schema.lock_reach import Reached

_DRV: Final = ".drv"


def substitute_problems(lock: Lock, reached: Reached) -> Iterator[Problem]:
    """Everything of the substitutes in *lock* that does not fit together."""
    yield from _substituted(lock, reached)
    for path, found in lock.substitutes.items():
        here = ("substitutes", path.basename)
        if path in lock.sources:
            yield Problem(here, "it is one of the sources, too", EDITED, at_key=True)
        for item in found.references:
            if item not in lock.substitutes and item not in lock.sources:
                message = f"{item.basename!r} is not in the lock"
                yield Problem((*here, "references"), message, EDITED)
        if found.content_address and not follows_from_content(
            path, found.content_address, found.references, found.nar_hash
        ):
            message = "the path does not follow from this content"
            yield Problem((*here, "content-address"), message, EDITED)
        if found.file_type == "symlink" and not _is_link(found):
            message = "the archive of a link with this target has another hash"
            yield Problem((*here, "target"), message, EDITED)
    yield from _cycles(lock)


def _substituted(lock: Lock, reached: Reached) -> Iterator[Problem]:
    for (drv_path, output), path in lock.substituted.items():
        here = ("substituted", f"{drv_path.basename}^{output}")
        if path not in lock.substitutes:
            yield Problem(here, f"{path.basename!r} is not in the lock", EDITED)
        if (drv_path, output) not in reached.outputs:
            yield Problem(here, "nothing needs this output", EDITED, at_key=True)
        derivation = lock.derivations.get(drv_path)
        if derivation is None:
            if not _could_be(drv_path, output, path):
                message = f"the output cannot have the name {path.name!r}"
                yield Problem(here, message, EDITED)
            continue
        made = derivation.outputs.get(output)
        if made is None or made.path != str(path):
            message = f"the derivation has {made.path!r}" if made else "there is no such output"
            yield Problem(here, message, EDITED)
    for drv_path, output in reached.outputs - lock.substituted.keys():
        derivation = lock.derivations.get(drv_path)
        made = derivation.outputs.get(output) if derivation else None
        own = lock.outputs(drv_path).get(output) if made else None
        if own in lock.substitutes:
            message = f"its output {output!r} is fetched, too"
            yield Problem(("derivations", drv_path.basename), message, EDITED, at_key=True)


def _could_be(drv_path: StorePath, output: str, path: StorePath) -> bool:
    """Whether the name of a store path is that of an output."""
    if not drv_path.is_derivation or not output:
        return False
    return path.name == output_path_name(drv_path.name.removesuffix(_DRV), output)


def _is_link(found: LockedSubstitute) -> bool:
    """Whether the archive of a symlink with this target has the hash and size."""
    from nixbk.nix.nar import Symlink, nar_hash, write  # noqa: PLC0415  few paths are symlinks

    try:
        archive = write([Symlink("", found.target)])
        return nar_hash(archive) == (found.nar_hash, found.nar_size)
    except NixbkError:
        return False


def _cycles(lock: Lock) -> Iterator[Problem]:
    """Paths that refer to themselves through others, of which no store has any."""
    done: set[StorePath] = set()
    for root in lock.substitutes:
        open_paths: dict[StorePath, Iterator[StorePath]] = {}
        work = [root]
        while work:
            path = work[-1]
            if path in done or path not in lock.substitutes:
                work.pop()
                continue
            if path not in open_paths:
                open_paths[path] = iter(lock.substitutes[path].references)
            item = next((i for i in open_paths[path] if i != path and i not in done), None)
            if item is None:
                done.add(path)
                del open_paths[path]
            elif item in open_paths:
                key = ("substitutes", item.basename)
                yield Problem(key, "it refers to itself through others", EDITED, at_key=True)
                done.add(item)
            else:
                work.append(item)
