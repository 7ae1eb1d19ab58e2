"""A failed step as its user sees it: which derivation, why, its last lines, who wants it. Pure.

The helper ends a failed step with a report: ``nixbk: <kind>: <message>``, whose further lines are
indented. Everything before it is the builder's own output.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import StorePath
from nixbk.planner.compiler import FETCH_BUILDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixbk.buildkit.errors import BuildFailed
    from nixbk.schema.lock import Lock

REPORT: Final = "nixbk: "
NOTHING: Final[Mapping[StorePath, Sequence[StorePath]]] = MappingProxyType({})
LOG_LINES: Final = 20
ORIGINS: Final = 3
COMMAND_LINE: Final = "command-line"
"""The image that stands for installables which no manifest names."""
# Source: BuildKit ``source/http/source.go``, in which what was found comes first.
_DOWNLOAD: Final = re.compile(
    r"digest mismatch .*?(sha256:[0-9a-f]{64})(?:: | \(expected: )(sha256:[0-9a-f]{64})"
)
FLAGS: Final = {
    "builder-failed": 0b0100,
    "timed-out": 0b0101,
    "hash-mismatch": 0b0110,
    "not-deterministic": 0b1000,
    "unsupported": 0b0100,
}
"""What each kind of failure adds to the exit code."""
FAILED: Final = 0b1100000
KILLED: Final = 128 + 9
FEW: Final = 10
"""So many names are listed where a line has them."""


def exit_code(kinds: Iterable[str]) -> int:
    """The exit code after failures of *kinds*; 1 when Nix has no code of its own for any.

    Source: ``ExitStatusFlags::failingExitStatus``, Nix ``src/libstore/build-result.cc``.
    """
    mask = 0
    for kind in kinds:
        mask |= FLAGS.get(kind, 0)
    return FAILED | mask if mask else 1


class DerivationFailedError(NixbkError):
    """A derivation could not be built.

    Attributes:
        derivation: its derivation path.
        kind: what went wrong, in the helper's words, empty when BuildKit itself failed.
        log: the last lines the builder printed.
        exit_code: of the program, as Nix has it.
        unbuilt: the derivations that are not there now, itself among them.
    """

    def __init__(  # noqa: PLR0913  as much is to be told
        self,
        derivation: StorePath,
        kind: str,
        message: str,
        log: Sequence[str] = (),
        wanted_by: str = "",
        *,
        hint: str | None = None,
    ) -> None:
        self.derivation = derivation
        self.kind = kind
        self.log = tuple(log)
        self.exit_code = exit_code([kind])
        self.unbuilt = frozenset({derivation})
        lines = [message]
        if self.log:
            count = "line" if len(self.log) == 1 else f"{len(self.log)} lines"
            lines += [f"  last {count} of its log:", *(f"  > {line}" for line in self.log)]
            lines.append(f"  all of its log: nixbk log {derivation}")
        if wanted_by:
            lines.append(f"  wanted by: {wanted_by}")
        super().__init__("\n".join(lines), where=derivation_name(derivation), hint=hint)

    def add(self, line: str) -> None:
        """Say more, on a line of its own."""
        self.message += f"\n  {line}"


class BuildsFailedError(NixbkError):
    """Several derivations could not be built.

    Attributes:
        failures: what went wrong with each.
        exit_code: of the program, as Nix has it.
        unbuilt: the derivations that are not there now.
    """

    def __init__(self, failures: Sequence[DerivationFailedError]) -> None:
        self.failures = tuple(failures)
        self.exit_code = exit_code(failure.kind for failure in failures)
        self.unbuilt = frozenset[StorePath]().union(*(failure.unbuilt for failure in failures))
        blocked = len(self.unbuilt) - len(failures)
        self._head = f"{len(failures)} derivations failed"
        if blocked > 0:
            verb = "was" if blocked == 1 else "were"
            self._head += f", {blocked} {verb} not built because of them"
        super().__init__("")
        self.compose()

    def compose(self) -> None:
        """Say anew what is to be said, after more was said of one of them."""
        self.message = "\n".join([self._head, *map(str, self.failures)])


def failures_of(error: BaseException | None) -> tuple[DerivationFailedError, ...]:
    """The failed derivations that *error* is about."""
    if isinstance(error, BuildsFailedError):
        return error.failures
    return (error,) if isinstance(error, DerivationFailedError) else ()


def all_failed(
    failures: Sequence[DerivationFailedError],
    blocked: Mapping[StorePath, Sequence[StorePath]] = NOTHING,
) -> DerivationFailedError | BuildsFailedError:
    """One error for all *failures*, each with what was not built because of it.

    Args:
        failures: at least one.
        blocked: what needs each failed derivation.
    """
    for failure in failures:
        users = blocked.get(failure.derivation, ())
        if users:
            failure.unbuilt |= {*users}
            failure.add(f"not built because of it: {few([derivation_name(drv) for drv in users])}")
    return failures[0] if len(failures) == 1 else BuildsFailedError(failures)


def derivation_failed(
    lock: Lock, derivation: StorePath, error: BuildFailed
) -> DerivationFailedError:
    """The error for the user, from BuildKit's."""
    log, report = split_report(error.log)
    kind, _, message = report.partition(": ")
    hint = None
    if not message:
        kind, message = _of_buildkit(error.message)
        if error.hint is not None:
            hint = error.hint
        elif error.failure.exit_code == KILLED:
            kind, message = "builder-failed", "builder was killed (signal 9)"
            hint = "the builder may have run out of memory: try --max-jobs 1, or --cores 1"
        elif absent := _absent(lock, message):
            message, hint = absent, "see 'sandbox' in the manifest"
        elif not kind and lock.derivations[derivation].builder == FETCH_BUILDER:
            kind, message = "builder-failed", f"cannot download: {message}"
    return DerivationFailedError(
        derivation, kind, message, log[-LOG_LINES:], wanted_by(lock, derivation), hint=hint
    )


def refused(lock: Lock, derivation: StorePath, error: NixbkError) -> DerivationFailedError:
    """The failure of a derivation that nixbk cannot build."""
    return DerivationFailedError(
        derivation,
        "unsupported",
        error.message,
        wanted_by=wanted_by(lock, derivation),
        hint=error.hint,
    )


def wanted_by(lock: Lock, derivation: StorePath) -> str:
    """Which installables need a derivation, the first few of them."""
    origins = [
        _wish(key, index, lock.images[key].installables[index].text)
        for key, index in lock.origins(derivation)
    ]
    return few(origins, ORIGINS)


def few(texts: Sequence[str], number: int = FEW) -> str:
    """The first *number* of *texts*, and how many more there are."""
    listed = ", ".join(texts[:number])
    return listed if len(texts) <= number else f"{listed} and {len(texts) - number} more"


def derivation_name(derivation: StorePath) -> str:
    """The name of a derivation, from its path."""
    return derivation.name.removesuffix(".drv")


def _wish(key: str, index: int, text: str) -> str:
    return text if key == COMMAND_LINE else f"images.{key}.installables[{index}] ({text})"


def _absent(lock: Lock, message: str) -> str:
    """What is wrong when a path of the sandbox is not there, as BuildKit says in *message*."""
    for found in lock.sandbox.values():
        if found.subpath and f"{found.path}/{found.subpath}" in message:
            return f"there is no {found.subpath!r} in {str(found.path)!r}, for {found.text!r}"
    return ""


def is_other_download(error: BuildFailed) -> bool:
    """Whether BuildKit found another file than was asked for."""
    return _DOWNLOAD.search(error.message) is not None


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
