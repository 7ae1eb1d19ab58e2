"""The derivations that a manifest names. Effect: asks an evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.resolve.evaluator import EvaluationError, Wish
from nixbk.resolve.installables import named, platform_of
from nixbk.resolve.locking import at
from nixbk.schema.installable import InstallableKind
from nixbk.schema.platform import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nixbk.resolve.evaluator import Evaluated, Evaluator, ResolvedInput
    from nixbk.schema.manifest_file import ManifestFile
    from nixbk.schema.problems import KeyPath


def evaluate(
    file: ManifestFile, evaluator: Evaluator, inputs: Mapping[str, ResolvedInput]
) -> dict[KeyPath, Evaluated]:
    """What each installable stands for, by its key; without store paths.

    Args:
        file: the manifest.
        evaluator: evaluates.
        inputs: the manifest's, pinned.

    Raises:
        LockingError: an installable cannot be evaluated.
    """
    wishes = list(_wishes(file, inputs))
    if not wishes:
        return {}
    trees = {name: inputs[name].store_path for name in file.manifest.inputs if name in inputs}
    known = {name: path for name, path in trees.items() if path is not None}
    found: dict[KeyPath, Evaluated] = {}
    answers = evaluator.evaluate([wish for _, wish in wishes], known)
    for (where, wish), answer in zip(wishes, answers, strict=True):
        if isinstance(answer, EvaluationError):
            raise at(file, answer, *where) from answer
        if wish.installable.kind is InstallableKind.STORE:
            try:
                evaluator.derivation(answer.drv_path)
            except EvaluationError as error:
                raise at(file, error, *where) from error
        found[where] = answer
    return found


def _wishes(
    file: ManifestFile, inputs: Mapping[str, ResolvedInput]
) -> Iterator[tuple[KeyPath, Wish]]:
    first = next(iter(file.manifest.images))
    for where, installable in named(file.manifest):
        if installable.kind is InstallableKind.PATH:
            continue
        key = str(where[1]) if where[0] == "images" else first
        resolved = inputs.get(installable.target)
        wish = Wish(installable, SYSTEMS[platform_of(file, key)])
        if installable.kind in (InstallableKind.INPUT, InstallableKind.FLAKE):
            assert resolved is not None  # noqa: S101 - every target was pinned
            nar_hash = resolved.locked.nar_hash
            wish = wish._replace(reference=resolved.reference, nar_hash=nar_hash)
        yield where, wish
