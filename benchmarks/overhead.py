"""What a derivation costs beyond an exec of BuildKit's: nixbk, bare execs and Nix in turns.

Two graphs of trivial derivations, a chain and as many side by side, that nobody has built before.

* *nixbk* builds them from their lock: connect, ask the cache, run, verify.
* *bare* is the same graph as one static definition, sent in one solve through the same client:
  no helper, no result files, and no mounts but root, shell and the inputs.
* *nix* is ``nix-store --realise`` with its sandbox.

BuildKit runs whatever of a solve is ready, all of it at once. So the width is built by nixbk both
with its default, one job for each CPU, and with as many jobs as there are derivations.

Effects: starts engines, builds on them and in the Nix store.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Run, in_turns, ratio, run
from benchmarks.places import DEMO, builder_of
from nixbk.apply.failures import COMMAND_LINE
from nixbk.apply.progress import Progress
from nixbk.apply.realise import build_locked, open_locked
from nixbk.apply.workbench import Settings, open_workbench
from nixbk.buildkit.address import resolve_builder
from nixbk.buildkit.client import connect
from nixbk.buildkit.protocols import Result
from nixbk.buildkit.session import Attachables
from nixbk.buildkit.uploads import Upload, Uploads
from nixbk.graph.closure import closure
from nixbk.llb.exec import exec_
from nixbk.llb.marshal import marshal
from nixbk.llb.mounts import Mount
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.llb.sources import http
from nixbk.planner.base import base_root
from nixbk.resolve.locker import Locked, make_lock
from nixbk.resolve.nix_command import NixCommand
from nixbk.schema.manifest import Image, Manifest, Sandbox
from nixbk.schema.manifest_file import ManifestFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Row
    from benchmarks.places import Places
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath
    from nixbk.schema.lock import Lock

ENGINES: Final = ("docker-28", "buildkitd")
COUNT: Final = 100
LIMIT: Final = 1.2


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of derivations.

    Attributes:
        locked: its lock, and the bytes that go with it.
        lock_file: where that lock would be.
    """

    locked: Locked
    lock_file: Path

    @property
    def lock(self) -> Lock:
        """Its lock."""
        return self.locked.lock

    @property
    def root(self) -> StorePath:
        """The derivation that needs all others."""
        (root,) = self.lock.roots
        return root


def measure(places: Places, rounds: int) -> list[Row]:
    """Chain and width on every engine, and by Nix."""
    builders = {engine: builder_of(engine) for engine in ENGINES}
    rows = []
    for shape in ("chain", "width"):
        cases = _cases(places, shape, builders)
        runs = in_turns(cases, rounds)
        for engine in ENGINES:
            for subject in [name for name in cases if name.startswith(f"nixbk on {engine}")]:
                title = f"{shape} of {COUNT}, {subject} / bare"
                rows.append(ratio(title, runs, subject, f"bare on {engine}", LIMIT))
        for engine in ENGINES:
            title = f"{shape} of {COUNT}, bare on {engine} / nix"
            rows.append(ratio(title, runs, f"bare on {engine}", "nix", None))
    return rows


def _cases(places: Places, shape: str, builders: dict[str, str]) -> dict[str, Callable[[], Run]]:
    cpus = os.cpu_count() or 1

    def case(side: Callable[[Graph], Run]) -> Run:
        folder = places.scratch / "overhead"
        return side(graph_of(folder, shape, COUNT))

    cases: dict[str, Callable[[Graph], Run]] = {}
    for engine, builder in builders.items():
        cases[f"nixbk on {engine}"] = partial(built_by_nixbk, places, builder, jobs=cpus)
        if shape == "width":
            cases[f"nixbk on {engine}, {COUNT} jobs"] = partial(
                built_by_nixbk, places, builder, jobs=COUNT
            )
        cases[f"bare on {engine}"] = partial(built_bare, places, builder)
    cases["nix"] = partial(built_by_nix, places, jobs=cpus)
    return {name: partial(case, side) for name, side in cases.items()}


