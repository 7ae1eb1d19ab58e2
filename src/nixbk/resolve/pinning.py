"""The inputs of a manifest, pinned to what they are now. Effect: asks an evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.resolve.evaluator import EvaluationError, InputRequest, ResolvedInput
from nixbk.resolve.installables import named
from nixbk.resolve.locking import LockingError, at
from nixbk.schema.installable import InstallableKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.resolve.evaluator import Evaluator
    from nixbk.schema.lock import LockedInput
    from nixbk.schema.manifest_file import ManifestFile
    from nixbk.schema.problems import KeyPath


def pin(
    file: ManifestFile, evaluator: Evaluator, old: Mapping[str, LockedInput]
) -> dict[str, ResolvedInput]:
    """All inputs of a manifest, and the flakes that installables name themselves.

    Args:
        file: the manifest.
        evaluator: pins them.
        old: what is pinned already, where it is still asked for.

    Raises:
        LockingError: an input cannot be had, or is not declared as it is used.
    """
    manifest = file.manifest
    requests: dict[str, tuple[InputRequest, KeyPath]] = {}
    for name, entry in manifest.inputs.items():
        requests[name] = InputRequest(name, entry.url, entry.flake), ("inputs", name)
    for where, installable in named(manifest):
        if installable.kind is InstallableKind.FLAKE:
            target = installable.target
            requests.setdefault(target, (InputRequest(target, target, flake=True), where))
        elif installable.kind is InstallableKind.INPUT:
            declared = manifest.inputs.get(installable.target)
            if declared is None:  # a manifest from elsewhere than a file
                raise LockingError(
                    f"{installable.target!r} is no input",
                    where=file.where(*where),
                    hint=f"declare it as 'inputs.{installable.target}.url'",
                )
            if not declared.flake:
                raise LockingError(
                    f"the input {installable.target!r} is no flake",
                    where=file.where(*where),
                    hint="it has 'flake = false'; only files of Nix code can use it",
                )
    takes_files = any(i.kind is InstallableKind.FILE for _, i in named(manifest))
    found = {}
    for name, (request, place) in requests.items():
        try:
            found[name] = _input(evaluator, request, old.get(name), have_tree=takes_files)
        except EvaluationError as error:
            raise at(file, error, *place) from error
    return found


def _input(
    evaluator: Evaluator, request: InputRequest, old: LockedInput | None, *, have_tree: bool
) -> ResolvedInput:
    # The lock of a local input is its own text: it is what lies there now.
    if (
        old is None
        or (old.url, old.flake) != (request.url, request.flake)
        or (old.locked == old.url)
    ):
        return evaluator.lock_input(request)
    if have_tree:
        return evaluator.fetch_input(old)
    return ResolvedInput(old, old.locked, None)
