"""Closures in binary caches, and who serves them. Effects: builds in the Nix store, writes caches.

Real Nix makes both closures and their caches, once; they are kept in the user's cache folder.

* *large*: 800 store paths, a gigabyte of this machine's own files together; of those 300 are a
  closure, too.
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

FEW: Final = 300
COUNT: Final = 800
SMALL_COUNT: Final = 2000
TOTAL_BYTES: Final = 1_000_000_000
FILES: Final = (Path("/usr/lib"), Path("/usr/bin"), Path("/usr/share"))
LARGEST_BYTES: Final = 30_000_000
PORT: Final = re.compile(r"port (\d+)")


class Closure(NamedTuple):
    """A closure in a cache.

    Attributes:
        cache: its folder.
        roots: paths that each refer to all before it; the last to all others.
        key: that the cache is signed with.
    """

    cache: Path
    roots: tuple[str, ...]
    key: str


class Offer(NamedTuple):
    """A closure in a cache that is served; see `Closure`."""

    url: str
    roots: tuple[str, ...]
    key: str


def large(places: Places, compression: str) -> Closure:
    """The large closure, in a cache of one compression; its first root has `FEW` paths."""
    return _closure(places, places.scratch / f"closure-{COUNT}", compression, _large)


def small(places: Places) -> Closure:
    """The small closure."""
    return _closure(places, places.scratch / "closure-files", "none", _small)


def _closure(
    places: Places, folder: Path, compression: str, make: Callable[[Places, Path], list[str]]
) -> Closure:
    cache, facts = folder / compression, folder / "facts.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        work, public = folder / "work", folder / "public"
        work.mkdir()
        roots = make(places, work)
        shutil.rmtree(work)
        secret = str(folder / "secret")
        key = ["nix-store", "--generate-binary-cache-key", "bench-1", secret, str(public)]
        run(key, environ=places.environ)
        facts.write_text(json.dumps({"roots": roots, "key": public.read_text().strip()}))
    found = json.loads(facts.read_text())
    if not (cache / "complete").exists():
        shutil.rmtree(cache, ignore_errors=True)
        to = f"file://{cache}?compression={compression}&secret-key={folder / 'secret'}"
        run(["nix", "copy", "--to", to, *found["roots"]], environ=places.environ)
        (cache / "complete").touch()
    return Closure(cache, tuple(found["roots"]), found["key"])


def _small(places: Places, work: Path) -> list[str]:
    return _build(places, work, "small_closure.nix", f"count = {SMALL_COUNT};")


def _large(places: Places, work: Path) -> list[str]:
    _slices(work / "slices")
    arguments = f"count = {COUNT}; roots = [ {FEW - 1} {COUNT - 1} ];"
    return _build(places, work, "large_closure.nix", arguments)


def _build(places: Places, work: Path, name: str, arguments: str) -> list[str]:
    """Build a closure in the Nix store; its roots.

    Args:
        places: where Nix is.
        work: the folder to build it from.
        name: of the file of Nix code beside this one.
        arguments: of that file beside the nonce, as Nix writes them.
    """
    shutil.copytree(DEMO / "seed", work / "seed")
    shutil.copy(Path(__file__).with_name(name), work)
    expression = f'import ./{name} {{ {arguments} nonce = "{time.time_ns()}"; }}'
    (work / "default.nix").write_text(expression)
    command = ["nix-build", "--no-out-link", "--option", "substitute", "false"]
    done = subprocess.run(
        command, cwd=work, env=places.environ, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


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
            yield Offer(f"http://127.0.0.1:{found[1]}", closure.roots, closure.key)
        finally:
            serving.terminate()
