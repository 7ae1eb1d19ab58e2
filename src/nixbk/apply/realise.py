"""Builds installables without an image, as ``nixbk build`` does. Effects: all of them."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from nixbk.apply.building import build_missing
from nixbk.apply.check import check_again
from nixbk.apply.failures import (
    COMMAND_LINE,
    BuildsFailedError,
    DerivationFailedError,
    all_failed,
    derivation_name,
    failures_of,
    few,
)
from nixbk.apply.fetch import fetch_missing
from nixbk.apply.fetch_failures import LostError
from nixbk.apply.interruptible import interruptible
from nixbk.apply.prober import CacheProber
from nixbk.apply.rounds import until_settled
from nixbk.apply.shared_cache import check_targets, keep_cache, remember
from nixbk.apply.verify import verify
from nixbk.apply.workbench import open_workbench
from nixbk.errors import NixbkError
from nixbk.planner.images import wanted
from nixbk.planner.survey import NobodyAsked, examine
from nixbk.planner.workshop import Flavour
from nixbk.resolve.bundle_files import bundle_folder
from nixbk.resolve.locker import make_lock
from nixbk.resolve.nix_command import NixCommand
from nixbk.resolve.sources import open_source
from nixbk.resolve.substituters import Asking
from nixbk.schema.files import read_lock, read_manifest
from nixbk.schema.installable import Installable, InstallableError
from nixbk.schema.lock import BundleOrigin, LockedImage
from nixbk.schema.manifest import Image, Manifest
from nixbk.schema.manifest_file import ManifestFile
from nixbk.schema.substitutes import require_trusted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nixbk.apply.progress import Progress
    from nixbk.apply.workbench import Settings, Workbench
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.realisation import RealisedOutput
    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.locker import Locked
    from nixbk.schema.lock import Lock, LockedInstallable, LockedSource

SPOOL_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BuiltOutput:
    """One output that was asked for.

    Attributes:
        installable: as the user wrote it.
        derivation: its derivation path; None when a store path was asked for.
        output: name of the output.
        info: what it is.
    """

    installable: str
    derivation: StorePath | None
    output: str
    info: RealisedOutput

    def to_json(self) -> dict[str, object]:
        """The entry of ``nixbk build --json``."""
        return {
            "installable": self.installable,
            "derivation": str(self.derivation) if self.derivation else None,
            "output": self.output,
            "path": str(self.info.path),
            "narHash": self.info.nar_hash.sri(),
            "narSize": self.info.nar_size_bytes,
            "references": [str(path) for path in self.info.references],
        }


@dataclass(frozen=True, slots=True)
class FailedBuild:
    """A derivation that is not there now.

    Attributes:
        installable: the first that needs it, as the user wrote it.
        derivation: its derivation path.
        kind: what went wrong, ``dependency-failed`` when it was not tried.
        message: the same for people.
        log: the last lines its builder printed.
    """

    installable: str
    derivation: StorePath
    kind: str
    message: str
    log: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The entry of ``nixbk build --json``."""
        return {
            "installable": self.installable,
            "derivation": str(self.derivation),
            "failure": {"kind": self.kind, "message": self.message, "log": list(self.log)},
        }


@dataclass(frozen=True, slots=True)
class Realised:
    """How far a build came.

    Attributes:
        outputs: what was asked for and is there.
        failures: what failed, and what was asked for and could not be tried.
        error: what to tell the user of the failures; None without any.
    """

    outputs: tuple[BuiltOutput, ...]
    failures: tuple[FailedBuild, ...] = ()
    error: NixbkError | None = None


def realise(
    manifest_file: Path,
    installables: Sequence[str],
    settings: Settings,
    progress: Progress,
    *,
    check: bool = False,
) -> Realised:
    """Evaluate *installables* with the manifest's inputs and build them on BuildKit.

    Args:
        manifest_file: the manifest; its inputs and its sandbox count, if there is one.
        installables: as Nix users write them.
        settings: the user's.
        progress: told what happens.
        check: whether they are built once more, to see that the results are the same.

    Raises:
        NixbkError: something failed; when the rest is to go on, failures are returned instead.
    """
    lock_file = manifest_file.with_suffix(".lock")
    asking = Asking(settings.environ, settings.netrc_file)
    locked = evaluate(manifest_file, installables, asking)
    for warning in locked.warnings:
        settings.say(warning)

    def caches() -> Mapping[str, Cache]:
        manifest = read_manifest(manifest_file).manifest
        require_trusted(locked.lock, manifest)
        return settings.caches_of(manifest, manifest_file.parent)

    def work() -> Realised:
        opener = partial(open_locked, locked, lock_file)
        with open_workbench(locked.lock, opener, settings, caches) as bench:
            check_targets(bench)
            return until_settled(lambda: _build_or_lose(bench, progress, check=check))

    found = interruptible(settings.interruption, work)
    if found.error is not None and not settings.keep_going:
        raise found.error
    return found


def evaluate(
    manifest_file: Path, installables: Sequence[str], asking: Asking | None = None
) -> Locked:
    """A lock of *installables* alone, with inputs, sandbox and caches of the manifest, if any.

    Args:
        manifest_file: the manifest, which there need not be.
        installables: as Nix users write them.
        asking: how its caches are asked.

    Raises:
        NixbkError: there is no such installable, or it cannot be evaluated.
    """
    inputs = Manifest(images={})
    if manifest_file.exists():
        inputs = read_manifest(manifest_file).manifest
    wish = Manifest(
        inputs=inputs.inputs,
        sandbox=inputs.sandbox,
        substituters=inputs.substituters,
        fallback=inputs.fallback,
        images={COMMAND_LINE: Image(installables=tuple(map(_checked, installables)))},
    )
    lock_file = manifest_file.with_suffix(".lock")
    asked = ManifestFile(wish, b"", "command line")
    folder = manifest_file.parent
    nix = NixCommand(folder, without=(lock_file, bundle_folder(lock_file)))
    old = read_lock(lock_file) if lock_file.exists() else None
    return make_lock(asked, folder, lock_file, nix, old=old, asking=asking)


