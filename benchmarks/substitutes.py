"""Fetching a closure from a binary cache: nixbk and Nix in turns, from one server on loopback.

See :mod:`benchmarks.closures` for what is fetched.

* *lock* with nothing known is held against ``nix path-info --recursive``: the same narinfos. Nix
  verifies no signatures then, as nixbk does.
* *apply* to a loaded image, with nothing in BuildKit, is held against ``nix copy`` into an empty
  store, followed by making an image archive of that store and loading it.
* *plan* with nothing to do is held against U (see :mod:`benchmarks.noop`).

Effects: starts engines, prunes the one it measures on; those of that module.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.closures import COUNT, FEW, SMALL_COUNT, large, served, small
from benchmarks.measure import Run, in_turns, peak, ratio, run
from benchmarks.noop import LIMIT as PLAN_LIMIT
from benchmarks.noop import unit
from benchmarks.places import NIXBK

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.closures import Offer
    from benchmarks.measure import Row
    from benchmarks.places import Places

COMPRESSIONS: Final = ("zstd", "xz")
LOCK_LIMIT: Final = 1.0
APPLY_LIMIT: Final = 1.5
CLIENT_LIMIT_MB: Final = 300
LOADS: Final = 3
IMAGE: Final = "nixbk-bench-closure"


def measure(places: Places, rounds: int) -> list[Row]:
    """Lock and apply of closures to what Nix takes for the same."""
    if not places.builder.startswith("docker"):
        raise RuntimeError("images are loaded into Docker: choose an engine that is one")
    rows: list[Row] = []
    with ExitStack() as stack:
        offer = stack.enter_context(served(places, small(places)))
        rows += _measure_lock(places, rounds, f"{SMALL_COUNT} small paths", offer)
        for compression in COMPRESSIONS:
            offer = stack.enter_context(served(places, large(places, compression)))
            rows += _measure(places, rounds, compression, offer)
    return rows


def _measure_lock(
    places: Places, rounds: int, what: str, offer: Offer, limit: float | None = LOCK_LIMIT
) -> list[Row]:
    """Lock with nothing known to Nix's way to ask the same questions."""
    root = offer.roots[-1]
    folder = places.scratch / "closure-run"
    project = _project(places.scratch / "closure-lock", offer, root)
    locks = in_turns(
        {
            "nixbk lock": partial(_lock, places, project, folder),
            "nix path-info": partial(_path_info, places, offer, root, folder),
        },
        rounds + 2,
    )
    return [
        ratio(f"{what}: lock / nix path-info", locks, "nixbk lock", "nix path-info", limit),
        peak(f"{what}: client memory, lock", locks["nixbk lock"], CLIENT_LIMIT_MB),
    ]


def _measure(places: Places, rounds: int, compression: str, offer: Offer) -> list[Row]:
    few, root = offer.roots
    what = f"{COUNT} paths, {compression}"
    smaller = offer._replace(roots=(few,))
    rows = _measure_lock(places, rounds, f"{FEW} paths, {compression}", smaller, None)
    rows += _measure_lock(places, rounds, what, offer)
    project = _project(places.scratch / f"closure-project-{compression}", offer, root)
    folder = places.scratch / "closure-run"
    _lock(places, project, folder)
    applies = in_turns(
        {
            "nixbk apply": partial(_apply, places, project, folder),
            "nix copy and load": partial(_copy_and_load, places, offer, folder),
        },
        max(rounds - 1, 1),
    )
    _apply(places, project, folder)
    environ = _fresh(places, folder, keep=True)
    run([NIXBK, "plan", "--detailed-exitcode"], cwd=project, environ=environ)
    plans = in_turns(
        {
            "U": unit(places),
            "plan": lambda: run([NIXBK, "plan"], cwd=project, environ=environ),
        },
        rounds + 2,
    )
    return [
        *rows,
        ratio(
            f"{what}: apply / nix copy, tar, load",
            applies,
            "nixbk apply",
            "nix copy and load",
            APPLY_LIMIT,
        ),
        ratio(f"{what}: plan of nothing / U", plans, "plan", "U", PLAN_LIMIT),
        peak(f"{what}: client memory, apply", applies["nixbk apply"], CLIENT_LIMIT_MB),
    ]


