#!/usr/bin/env python3
"""Lay out what minipkgs is made from, out of the Debian archive this machine uses.

    prepare.py DIR              DIR/pool with every source of sources.json, DIR/seed,
                                and a copy of the seed beside default.nix
    prepare.py DIR --seed-only  the seed alone
    prepare.py DIR --refresh    first rewrite sources.json to what the archive has now

DIR/pool is to be served over HTTP as default.nix's ``mirror``. The seed is a
static bash and busybox. Files that are there and whole are not fetched again;
when the archive has dropped a pinned one, sources.json is rewritten as by
``--refresh``. The machine's apt is only read, and asked through private lists.

Effect: network, processes, files below DIR and beside this program.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent
PINS = HERE / "sources.json"
# the release that sources.json is taken from, whatever the machine's own is
SUITE = "bookworm"
ARCHITECTURE = "amd64"
FETCH_TIMEOUT_S = 60
FETCH_TRIES = 3


class Row(TypedDict):
    """One pinned file of the archive.

    Attributes:
        path: below the archive's root, percent-encoded.
        name: what the store path is called.
        sha256: of the file, base-16.
        size: in bytes.
    """

    path: str
    name: str
    sha256: str
    size: int


Sources = dict[str, dict[str, Row]]


class Gone(Exception):  # noqa: N818 - a finding, not a failure: the answer is to refresh
    """The archive no longer has a pinned file."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What *command* prints on stdout."""
    return subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=cwd
    ).stdout


def archive() -> str:
    """The address of the Debian archive that this machine's apt uses.

    Source: apt-get(8), ``indextargets``.
    """
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]
    query += ["Origin: Debian", "Label: Debian", "Component: main"]
    found = run(*query).split()
    if not found:
        run("apt-get", "-q", "update")
        found = run(*query).split()
    if not found:
        sys.exit("prepare.py: this machine's apt knows no Debian archive")
    return found[0].rstrip("/")


def private_apt(work: Path, base: str) -> list[str]:
    """An apt-get command with its own lists and a source list that has deb-src."""
    lines = [f"{kind} {base} {SUITE} main\n" for kind in ("deb", "deb-src")]
    (work / "sources.list").write_text("".join(lines))
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    options = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": work / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
    }
    command = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]
    run(*command, "update")
    return command


def rows(printed: str) -> list[tuple[str, Row]]:
    """The (file name, pin) pairs that ``--print-uris`` prints."""
    found = []
    for line in printed.splitlines():
        if line.startswith("'"):
            uri, file, size, digest = shlex.split(line)
            path = urlsplit(uri).path
            # a store path's name has no `+` or `~` where the archive's has
            name = re.sub(r"[+~]", "-", unquote(path.rsplit("/", 1)[1]))
            pin = Row(
                path=path[path.index("/pool/") + 1 :],
                name=name,
                sha256=digest.removeprefix("SHA256:"),
                size=int(size),
            )
            found.append((file, pin))
    return found


def refreshed(old: Sources, base: str) -> Sources:
    """What the archive has now for every package of *old*."""
    new: Sources = {section: {} for section in old}
    with tempfile.TemporaryDirectory() as work:
        apt = private_apt(Path(work), base)
        for section in ("debs", "seed"):
            for package in old[section]:
                printed = run(*apt, "download", "--print-uris", f"{package}:{ARCHITECTURE}")
                ((_, new[section][package]),) = rows(printed)
        for package in old["srcs"]:
            printed = run(*apt, "source", "--print-uris", package)
            originals = [
                row for file, row in rows(printed) if re.search(r"\.orig\.tar\.\w+$", file)
            ]
            (new["srcs"][package],) = originals
    return new


def is_whole(file: Path, row: Row) -> bool:
    """Whether *file* is there with the pinned bytes."""
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]


def fetch(base: str, target: Path, row: Row) -> None:
    """Download one file, verified, unless it is there.

    Raises:
        Gone: the archive does not have it, or has other bytes at its place.
    """
    file = target / unquote(row["path"])
    if is_whole(file, row):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as partial:
        try:
            partial.write(download(f"{base}/{row['path']}"))
            partial.close()
            if not is_whole(Path(partial.name), row):
                raise Gone(row["path"])
            Path(partial.name).chmod(0o644)
            Path(partial.name).rename(file)
        finally:
            Path(partial.name).unlink(missing_ok=True)


