"""The helper programs as files: their agreed bytes, and those for arm64 under emulation."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import pytest
from helper_bench import ROOT

from nixbk.helper import HelperKind, helper_binary
from nixbk.nix import nar
from nixbk.nix.hashes import Hash, HashAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = f"/nix/store/{'a' * 32}-a"


@pytest.fixture(scope="module")
def qemu() -> Path:
    """A static emulator of arm64."""
    command = [str(ROOT / "dev" / "engines"), "start", "qemu", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(json.loads(done.stdout)["qemu"]["QEMU_AARCH64"])


def run_arm64(qemu: Path, root: Path, kind: str, step: Mapping[str, object]) -> dict[str, object]:
    """Run a step by the arm64 program as process 1 in *root*, and return its result."""
    program: HelperKind = "unpack" if kind == "unpack" else "build"
    (root / ".nixbk" / "result").mkdir(parents=True)
    shutil.copy(helper_binary(program, "arm64").path, root / ".nixbk" / "helper")
    shutil.copy(qemu, root / "qemu")
    (root / "proc").mkdir()
    unshare, chroot = shutil.which("unshare"), shutil.which("chroot")
    assert unshare is not None
    assert chroot is not None
    enter = [unshare, "--fork", "--pid", f"--mount-proc={root / 'proc'}", chroot, str(root)]
    done = subprocess.run(
        [*enter, "/qemu", "/.nixbk/helper", kind],
        env={"NIXBK_STEP": json.dumps({"version": 1, "kind": kind, **step})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    file = root / ".nixbk/result/result.json"
    result: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
    return result


@pytest.mark.skipif(os.getuid() != 0, reason="chroot is for root")
def test_arm64_builds(qemu: Path, tmp_path: Path) -> None:
    """The program for arm64 runs a builder, ends what it left, and registers its output."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "dev").mkdir()
    os.mknod(tmp_path / "dev" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    shutil.copy(ROOT / "examples/minipkgs/seed/bin/bash", tmp_path / "bin" / "sh")
    step = {
        "outputs": {"out": PATH},
        "builder": "/bin/sh",
        "args": ["-euc", "echo $out $UID > $out; (while :; do :; done) &"],
        "env": {"out": PATH},
    }
    archive = nar.file_nar(f"{PATH} 1000\n".encode())
    digest, size_bytes = nar.nar_hash([archive])
    output = {
        "path": PATH,
        "narHash": digest.sri(),
        "narSize": size_bytes,
        "references": [PATH],
        "type": "regular",
    }
    assert run_arm64(qemu, tmp_path, "build", step) == {"version": 1, "outputs": {"out": output}}


@pytest.mark.skipif(os.getuid() != 0, reason="chroot is for root")
def test_arm64_unpacks(qemu: Path, tmp_path: Path) -> None:
    """The program for arm64 unpacks and verifies."""
    data = os.urandom(1_000_000)
    archive = b"".join(
        nar.write([nar.Directory(""), nar.RegularFile("x", len(data)), nar.Data(data)])
    )
    digest, size_bytes = nar.nar_hash([archive])
    (tmp_path / ".nixbk" / "nar").mkdir(parents=True)
    (tmp_path / ".nixbk" / "nar" / "0").write_bytes(archive)
    described = {"path": PATH, "narHash": digest.sri(), "narSize": size_bytes, "references": []}
    assert run_arm64(qemu, tmp_path, "unpack", {"nars": [described]}) == {}
    assert (tmp_path / PATH[1:] / "x").read_bytes() == data


@pytest.mark.skipif(os.getuid() != 0, reason="chroot is for root")
def test_arm64_hashes(qemu: Path, tmp_path: Path) -> None:
    """The program for arm64 hashes and scans what was fetched."""
    data = os.urandom(1_000_000)
    (tmp_path / ".nixbk" / "fetched").mkdir(parents=True)
    (tmp_path / ".nixbk" / "fetched" / "download").write_bytes(data)
    flat = Hash(HashAlgorithm.SHA1, hashlib.sha1(data, usedforsecurity=False).digest()).sri()
    step = {"outputs": {"out": PATH}, "fixed": {"method": "flat", "hash": flat}}
    digest, size_bytes = nar.nar_hash([nar.file_nar(data)])
    output = {
        "path": PATH,
        "narHash": digest.sri(),
        "narSize": size_bytes,
        "references": [],
        "type": "regular",
    }
    assert run_arm64(qemu, tmp_path, "fetch", step) == {"version": 1, "outputs": {"out": output}}


@pytest.mark.slow
def test_bytes_are_the_agreed_ones() -> None:
    """A build elsewhere, with empty caches, yields the bytes of helper/SHA256SUMS."""
    command = [sys.executable, str(ROOT / "hatch_build.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_programs_are_the_agreed_ones() -> None:
    """What the package carries hashes to what it says."""
    sums = (ROOT / "helper" / "SHA256SUMS").read_text()
    found = ""
    for architecture in ("amd64", "arm64"):
        for kind in get_args(HelperKind):
            program = helper_binary(kind, architecture)
            digest = hashlib.sha256(program.path.read_bytes()).hexdigest()
            assert program.sha256_hex == digest
            assert program.size_bytes == program.path.stat().st_size
            found += f"{digest}  linux-{architecture}/{kind}\n"
    assert found == sums
