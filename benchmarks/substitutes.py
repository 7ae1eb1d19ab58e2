"""Fetching a closure from a binary cache: nixbk and Nix in turns, from one server on loopback.

The closure has some 300 store paths and a gigabyte of this machine's own files. Real Nix made the
caches, one for each of two compressions; they are made once and kept in the user's cache folder.

* *lock* with nothing known is held against ``nix path-info --recursive``: the same narinfos.
* *apply* to a loaded image, with nothing in BuildKit, is held against ``nix copy`` into an empty
  store, followed by making an image archive of that store and loading it.
* *plan* with nothing to do is held against U (see :mod:`benchmarks.noop`).

Effects: starts engines, prunes the one it measures on, builds in the Nix store, writes caches.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Run, in_turns, peak, ratio, run
from benchmarks.noop import LIMIT as PLAN_LIMIT
from benchmarks.noop import unit
from benchmarks.places import DEMO, NIXBK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Row
    from benchmarks.places import Places

COUNT: Final = 300
TOTAL_BYTES: Final = 1_000_000_000
COMPRESSIONS: Final = ("zstd", "xz")
LOCK_LIMIT: Final = 1.0
APPLY_LIMIT: Final = 1.5
CLIENT_LIMIT_MB: Final = 300
FILES: Final = (Path("/usr/lib"), Path("/usr/bin"), Path("/usr/share"))
IMAGE: Final = "nixbk-bench-closure"
LARGEST_BYTES: Final = 30_000_000
PORT: Final = re.compile(r"port (\d+)")


def measure(places: Places, rounds: int) -> list[Row]:
    """Lock and apply of the closure to what Nix takes for the same, for each compression."""
    if not places.builder.startswith("docker"):
        raise RuntimeError("images are loaded into Docker: choose an engine that is one")
    rows: list[Row] = []
    with ExitStack() as stack:
        for compression in COMPRESSIONS:
            cache, root, key = closure(places, compression)
            url = stack.enter_context(served(cache))
            rows += _measure(places, rounds, compression, (url, root, key))
    return rows


def _measure(
    places: Places, rounds: int, compression: str, facts: tuple[str, str, str]
) -> list[Row]:
    project = _project(places.scratch / f"closure-{compression}", *facts)
    folder = places.scratch / "closure-run"
    locks = in_turns(
        {
            "nixbk lock": partial(_lock, places, project, folder),
            "nix path-info": partial(_path_info, places, facts, folder),
        },
        rounds + 2,
    )
    _lock(places, project, folder)
    applies = in_turns(
        {
            "nixbk apply": partial(_apply, places, project, folder),
            "nix copy and load": partial(_copy_and_load, places, facts, folder),
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
    what = f"{COUNT} paths, {compression}"
    return [
        ratio(f"{what}: lock / nix path-info", locks, "nixbk lock", "nix path-info", LOCK_LIMIT),
        ratio(
            f"{what}: apply / nix copy, tar, load",
            applies,
            "nixbk apply",
            "nix copy and load",
            APPLY_LIMIT,
        ),
        ratio(f"{what}: plan of nothing / U", plans, "plan", "U", PLAN_LIMIT),
        peak(f"{what}: client memory, lock", locks["nixbk lock"], CLIENT_LIMIT_MB),
        peak(f"{what}: client memory, apply", applies["nixbk apply"], CLIENT_LIMIT_MB),
    ]


# What is measured -------------------------------------------------------------------------


def _lock(places: Places, project: Path, folder: Path) -> Run:
    (project / "nixbk.lock").unlink(missing_ok=True)
    return run([NIXBK, "lock"], cwd=project, environ=_fresh(places, folder))


def _path_info(places: Places, facts: tuple[str, str, str], folder: Path) -> Run:
    url, root, _ = facts
    command = ["nix", "path-info", "--recursive", "--store", url, root]
    return run(command, environ=_fresh(places, folder))


def _apply(places: Places, project: Path, folder: Path) -> Run:
    _empty(places)
    return run([NIXBK, "apply"], cwd=project, environ=_fresh(places, folder))


def _copy_and_load(places: Places, facts: tuple[str, str, str], folder: Path) -> Run:
    """The same image by hand: a store, an archive of it in one layer, ``docker load``."""
    url, root, key = facts
    _empty(places)
    environ = _fresh(places, folder)
    store = folder / "store"
    command = ["nix", "copy", "--from", url, "--to", str(store), root]
    start = time.perf_counter()
    copied = run([*command, "--option", "trusted-public-keys", key], environ=environ)
    archive = _archive(store, folder)
    run(["docker", "load", "--input", archive], environ=environ)
    wall_s = time.perf_counter() - start
    run(["chmod", "-R", "u+w", store])
    shutil.rmtree(folder)
    return Run(wall_s, copied.peak_mb)


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


# What it is measured with -----------------------------------------------------------------


def closure(places: Places, compression: str) -> tuple[Path, str, str]:
    """A cache of the closure: its folder, the closure's root, the public key; made only once."""
    folder = places.scratch / "closure"
    cache = folder / compression
    facts = folder / "facts.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        root, public = _build(places, folder)
        facts.write_text(json.dumps({"root": root, "key": public}))
    found = json.loads(facts.read_text())
    if not (cache / "complete").exists():
        shutil.rmtree(cache, ignore_errors=True)
        to = f"file://{cache}?compression={compression}&secret-key={folder / 'secret'}"
        run(["nix", "copy", "--to", to, found["root"]], environ=places.environ)
        (cache / "complete").touch()
    return cache, found["root"], found["key"]