# What is measured -------------------------------------------------------------------------


def _lock(places: Places, project: Path, folder: Path) -> Run:
    (project / "nixbk.lock").unlink(missing_ok=True)
    return run([NIXBK, "lock"], cwd=project, environ=_fresh(places, folder))


def _path_info(places: Places, offer: Offer, root: str, folder: Path) -> Run:
    command = ["nix", "path-info", "--recursive", "--store", offer.url, root]
    return run(command, environ=_fresh(places, folder))


def _apply(places: Places, project: Path, folder: Path) -> Run:
    _empty(places)
    return run([NIXBK, "apply"], cwd=project, environ=_fresh(places, folder))


def _copy_and_load(places: Places, offer: Offer, folder: Path) -> Run:
    """The same image by hand: a store, an archive of it in one layer, ``docker load``."""
    _empty(places)
    environ = _fresh(places, folder)
    store = folder / "store"
    command = ["nix", "copy", "--from", offer.url, "--to", str(store), offer.roots[-1]]
    start = time.perf_counter()
    copied = run([*command, "--option", "trusted-public-keys", offer.key], environ=environ)
    archive = _archive(store, folder)
    wall_s = time.perf_counter() - start + _load(archive, environ)
    run(["chmod", "-R", "u+w", store])
    shutil.rmtree(folder)
    return Run(wall_s, copied.peak_mb)


def _load(archive: Path, environ: dict[str, str]) -> float:
    """Load an archive into Docker; how long it took, in seconds.

    Docker's garbage collection, still at work on what was removed before, can take what is loaded.
    """
    for _ in range(LOADS):
        try:
            return run(["docker", "load", "--input", archive], environ=environ).wall_s
        except RuntimeError as error:
            if "NotFound" not in str(error):
                raise
    raise RuntimeError(f"docker load failed {LOADS} times")


def _archive(store: Path, folder: Path) -> Path:
    """An archive as ``docker load`` takes it, with all of the store as its one layer."""
    layer = folder / "layer.tar"
    owner = ["--owner=0", "--group=0", "--sort=name"]
    run(["tar", "--create", "--file", layer, *owner, "--directory", store, "nix/store"])
    digest = hashlib.file_digest(layer.open("rb"), "sha256").hexdigest()
    config = folder / "config.json"
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    config.write_text(
        json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})
    )
    manifest = folder / "manifest.json"
    entry = {"Config": config.name, "RepoTags": [f"{IMAGE}:nix"], "Layers": [layer.name]}
    manifest.write_text(json.dumps([entry]))
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for file in (manifest, config, layer):
            tar.add(file, file.name)
    return archive


def _fresh(places: Places, folder: Path, *, keep: bool = False) -> dict[str, str]:
    """An environment in which nobody knows anything yet."""
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return {**places.environ, "XDG_CACHE_HOME": str(folder / "cache")}


def _empty(places: Places) -> None:
    """Leave nothing of the closure in the engine."""
    environ = places.environ
    names = [f"{IMAGE}:latest", f"{IMAGE}:nix"]
    subprocess.run(
        ["docker", "rmi", "--force", *names], env=environ, capture_output=True, check=False
    )
    run(["docker", "buildx", "prune", "--all", "--force"], environ=environ)


def _project(folder: Path, offer: Offer, root: str) -> Path:
    """A manifest of an image of all that *root* refers to."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = [
        "[substituters.bench]",
        f'url = "{offer.url}"',
        f'public-keys = ["{offer.key}"]',
        "[images.closure]",
        f'name = "{IMAGE}:latest"',
        f'installables = ["{root}"]',
    ]
    (folder / "nixbk.toml").write_text("\n".join([*lines, ""]))
    return folder