def _checked(text: str) -> str:
    """*text*, which no file has checked, if it is an installable."""
    try:
        Installable.parse(text)
    except InstallableError as error:
        raise InstallableError(error.message, where=text, hint=error.hint) from error
    return text


def _build_or_lose(bench: Workbench, progress: Progress, *, check: bool) -> Realised:
    """Build, also what cannot be fetched if the lock has its derivation."""
    while True:
        try:
            return build_locked(bench, progress, check=check)
        except LostError as error:
            bench.lose(error, progress.say)


def build_locked(bench: Workbench, progress: Progress, *, check: bool) -> Realised:
    """Build the installables of the bench's lock, as far as they can be built."""
    graph = bench.graph()
    installables = bench.lock.images[COMMAND_LINE].installables
    asked = list(wanted(graph, bench.lock.images[COMMAND_LINE]))
    roots = [step for step, _ in asked]
    order = graph.build_order(roots)
    built_roots = [step for step in dict.fromkeys(roots) if not graph.is_leaf(step)]
    if check:  # what is built again needs its inputs, whether or not they are needed otherwise
        _require_built(graph, installables)
        asked += [need for drv in built_roots for need in graph.needs(drv)]
    with bench.solving() as solver:
        prober = CacheProber(solver, graph.compiler(Flavour.PROBE), bench.settings.cache)
        # What this machine does not know is asked for by running its steps, cached or not; in a
        # cache of others' the result files are to be had by themselves.
        taken = bench.settings.cache.imports
        results = prober if taken else NobodyAsked()
        missing = examine(graph, order, asked, bench.known, prober, results=results)
        if missing.refused:  # what needs those may be cached
            missing = examine(graph, order, asked, bench.known, prober)
        remember(bench, graph, order, prober)
    error: DerivationFailedError | BuildsFailedError | None = None
    built: frozenset[StorePath] = frozenset()
    if missing.to_fetch:
        fetch_missing(bench, graph, missing.to_fetch, progress)
    if missing.to_build:
        try:
            built = build_missing(bench, graph, missing, progress)
        except (DerivationFailedError, BuildsFailedError) as failed:
            if not bench.settings.keep_going:
                raise
            error = failed
    unbuilt = error.unbuilt if error else frozenset()
    known = [drv for drv in order if graph.is_lasting(drv) and graph.is_known(drv)]
    known = [drv for drv in known if drv not in unbuilt | built | bench.read]
    verify(graph, known, bench.known, bench.solving, bench.settings.cache)
    there = [f for f in installables if unbuilt.isdisjoint(s for s, _ in graph.wanted(f))]
    failures = failures_of(error)
    if check:
        again = [step for found in there for step, _ in graph.wanted(found)]
        failures += check_again(bench, graph, list(dict.fromkeys(again)), progress)
    if not failures:
        made = [
            root for step in dict.fromkeys(roots) for root in graph.step(step, Flavour.RUN).roots
        ]
        keep_cache(bench, graph, lambda _: made, order, progress.say)
    return Realised(
        tuple(
            BuiltOutput(found.text, found.drv_path, name, graph.info(path))
            for found in graph.located(LockedImage((), tuple(there))).installables
            for name in found.outputs
            if (path := found.paths.get(name)) is not None
        ),
        tuple(_failed(bench.lock, failures)),
        all_failed(failures) if failures else None,
    )


def _require_built(graph: BuildGraph, installables: Sequence[LockedInstallable]) -> None:
    """See that nothing that is to be built once more was fetched.

    Raises:
        NixbkError: something was.
    """
    for found in installables:
        if any(graph.is_fetched(step) for step, _ in graph.wanted(found)):
            raise NixbkError(
                "it comes from a binary cache; there is no build of it to be repeated",
                where=found.text,
                hint="take 'substituters' out of the manifest to have it built",
            )


def _failed(lock: Lock, failures: Sequence[DerivationFailedError]) -> Iterator[FailedBuild]:
    """What failed, and what was asked for and not tried because of it."""
    installables = lock.images[COMMAND_LINE].installables
    for failure in failures:
        origins = lock.origins(failure.derivation)
        text = installables[origins[0][1]].text if origins else ""
        yield FailedBuild(text, failure.derivation, failure.kind, str(failure), failure.log)
    failed = {failure.derivation for failure in failures}
    for found in installables:
        drv = found.drv_path
        causes = [f.derivation for f in failures if drv in f.unbuilt - failed]
        if drv is not None and causes:
            names = few([derivation_name(cause) for cause in causes])
            message = f"{derivation_name(drv)}: not built, because of {names}"
            yield FailedBuild(found.text, drv, "dependency-failed", message)


def open_locked(locked: Locked, lock_file: Path, source: LockedSource) -> BinaryIO:
    """The archive of a source, from where it was found: nothing was written beside a lock."""
    if not isinstance(source.origin, BundleOrigin) or source.origin.sha256 not in locked.bundle:
        return open_source(lock_file, source)
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  the caller's
    for chunk in locked.bundle[source.origin.sha256]():
        spool.write(chunk)
    spool.seek(io.SEEK_SET)
    return cast("BinaryIO", spool)