def graph_of(folder: Path, shape: str, count: int) -> Graph:
    """A chain, or a width, of *count* derivations that nobody has built, evaluated in *folder*."""
    return evaluated(folder, "overhead", shape, f"count = {count};")


def evaluated(folder: Path, name: str, attribute: str, arguments: str) -> Graph:
    """Derivations that nobody has built.

    Args:
        folder: to evaluate in, for this alone; it is made anew.
        name: of the file of Nix code beside this one.
        attribute: of that file, called with the arguments.
        arguments: of that file beside the nonce, as Nix writes them.
    """
    expression = Path(__file__).with_name(f"{name}.nix")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DEMO / "seed", folder / "seed")
    shutil.copy(expression, folder)
    nonce = secrets.token_hex(8)
    (folder / "default.nix").write_text(
        f'import ./{expression.name} {{ nonce = "{nonce}"; {arguments} }}\n'
    )
    manifest = Manifest(
        sandbox=Sandbox(shell="seed/bin/busybox"),  # noqa: S604  a file
        images={COMMAND_LINE: Image(installables=(f"./default.nix#{attribute}",))},
    )
    lock_file = folder / "nixbk.lock"
    asked = ManifestFile(manifest, b"", "benchmark")
    return Graph(make_lock(asked, folder, lock_file, NixCommand(folder)), lock_file)


def built_by_nixbk(places: Places, builder: str, graph: Graph, *, jobs: int) -> Run:
    """Build *graph* as ``nixbk build`` does once it has evaluated."""
    settings = Settings(builder=builder, environ=places.environ, max_jobs=jobs)
    opener = partial(open_locked, graph.locked, graph.lock_file)
    start = time.perf_counter()
    with open_workbench(graph.lock, opener, settings) as bench:
        build_locked(bench, Progress(_nobody), check=False)
    return Run(time.perf_counter() - start, 0)


def built_bare(places: Places, builder: str, graph: Graph) -> Run:
    """Build *graph* as one definition of execs that nothing is added to."""
    uploads = Uploads()
    busybox = DEMO / "seed" / "bin" / "busybox"
    size = busybox.stat().st_size
    digest = hashlib.sha256(busybox.read_bytes()).hexdigest()
    url = uploads.add(Upload(digest, size, lambda: busybox.open("rb")))
    shell = http(url, checksum=f"sha256:{digest}", filename="sh", mode=0o555, name="shell")
    start = time.perf_counter()
    definition, _ = marshal(bare(graph, shell))
    with (
        connect(resolve_builder(builder, places.environ)) as client,
        client.session(Attachables(uploads=uploads)) as session,
        client.build(session) as running,
    ):
        running.solve(definition)
        running.finish(Result())
    return Run(time.perf_counter() - start, 0)


def bare(graph: Graph, shell: Output) -> Output:
    """The execs of *graph*: what each derivation says is run over what it needs."""
    lock, base = graph.lock, base_root()
    roots: dict[StorePath, Output] = {}
    for path in closure([graph.root], lambda drv: lock.derivations[drv].input_drvs):
        derivation = lock.derivations[path]
        inputs = [(lock.outputs(drv)["out"], roots[drv]) for drv in derivation.input_drvs]
        roots[path] = exec_(
            [derivation.builder, *derivation.args],
            env=[f"{name}={value}" for name, value in derivation.env.items()],
            mounts=[
                Mount("/", base, readonly=False, output=True),
                Mount("/bin/sh", shell, selector="/sh"),
                *(Mount(str(store), root, selector=str(store)) for store, root in inputs),
            ],
            platform=LINUX_AMD64,
            name=derivation.name,
        ).root
    return roots[graph.root]


def built_by_nix(places: Places, graph: Graph, *, jobs: int) -> Run:
    """Build *graph* in the Nix store."""
    command = [
        *("nix-store", "--realise", str(graph.root), "--option", "sandbox", "true"),
        *("--option", "substitute", "false", "--max-jobs", str(jobs)),
    ]
    return run(command, environ=places.environ)


def _nobody(_: str) -> None:
    """Progress that nobody reads."""
