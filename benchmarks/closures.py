"""Closures in binary caches, and who serves them. Effects: builds in the Nix store, writes caches.

Real Nix makes both closures and their caches, once; they are kept in the user's cache folder.

* *large*: some 300 store paths, a gigabyte of this machine's own files together.
* *small*: 2,000 files of 5 kB, which refer to each other. Of those that are shorter than a symlink
  can be, nixbk asks for their content, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.measure import run
from benchmarks.places import DEMO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.places import Places

COUNT: Final = 300
SMALL_COUNT: Final = 2000
TOTAL_BYTES: Final = 1_000_000_000
FILES: Final = (Path("/usr/lib"), Path("/usr/bin"), Path("/usr/share"))
LARGEST_BYTES: Final = 30_000_000
PORT: Final = re.compile(r"port (\d+)")


class Closure(NamedTuple):
    """A closure in a cache.

    Attributes:
        cache: its folder.
        root: the path that refers to all others.
        key: that the cache is signed with.
    """

    cache: Path
    root: str
    key: str


class Offer(NamedTuple):
    """A closure in a cache that is served; see `Closure`."""

    url: str
    root: str
    key: str


def large(places: Places, compression: str) -> Closure:
    """The large closure, in a cache of one compression."""
    return _closure(places, places.scratch / "closure", compression, _large)


def small(places: Places) -> Closure:
    """The small closure."""
    return _closure(places, places.scratch / "closure-files", "none", _small)


def _closure(
    places: Places, folder: Path, compression: str, make: Callable[[Places, Path], str]
) -> Closure:
    cache, facts = folder / compression, folder / "facts.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        work, public = folder / "work", folder / "public"
        work.mkdir()
        root = make(places, work)
        shutil.rmtree(work)
        secret = str(folder / "secret")
        key = ["nix-store", "--generate-binary-cache-key", "bench-1", secret, str(public)]
        run(key, environ=places.environ)
        facts.write_text(json.dumps({"root": root, "key": public.read_text().strip()}))
    found = json.loads(facts.read_text())
    if not (cache / "complete").exists():
        shutil.rmtree(cache, ignore_errors=True)
        to = f"file://{cache}?compression={compression}&secret-key={folder / 'secret'}"
        run(["nix", "copy", "--to", to, found["root"]], environ=places.environ)
        (cache / "complete").touch()
    return Closure(cache, found["root"], found["key"])


def _small(places: Places, work: Path) -> str:
    return _build(places, work, "small_closure.nix", SMALL_COUNT)


def _large(places: Places, work: Path) -> str:
    _slices(work / "slices")
    return _build(places, work, "large_closure.nix", COUNT)


def _build(places: Places, work: Path, name: str, count: int) -> str:
    """Build a closure in the Nix store; its root.

    Args:
        places: where Nix is.
        work: the folder to build it from.
        name: of the file of Nix code beside this one.
        count: of store paths.
    """
    shutil.copytree(DEMO / "seed", work / "seed")
    shutil.copy(Path(__file__).with_name(name), work)
    expression = f'import ./{name} {{ count = {count}; nonce = "{time.time_ns()}"; }}'
    (work / "default.nix").write_text(expression)
    command = ["nix-build", "--no-out-link", "--option", "substitute", "false"]
    done = subprocess.run(
        command, cwd=work, env=places.environ, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


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
def served(places: Places, closure: Closure) -> Iterator[Offer]:
    """Serve a closure's cache by a program of its own."""
    server = places.scratch / "file_server"
    run(["go", "build", "-o", server, Path(__file__).with_name("file_server.go")])
    command = [str(server), str(closure.cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None  # noqa: S101  a pipe was asked for
        found = PORT.search(serving.stdout.readline())
        assert found is not None  # noqa: S101  the first line says it
        try:
            yield Offer(f"http://127.0.0.1:{found[1]}", closure.root, closure.key)
        finally:
            serving.terminate()