def _build(places: Places, folder: Path) -> tuple[str, str]:
    """Build the closure in the Nix store; its root and the key that its cache is signed with."""
    work = folder / "work"
    work.mkdir(parents=True)
    shutil.copytree(DEMO / "seed", work / "seed")
    shutil.copy(Path(__file__).with_suffix(".nix"), work)
    _slices(work / "slices")
    expression = f'import ./substitutes.nix {{ count = {COUNT}; nonce = "{time.time_ns()}"; }}'
    (work / "default.nix").write_text(expression)
    command = ["nix-build", "--no-out-link", "--option", "substitute", "false"]
    done = subprocess.run(
        command, cwd=work, env=places.environ, check=True, capture_output=True, text=True
    )
    secret, public = folder / "secret", folder / "public"
    key = ["nix-store", "--generate-binary-cache-key", "bench-1", str(secret), str(public)]
    run(key, environ=places.environ)
    shutil.rmtree(work)
    return done.stdout.strip(), public.read_text().strip()


def _slices(folder: Path) -> None:
    """Real files, as many bytes as there are to be, dealt out over as many folders."""
    left = TOTAL_BYTES
    for number, file in enumerate(_files()):
        place = folder / str(number % COUNT)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / f"{number}-{file.name}"[:200])
        left -= file.stat().st_size
        if left <= 0 and number >= COUNT:
            return
    raise RuntimeError(f"{', '.join(map(str, FILES))} have too few files")


def _files() -> Iterator[Path]:
    """Files of this machine, neither empty nor huge."""
    for top in FILES:
        for folder, _, names in os.walk(top):
            for name in sorted(names):
                file = Path(folder, name)
                if (
                    file.is_file()
                    and not file.is_symlink()
                    and 0 < file.stat().st_size < LARGEST_BYTES
                ):
                    yield file


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve *folder* by a program of its own; its URL."""
    command = [sys.executable, str(Path(__file__).with_name("file_server.py")), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101  a pipe was asked for
        found = PORT.search(server.stdout.readline())
        assert found is not None  # noqa: S101  the first line says it
        try:
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            server.terminate()


def _project(folder: Path, url: str, root: str, key: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = [
        "[substituters.bench]",
        f'url = "{url}"',
        f'public-keys = ["{key}"]',
        "[images.closure]",
        f'name = "{IMAGE}:latest"',
        f'installables = ["{root}"]',
    ]
    (folder / "nixbk.toml").write_text("\n".join([*lines, ""]))
    return folder
