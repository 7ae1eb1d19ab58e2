"""A failed step as its user sees it: which derivation, why, its last lines, who wants it. Pure.

The helper ends a failed step with a report: ``nixbk: <kind>: <message>``, whose further lines are
indented. Everything before it is the builder's own output.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.nix.hashes import Hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.buildkit.errors import BuildFailed
    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock

REPORT: Final = "nixbk: "
LOG_LINES: Final = 20
ORIGINS: Final = 3
COMMAND_LINE: Final = "command-line"
"""The image that stands for installables which no manifest names."""
# Source: BuildKit ``source/http/source.go``, in which what was found comes first.
_DOWNLOAD: Final = re.compile(
    r"digest mismatch .*?(sha256:[0-9a-f]{64})(?:: | \(expected: )(sha256:[0-9a-f]{64})"
)
EXIT_CODES: Final = {"builder-failed": 100, "timed-out": 101, "hash-mismatch": 102}


class DerivationFailedError(NixbkError):
    """A derivation could not be built.

    Attributes:
        derivation: its derivation path.
        kind: what went wrong, in the helper's words, empty when BuildKit itself failed.
        log: the last lines the builder printed.
        exit_code: of the program, as Nix has it.
    """

    def __init__(
        self, derivation: StorePath, kind: str, message: str, log: Sequence[str], wanted_by: str
    ) -> None:
        self.derivation = derivation
        self.kind = kind
        self.log = tuple(log)
        self.exit_code = EXIT_CODES.get(kind, 1)
        lines = [message]
        if self.log:
            lines += [f"  last {len(self.log)} lines of its log:", *(f"  > {x}" for x in self.log)]
        if wanted_by:
            lines.append(f"  wanted by: {wanted_by}")
        super().__init__("\n".join(lines), where=derivation.name.removesuffix(".drv"))


def derivation_failed(lock: Lock, derivation: StorePath, error: BuildFailed) -> NixbkError:
    """The error for the user, from BuildKit's."""
    log, report = split_report(error.log)
    kind, _, message = report.partition(": ")
    if not message:
        kind, message = _of_buildkit(error.message)
    origins = [
        _wish(key, index, lock.images[key].installables[index].text)
        for key, index in lock.origins(derivation)
    ]
    wanted_by = ", ".join(origins[:ORIGINS])
    if len(origins) > ORIGINS:
        wanted_by += f" and {len(origins) - ORIGINS} more"
    return DerivationFailedError(derivation, kind, message, log[-LOG_LINES:], wanted_by)


def _wish(key: str, index: int, text: str) -> str:
    return text if key == COMMAND_LINE else f"images.{key}.installables[{index}] ({text})"


def _of_buildkit(message: str) -> tuple[str, str]:
    """Kind and message of what failed without the helper."""
    mismatch = _DOWNLOAD.search(message)
    if mismatch is None:
        return "", message
    found, expected = (Hash.parse(text).sri() for text in mismatch.groups())
    return "hash-mismatch", (
        f"hash mismatch in fixed-output derivation:\n  specified: {expected}\n     got:    {found}"
    )


def split_report(lines: Sequence[str]) -> tuple[list[str], str]:
    """The builder's own lines, and the helper's report without its first word."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(REPORT):
            report = "\n".join(lines[index:]).removeprefix(REPORT)
            return list(lines[:index]), report
    return list(lines), ""