def download(url: str) -> bytes:
    """The bytes at *url*; a broken connection is tried again.

    Raises:
        Gone: the server says that it has no such file.
    """
    for left in reversed(range(FETCH_TRIES)):
        try:
            # the address comes from the machine's own apt
            with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310
                body = answer.read()
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise Gone(url) from error
            if not left:
                raise
        except OSError:
            if not left:
                raise
        else:
            return bytes(body)
    raise AssertionError


def fetch_all(base: str, target: Path, wanted: list[Row]) -> None:
    """Download every file of *wanted*, eight at a time."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda row: fetch(base, target, row), wanted))


def missing(base: str, target: Path, wanted: list[Row]) -> str:
    """Fetch all of *wanted* and say what the archive has dropped; empty when nothing."""
    try:
        fetch_all(base, target, wanted)
    except Gone as gone:
        return f"the archive dropped {gone}"
    return ""


def make_seed(target: Path, pins: dict[str, Row]) -> None:
    """DIR/seed: static bash and busybox with its applets as links, unless it is there."""
    key = target / ".seed"
    wanted = "".join(sorted(row["sha256"] + "\n" for row in pins.values()))
    if key.is_file() and key.read_text() == wanted and (target / "seed").is_dir():
        return
    with tempfile.TemporaryDirectory(dir=target, prefix=".seed-") as name:
        work = Path(name)
        programs = work / "seed" / "bin"
        programs.mkdir(parents=True)
        for package, row in pins.items():
            run("dpkg-deb", "-x", target / unquote(row["path"]), work / package)
            program = package.removesuffix("-static")
            (source,) = (
                file
                for file in (work / package).rglob(f"{program}*")
                if file.parent.name == "bin" and file.is_file() and not file.is_symlink()
            )
            shutil.copyfile(source, programs / program)
            (programs / program).chmod(0o755)
        for applet in run(programs / "busybox", "--list").split():
            if applet not in ("busybox", "sh"):
                (programs / applet).symlink_to("busybox")
        (programs / "sh").symlink_to("bash")
        replace(target / "seed", work / "seed")
    key.write_text(wanted)


def replace(final: Path, made: Path) -> None:
    """Put the folder *made* in the place of *final*, which is never seen half."""
    if final.is_symlink():
        final.unlink()
    old = made.with_name(f"{made.name}.old")
    if final.exists():
        final.rename(old)
    made.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def copy_seed(target: Path) -> None:
    """A copy of the seed beside default.nix, unless the same is there."""
    copy = HERE / "seed"
    if copy.is_dir() and not copy.is_symlink() and listing(copy) == listing(target / "seed"):
        return
    with tempfile.TemporaryDirectory(dir=HERE, prefix=".seed-") as name:
        shutil.copytree(target / "seed", Path(name) / "seed", symlinks=True)
        replace(copy, Path(name) / "seed")


def listing(folder: Path) -> dict[str, bytes]:
    """Names below *folder* with what they hold: a file's digest, a link's target."""
    found = {}
    for entry in folder.rglob("*"):
        if entry.is_symlink():
            found[str(entry.relative_to(folder))] = str(entry.readlink()).encode()
        elif entry.is_file():
            found[str(entry.relative_to(folder))] = hashlib.sha256(entry.read_bytes()).digest()
    return found


def main() -> None:
    """Carry out the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--refresh", action="store_true")
    parser.add_argument("--seed-only", action="store_true")
    options = parser.parse_args()
    target: Path = options.dir.resolve()
    target.mkdir(parents=True, exist_ok=True)
    sources: Sources = json.loads(PINS.read_text())
    base = archive()

    def wanted() -> list[Row]:
        sections = ["seed"] if options.seed_only else list(sources)
        return [row for section in sections for row in sources[section].values()]

    stale = "as asked" if options.refresh else missing(base, target, wanted())
    if stale:
        print(f"prepare.py: rewriting {PINS.name}: {stale}", file=sys.stderr)
        sources = refreshed(sources, base)
        PINS.write_text(json.dumps(sources, indent=1) + "\n")
        fetch_all(base, target, wanted())
    make_seed(target, sources["seed"])
    copy_seed(target)
    print(f"{len(wanted())} files and the seed are in {target}")


if __name__ == "__main__":
    main()
