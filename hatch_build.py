"""The wheel's build hook: compiles the helper programs with Go, the same bytes on every machine.

Called by hatchling it fills ``src/nixbk/_helper``; called as a program it checks or renews
``helper/SHA256SUMS``, the bytes that were agreed on:

    python hatch_build.py --check    build twice, elsewhere, and compare with SHA256SUMS
    python hatch_build.py --update   build and write SHA256SUMS

The bytes are part of every cache key, so a build that yields others fails.
Effects: runs ``go``, writes files.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "helper"
SUMS = SOURCE / "SHA256SUMS"
TARGET = ROOT / "src" / "nixbk" / "_helper"
ARCHITECTURES = ("amd64", "arm64")
PROGRAMS = ("build", "builtin", "unpack")

_GO_MISSING = """\
nixbk's helper programs are compiled with Go, and there is no 'go' on PATH.
Install Go 1.21 or newer (it fetches the pinned toolchain itself): https://go.dev/dl/"""


class HelperError(RuntimeError):
    """The helper programs could not be built as agreed."""


def program_names() -> list[str]:
    """Every program as it is named in SHA256SUMS, sorted."""
    return sorted(f"linux-{arch}/{program}" for arch in ARCHITECTURES for program in PROGRAMS)


def toolchain() -> str:
    """The pinned Go release, from go.mod."""
    for line in (SOURCE / "go.mod").read_text().splitlines():
        if line.startswith("toolchain "):
            return line.removeprefix("toolchain ").strip()
    msg = "helper/go.mod names no toolchain"
    raise HelperError(msg)


def go_environment(arch: str, cache: Path | None = None) -> dict[str, str]:
    """The environment for one cross build: what could change the bytes is set here."""
    proxied = (
        "GOPROXY",
        "GONOSUMDB",
        "GONOSUMCHECK",
        "GOSUMDB",
        "GOPRIVATE",
        "GOMODCACHE",
        "GOPATH",
    )
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GO", "CGO_")) or name in proxied
    }
    settings = {
        "GOTOOLCHAIN": toolchain(),
        "GOOS": "linux",
        "GOARCH": arch,
        "GOAMD64": "v1",
        "GOARM64": "v8.0",
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        "GOWORK": "off",
        "GOENV": "off",
        "GOFLAGS": "-mod=readonly",
        "GOEXPERIMENT": "",
        "GOFIPS140": "off",
    }
    if "GOPROXY" not in kept:
        proxy = _go_env("GOPROXY")
        if proxy:
            settings["GOPROXY"] = proxy
    if cache is not None:
        settings["GOCACHE"] = str(cache)
    return kept | settings


def _go_env(name: str) -> str:
    result = subprocess.run(["go", "env", name], capture_output=True, text=True, check=False)
    return result.stdout.strip()


def compile_programs(target: Path, source: Path = SOURCE, cache: Path | None = None) -> None:
    """Build every program below *target*."""
    if shutil.which("go") is None:
        raise HelperError(_GO_MISSING)
    for arch in ARCHITECTURES:
        for program in PROGRAMS:
            path = target / f"linux-{arch}" / program
            path.parent.mkdir(parents=True, exist_ok=True)
            command = ["go", "build", "-trimpath", "-buildvcs=false", "-pgo=auto"]
            command += ["-ldflags", "-s -w -buildid=", "-o", str(path), f"./cmd/{program}"]
            result = subprocess.run(
                command,
                cwd=source,
                env=go_environment(arch, cache),
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode != 0:
                msg = f"'{' '.join(command)}' failed:\n{result.stderr}"
                raise HelperError(msg)


def sums(folder: Path) -> str:
    """The programs below *folder*, in the format of sha256sum."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in program_names()
    ]
    return "".join(lines)


def source_digest() -> str:
    """Changes with everything that the programs are made of."""
    digest = hashlib.sha256()
    files = [SOURCE / "go.mod", SOURCE / "go.sum", SUMS, Path(__file__)]
    files += sorted(path for path in SOURCE.rglob("*.go") if not path.name.endswith("_test.go"))
    files += sorted(SOURCE.rglob("default.pgo"))  # what the compiler knows of a program's speed
    for path in files:
        data = path.read_bytes()
        digest.update(f"{path.name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def ensure() -> None:
    """Fill the package's folder, unless what is there is what would be built."""
    stamp = TARGET / "SOURCE"
    wanted = source_digest()
    complete = all((TARGET / name).is_file() for name in program_names())
    if complete and stamp.is_file() and stamp.read_text() == wanted:
        return
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        built = Path(name)
        compile_programs(built)
        compare(sums(built))
        for program in program_names():
            path = TARGET / program
            path.parent.mkdir(exist_ok=True)
            new = path.with_suffix(".new")
            shutil.copy(built / program, new)
            new.replace(path)
    shutil.copyfile(SUMS, TARGET / "SHA256SUMS")
    stamp.write_text(wanted)


def compare(actual: str) -> None:
    """Refuse programs that are not the agreed ones."""
    expected = SUMS.read_text() if SUMS.is_file() else ""
    if actual != expected:
        msg = (
            "the helper programs came out with other bytes than helper/SHA256SUMS has.\n"
            f"expected:\n{expected}got:\n{actual}"
            "After a change of helper/: python hatch_build.py --update. Otherwise this Go is not "
            f"the release {toolchain()} of go.dev; put that one first on PATH."
        )
        raise HelperError(msg)


def check() -> None:
    """Build in another folder, with caches of its own, and compare."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        source = place / "elsewhere"
        shutil.copytree(SOURCE, source)
        compile_programs(place / "built", source, place / "cache")
        compare(sums(place / "built"))


def update() -> None:
    """Write SHA256SUMS anew and fill the package's folder."""
    with tempfile.TemporaryDirectory() as name:
        compile_programs(Path(name))
        SUMS.write_text(sums(Path(name)))
    ensure()


class HelperBuildHook(BuildHookInterface[Any]):
    """Compiles the helper programs before a wheel, editable ones too, is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make the programs and mark the wheel as one that holds files git ignores.

        Raises:
            HelperError: Go is missing, fails, or yields other bytes than agreed.
        """
        if self.target_name == "wheel":
            ensure()


def main() -> int:
    """Run the program's one option."""
    parser = argparse.ArgumentParser(description="build the helper programs")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_const", const=check, dest="action")
    action.add_argument("--update", action="store_const", const=update, dest="action")
    action.add_argument("--ensure", action="store_const", const=ensure, dest="action")
    try:
        parser.parse_args().action()
    except HelperError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
