"""The proof that a lock is whole and says nothing that does not follow from it.

A recipe hashes to its derivation path, and its outputs follow from the recipes; the path of
a source follows from its content's hash; what an entry names is in the lock, and no entry
is there for nothing. What is left to the reading of bytes is that a source has the content
its hash says. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.errors import NixbkError
from nixbk.nix.derivation_hash import DerivationHasher
from nixbk.nix.store_path import StorePath, fixed_output_path, source_path
from nixbk.schema.lock import BundleOrigin, InputOrigin, Lock, LockedSource
from nixbk.schema.problems import KeyPath, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from nixbk.nix.derivation import Derivation


def verify(lock: Lock) -> list[Problem]:
    """Everything in *lock* that does not prove itself; nothing when all does.

    Linear in the lock, and without recursion.
    """
    edited = {path for path, derivation in lock.derivations.items() if derivation.path() != path}
    return [
        *_recipes(lock, edited),
        *_graph(lock, edited),
        *_installables(lock),
        *_sources(lock),
        *_shell(lock),
        *_unreachable(lock),
    ]


def _key(path: StorePath) -> KeyPath:
    return ("derivations", path.basename)


def _recipes(lock: Lock, edited: AbstractSet[StorePath]) -> Iterator[Problem]:
    for path in edited:
        actual = lock.derivations[path].path()
        yield Problem(_key(path), f"the recipe hashes to {actual.basename!r}", EDITED, at_key=True)


EDITED = "the lock was edited by hand or merged; run 'nixbk lock'"


def _graph(lock: Lock, edited: AbstractSet[StorePath]) -> Iterator[Problem]:
    """Hash every derivation behind its inputs, and hold its outputs against that.

    What is *edited*, or has such an input, is at fault already.
    """
    known: dict[StorePath, Derivation] = {}
    hasher = DerivationHasher(known.__getitem__)
    bad = set(edited)
    entered: set[StorePath] = set()
    for root in lock.derivations:
        stack = [root]
        while stack:
            path = stack[-1]
            if path in known or path in bad:
                stack.pop()
                continue
            derivation = lock.derivations[path]
            inputs = derivation.input_drvs
            if path not in entered:
                entered.add(path)
                problems = list(_named(lock, path, derivation))
                yield from problems
                if problems:
                    bad.add(path)
                    continue
                waiting = [item for item in inputs if item not in known and item not in bad]
                if waiting:
                    stack += waiting
                    continue
            stack.pop()
            if any(item in bad for item in inputs):
                bad.add(path)
                continue
            if any(item not in known for item in inputs):
                yield Problem(_key(path), "the derivation depends on itself", at_key=True)
                bad.add(path)
                continue
            try:
                hasher.add(path, derivation)
            except NixbkError as error:
                yield Problem(_key(path), error.message, EDITED, at_key=True)
                bad.add(path)
                continue
            known[path] = derivation


def _named(lock: Lock, path: StorePath, derivation: Derivation) -> Iterator[Problem]:
    """What a recipe names is in the lock."""
    for item in derivation.input_drvs:
        if item not in lock.derivations:
            yield Problem((*_key(path), "inputs"), f"{item.basename!r} is not in the lock", EDITED)
    for item in derivation.input_srcs:
        if item not in lock.sources:
            yield Problem((*_key(path), "sources"), f"{item.basename!r} is not in the lock", EDITED)
    for need in derivation.dynamic:
        place = need.path
        for name in need.chain:
            made = lock.made.get((place, name))
            if made is None or made not in lock.derivations:
                message = f"what {place.basename + '^' + name!r} makes is not in the lock"
                yield Problem((*_key(path), "aterm"), message, EDITED)
                break
            place = made


def _installables(lock: Lock) -> Iterator[Problem]:
    for key, image in lock.images.items():
        for number, installable in enumerate(image.installables):
            here = ("images", key, "installables", number)
            derivation = lock.derivations.get(installable.drv_path)
            if derivation is None:
                name = installable.drv_path.basename
                yield Problem((*here, "derivation"), f"{name!r} is not in the lock", EDITED)
                continue
            for name in installable.outputs:
                output = derivation.outputs.get(name)
                if output is None:
                    message = f"the derivation has no output {name!r}"
                    yield Problem((*here, "outputs", name), message, EDITED)
                elif output.path != str(installable.paths.get(name, "")):
                    message = f"the derivation has {output.path!r}"
                    yield Problem((*here, "outputs", name), message, EDITED)


def _sources(lock: Lock) -> Iterator[Problem]:
    for path, source in lock.sources.items():
        here = ("sources", path.basename)
        for item in source.references:
            if item not in lock.sources:
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
        if entry.drv_path is None and entry.path not in lock.sources:
            message = f"{entry.path.basename!r} is not in the lock"
            yield Problem(("sandbox", "paths", target, "source"), message, EDITED)
    if lock.shell is None:
        return
    source = lock.sources.get(lock.shell)
    if source is None:
        message = f"{lock.shell.basename!r} is not in the lock"
        yield Problem(("sandbox", "source"), message, EDITED)
    elif source.file_type != "regular":
        yield Problem(("sandbox", "source"), f"the shell is a {source.file_type}", EDITED)


def _made_for(lock: Lock, derivation: Derivation) -> Iterator[StorePath]:
    """The derivations that others make for one, as far as they are in the lock."""
    for need in derivation.dynamic:
        path: StorePath | None = need.path
        for name in need.chain:
            path = lock.made.get((path, name)) if path else None
            if path:
                yield path


def _unreachable(lock: Lock) -> Iterator[Problem]:
    derivations: set[StorePath] = set()
    work = [*lock.roots, *lock.sandbox_drvs]
    while work:
        path = work.pop()
        if path in lock.derivations and path not in derivations:
            derivations.add(path)
            work.extend(lock.derivations[path].input_drvs)
            work.extend(_made_for(lock, lock.derivations[path]))
    for path in lock.derivations:
        if path not in derivations:
            yield Problem(_key(path), "nothing needs this derivation", EDITED, at_key=True)
    sources: set[StorePath] = set()
    work = [item for path in derivations for item in lock.derivations[path].input_srcs]
    work += [entry.path for entry in lock.sandbox.values()]
    while work:
        path = work.pop()
        if path in lock.sources and path not in sources:
            sources.add(path)
            work.extend(lock.sources[path].references)
    for path in lock.sources:
        if path not in sources:
            message = "nothing needs this source"
            yield Problem(("sources", path.basename), message, EDITED, at_key=True)
