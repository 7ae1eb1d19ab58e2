"""Builds installables without an image, as ``nixbk build`` does. Effects: all of them."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from nixbk.apply.executor import Executor
from nixbk.apply.failures import COMMAND_LINE
from nixbk.apply.interruptible import interruptible
from nixbk.apply.prober import CacheProber
from nixbk.apply.rounds import until_settled
from nixbk.apply.verify import verify
from nixbk.apply.workbench import open_workbench
from nixbk.planner.compiler import Flavour
from nixbk.planner.survey import learn, survey
from nixbk.resolve.locker import make_lock
from nixbk.resolve.nix_command import NixCommand
from nixbk.resolve.sources import bundle_folder, open_source
from nixbk.schema.files import read_lock, read_manifest
from nixbk.schema.lock import BundleOrigin
from nixbk.schema.manifest import Image, Manifest
from nixbk.schema.manifest_file import ManifestFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nixbk.apply.progress import Progress
    from nixbk.apply.workbench import Settings, Workbench
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.realisation import RealisedOutput
    from nixbk.resolve.locker import Locked
    from nixbk.schema.lock import LockedSource

SPOOL_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BuiltOutput:
    """One output that was asked for.

    Attributes:
        installable: as the user wrote it.
        derivation: its derivation path.
        output: name of the output.
        info: what it is.
    """

    installable: str
    derivation: StorePath
    output: str
    info: RealisedOutput

    def to_json(self) -> dict[str, object]:
        """The entry of ``nixbk build --json``."""
        return {
            "installable": self.installable,
            "derivation": str(self.derivation),
            "output": self.output,
            "path": str(self.info.path),
            "narHash": self.info.nar_hash.sri(),
            "narSize": self.info.nar_size_bytes,
            "references": [str(path) for path in self.info.references],
        }


def realise(
    manifest_file: Path, installables: Sequence[str], settings: Settings, progress: Progress
) -> tuple[BuiltOutput, ...]:
    """Evaluate *installables* with the manifest's inputs and build them on BuildKit.

    Args:
        manifest_file: the manifest; its inputs and its sandbox count, if there is one.
        installables: as Nix users write them.
        settings: the user's.
        progress: told what happens.
    """
    inputs = Manifest.model_construct(images={})
    if manifest_file.exists():
        inputs = read_manifest(manifest_file).manifest
    wish = Manifest(
        inputs=inputs.inputs,
        sandbox=inputs.sandbox,
        images={COMMAND_LINE: Image(installables=tuple(installables))},
    )
    lock_file = manifest_file.with_suffix(".lock")
    asked = ManifestFile(wish, b"", "command line")
    folder = manifest_file.parent
    nix = NixCommand(folder, without=(lock_file, bundle_folder(lock_file)))
    old = read_lock(lock_file) if lock_file.exists() else None
    locked = make_lock(asked, folder, lock_file, nix, old=old)

    def work() -> tuple[BuiltOutput, ...]:
        with open_workbench(locked.lock, partial(_open, locked, lock_file), settings) as bench:
            return until_settled(lambda: _build(bench, settings.jobs, progress))

    return interruptible(settings.interruption, work)


def _build(bench: Workbench, jobs: int, progress: Progress) -> tuple[BuiltOutput, ...]:
    graph = bench.graph()
    installables = bench.lock.images[COMMAND_LINE].installables
    order = graph.build_order([found.drv_path for found in installables])
    wanted = [path for found in installables for path in found.paths.values()]
    with bench.solving() as solver:
        prober = CacheProber(solver, graph.compiler(Flavour.PROBE))
        learn(graph, order, bench.known, prober)
        missing = survey(graph, order, wanted, prober)
    if missing.to_build:
        with bench.solving(progress) as solver:
            Executor(solver, graph, bench.known, jobs, progress.watch).run(missing.to_build)
    verify(graph, [drv for drv in order if graph.is_known(drv)], bench.known, bench.solving)
    return tuple(
        BuiltOutput(found.text, found.drv_path, name, graph.info(found.paths[name]))
        for found in installables
        for name in found.outputs
    )


def _open(locked: Locked, lock_file: Path, source: LockedSource) -> BinaryIO:
    """The archive of a source, from where it was found: nothing was written beside a lock."""
    if not isinstance(source.origin, BundleOrigin) or source.origin.sha256 not in locked.bundle:
        return open_source(lock_file, source)
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  the caller's
    for chunk in locked.bundle[source.origin.sha256]():
        spool.write(chunk)
    spool.seek(io.SEEK_SET)
    return cast("BinaryIO", spool)
