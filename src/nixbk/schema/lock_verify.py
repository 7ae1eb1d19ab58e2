"""The proof that a lock is whole and says nothing that does not follow from it.

A recipe hashes to its derivation path, and its outputs follow from the recipes; the path of
a source follows from its content's hash; what an entry names is in the lock, and no entry
is there for nothing. What is left to the reading of bytes is that a source has the content
its hash says. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.nix.store_path import StorePath, fixed_output_path, source_path
from nixbk.schema.lock import BundleOrigin, InputOrigin, Lock, LockedInstallable, LockedSource
from nixbk.schema.lock_graph import EDITED, RecipeGraph, is_fetched
from nixbk.schema.lock_reach import Reached, reach
from nixbk.schema.problems import KeyPath, Problem
from nixbk.schema.substitute_verify import substitute_problems

if TYPE_CHECKING:
    from collections.abc import Iterator


def verify(lock: Lock) -> list[Problem]:
    """Everything in *lock* that does not prove itself; nothing when all does.

    Linear in the lock, and without recursion. Signatures are held against the manifest by
    `nixbk.schema.substitutes`.
    """
    reached = reach(lock)
    return [
        *RecipeGraph(lock).problems(),
        *_installables(lock),
        *_sources(lock),
        *_shell(lock),
        *substitute_problems(lock, reached),
        *_unreachable(lock, reached),
    ]


def _installables(lock: Lock) -> Iterator[Problem]:
    for key, image in lock.images.items():
        for number, installable in enumerate(image.installables):
            here = ("images", key, "installables", number)
            if installable.drv_path is None:
                (path,) = installable.paths.values()
                if path not in lock.substitutes:
                    message = f"{path.basename!r} is not in the lock"
                    yield Problem((*here, "outputs", "out"), message, EDITED)
            else:
                yield from _outputs(lock, here, installable, installable.drv_path)


def _outputs(
    lock: Lock, here: KeyPath, installable: LockedInstallable, drv_path: StorePath
) -> Iterator[Problem]:
    derivation = lock.derivations.get(drv_path)
    if derivation is None and (
        lock.fallback or not is_fetched(lock, drv_path, installable.outputs)
    ):
        message = f"{drv_path.basename!r} is not in the lock"
        yield Problem((*here, "derivation"), message, EDITED)
        return
    for name in installable.outputs:
        declared = str(installable.paths.get(name, ""))
        fetched = lock.substituted.get((drv_path, name))
        if fetched is not None and str(fetched) != declared:
            message = f"{fetched.basename!r} is fetched for it"
            yield Problem((*here, "outputs", name), message, EDITED)
        output = derivation.outputs.get(name) if derivation else None
        if derivation is not None and output is None:
            message = f"the derivation has no output {name!r}"
            yield Problem((*here, "outputs", name), message, EDITED)
        elif output is not None and output.path != declared:
            message = f"the derivation has {output.path!r}"
            yield Problem((*here, "outputs", name), message, EDITED)


def _sources(lock: Lock) -> Iterator[Problem]:
    for path, source in lock.sources.items():
        here = ("sources", path.basename)
        for item in source.references:
            if item not in lock.sources and item not in lock.substitutes:
                message = f"{item.basename!r} is not in the lock"
                yield Problem((*here, "references"), message, EDITED)
        match source.origin:
            case InputOrigin(name) if name not in lock.inputs:
                yield Problem((*here, "input"), f"{name!r} is no input of the lock", EDITED)
            case BundleOrigin(sha256) if sha256 != source.nar_hash.digest.hex():
                yield Problem((*here, "bundle"), "the bundle is not that of the NAR hash", EDITED)
        try:
            actual = content_path(source)
        except NixbkError as error:
            yield Problem(here, error.message, EDITED, at_key=True)
            continue
        if actual != path:
            message = f"the content hashes to {actual.basename!r}"
            yield Problem(here, message, EDITED, at_key=True)


def content_path(source: LockedSource) -> StorePath:
    """The path that follows from a source's content; its own when none does.

    Raises:
        NixbkError: its method, hash and references do not go together.
    """
    name = source.path.name
    if source.method == "none":
        return source.path
    if source.content_hash is None:
        if source.method != "nar":
            raise NixbkError(f"missing key 'content-hash' for content {source.method!r}")
        return source_path(name, source.nar_hash.digest, source.references)
    return fixed_output_path(name, source.content_hash, source.method, source.references)


def _shell(lock: Lock) -> Iterator[Problem]:
    for target, entry in lock.locked_paths.items():
        there = entry.path in lock.sources or entry.path in lock.substitutes
        if entry.drv_path is None and not there:
            message = f"{entry.path.basename!r} is not in the lock"
            yield Problem(("sandbox", "paths", target), message, EDITED)
    if lock.shell is None:
        return
    source = lock.sources.get(lock.shell)
    if source is None:
        message = f"{lock.shell.basename!r} is not in the lock"
        yield Problem(("sandbox", "source"), message, EDITED)
    elif source.file_type != "regular":
        yield Problem(("sandbox", "source"), f"the shell is a {source.file_type}", EDITED)


def _unreachable(lock: Lock, reached: Reached) -> Iterator[Problem]:
    for table, noun, paths, found in (
        ("derivations", "derivation", lock.derivations, reached.derivations),
        ("sources", "source", lock.sources, reached.objects),
        ("substitutes", "substitute", lock.substitutes, reached.objects),
    ):
        for path in paths:
            if path not in found:
                message = f"nothing needs this {noun}"
                yield Problem((table, path.basename), message, EDITED, at_key=True)
