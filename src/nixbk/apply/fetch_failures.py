"""What cannot be fetched, as its user sees it: which path, why, who wants it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeGuard

from nixbk.apply.failures import few, split_report, wanted_by
from nixbk.buildkit.errors import DISK_FULL, BuildFailed, way_out
from nixbk.errors import NixbkError
from nixbk.planner.lost import makers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock, LockedSubstitute

TOLD: Final = 5
"""So many paths are told of, each with its caches."""
_NOT_THERE: Final = frozenset({404, 410})
_ELSEWHERE: Final = "'nixbk lock --refresh' looks for another way to have it"


class PathFailedError(NixbkError):
    """A store path cannot be fetched.

    Attributes:
        path: it.
        gone: whether all its caches say that they do not have it.
    """

    def __init__(
        self,
        lock: Lock,
        found: LockedSubstitute,
        faults: Mapping[int, Exception],
        *,
        gone: bool,
    ) -> None:
        self.path = found.path
        self.gone = gone
        head = "no binary cache has it any more" if gone else "it cannot be fetched"
        lines = [head]
        told: dict[str, None] = {}
        for number, archive in enumerate(found.archives):
            if number in faults:
                told[f"  {archive.substituter}: {_text(faults[number])}"] = None
        lines += told
        users = wanted_by(lock, found.path)
        if users:
            lines.append(f"  wanted by: {users}")
        own = next((h for f in faults.values() if (h := getattr(f, "hint", None))), None)
        super().__init__(
            "\n".join(lines), where=str(found.path), hint=_ELSEWHERE if gone or own is None else own
        )

    @property
    def told(self) -> str:
        """What is said of it, without a hint."""
        return f"{self.where}: {self.message}"


class TooSlowError(NixbkError):
    """The builder has waited long enough for a file."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the builder did not have it within {limit_s:,.0f} seconds")


class FetchesFailedError(NixbkError):
    """Several store paths cannot be fetched.

    Attributes:
        failures: each of them.
    """

    def __init__(self, failures: Sequence[PathFailedError]) -> None:
        self.failures = tuple(failures)
        lines = [f"{len(failures)} store paths cannot be fetched"]
        lines += [failure.told for failure in self.failures[:TOLD]]
        if len(failures) > TOLD:
            lines.append(f"and {few([failure.path.name for failure in failures[TOLD:]])}")
        super().__init__("\n".join(lines), hint=self.failures[0].hint)


class LostError(NixbkError):
    """Store paths cannot be fetched, and the lock has the derivations that make them.

    Attributes:
        failures: each of them.
    """

    def __init__(self, failures: Sequence[PathFailedError]) -> None:
        super().__init__("store paths are to be built")
        self.failures = tuple(failures)

    @property
    def paths(self) -> frozenset[StorePath]:
        """The store paths."""
        return frozenset(failure.path for failure in self.failures)


def all_failures(lock: Lock, failures: Sequence[PathFailedError]) -> NixbkError:
    """One error for all *failures*, of which there is one at least."""
    built = makers(lock, [failure.path for failure in failures]) if lock.fallback else {}
    hopeless = [failure for failure in failures if failure.path not in built]
    if not hopeless:
        return LostError(failures)
    return hopeless[0] if len(hopeless) == 1 else FetchesFailedError(hopeless)


def blamed(error: BuildFailed, paths: Collection[StorePath]) -> Collection[StorePath]:
    """Which of the *paths* that one step unpacks a failure is about; empty when it is about none.

    What the helper says names the path.
    """
    _, report = split_report(error.log)
    if DISK_FULL in report or DISK_FULL in error.message:
        return ()
    if report:
        named = [path for path in paths if str(path) in report]
        return named if named or len(paths) > 1 else paths
    named = [path for path in paths if error.failure.name.endswith(f" {path.name}")]
    if named:
        return named
    ran = error.failure.exit_code is not None
    return () if ran or len(paths) > 1 else paths


def is_unpacking(error: NixbkError) -> TypeGuard[BuildFailed]:
    """Whether it is what is in a file that is wrong, and not how it is had."""
    return isinstance(error, BuildFailed) and bool(split_report(error.log)[1])


def unpacking_failed(error: BuildFailed, found: LockedSubstitute) -> NixbkError:
    """What the helper says of a file."""
    _, report = split_report(error.log)
    return NixbkError(report.partition(": ")[2] or report, where=found.path.name, hint=_ELSEWHERE)


def builder_failed(error: BuildFailed, where: str) -> NixbkError:
    """What is wrong with the builder and not with what it fetches."""
    hint = way_out("\n".join([error.message, *error.log]))
    return NixbkError(error.message, where=where, hint=hint)


def _text(fault: Exception) -> str:
    message = fault.message if isinstance(fault, NixbkError) else str(fault)
    if isinstance(fault, BuildFailed):
        message = f"the builder says: {message}"
    return message.replace("\n", "\n  ")


def is_down(fault: BaseException) -> bool:
    """Whether a cache does not answer."""
    from nixbk.resolve.caches.faults import CacheUnreachableError  # noqa: PLC0415  of a failure

    return isinstance(fault, (CacheUnreachableError, TooSlowError))


def is_gone(faults: Iterable[BaseException]) -> bool:
    """Whether all caches say that they do not have a file; there is one at least."""
    from nixbk.resolve.caches.faults import NotInCacheError  # noqa: PLC0415  of a failure

    found = list(faults)
    return bool(found) and all(isinstance(fault, NotInCacheError) for fault in found)
