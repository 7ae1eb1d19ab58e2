"""Archives are what they are said to be before anybody is given them."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from benches import WORKSHOP
from memory_buildkit import MemoryBuild, MemoryCache
from proven import SETUP

from nixbk.apply.pack import PackError, pack_output, pack_source
from nixbk.apply.solver import Solver
from nixbk.buildkit.protocols import FileStat
from nixbk.nix.hashes import Hash
from nixbk.nix.nar import file_nar
from nixbk.planner.compiler import NAR_FILE, RESULT_FILE, Compiler
from nixbk.planner.offers import Offer
from nixbk.planner.realisation import RealisedOutput
from nixbk.planner.workshop import Flavour, StoreObject
from nixbk.resolve.small_nars import unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from nixbk.apply.pack import PackCompression
    from nixbk.buildkit.protocols import Ref

NAR = file_nar(b"contents" * 1000)
INFO = RealisedOutput(SETUP.path, Hash.of(NAR), len(NAR), ())
OFFER = Offer(INFO, "", source=SETUP)
COMPRESSIONS: dict[PackCompression, str] = {
    "zstd": ".nar.zst",
    "xz": ".nar.xz",
    "gzip": ".nar",
    "none": ".nar",
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_sources(tmp_path: Path, compression: PackCompression) -> None:
    """A file has its archive, its name, its hash and its size; twice the same."""
    found = [
        pack_source(io.BytesIO(NAR), OFFER, compression, tmp_path / str(number))
        for number in range(2)
    ]
    first, second = (packed.file.read_bytes() for packed in found)
    assert first == second
    assert unpacked(first, compression, len(NAR)) == NAR
    assert (found[0].file_hash, found[0].file_size) == (Hash.of(first), len(first))
    assert found[0].url == f"nar/{Hash.of(first).base32()}{COMPRESSIONS[compression]}"


@pytest.mark.parametrize("data", [NAR[:-8], NAR + b"\0" * 8, NAR.replace(b"con", b"kon")])
def test_other_sources(tmp_path: Path, data: bytes) -> None:
    """What is not what was locked goes nowhere."""
    with pytest.raises(PackError, match="its archive is not the one that was locked"):
        pack_source(io.BytesIO(data), OFFER, "xz", tmp_path / "file")


class Packing(MemoryBuild):
    """A build whose steps all leave the same two files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(MemoryCache(), None)
        self._files = files

    def read_file(self, ref: Ref, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """A part of a file."""
        del ref
        return self._files[path][offset : offset + length if length else None]

    def stat_file(self, ref: Ref, path: str) -> FileStat:
        """Its size."""
        del ref
        return FileStat(path, 0o644, 0, 0, len(self._files[path]), 0, "")


FILE = b"as the builder packed it"
TOLD: dict[str, Any] = {
    "compression": "zstd",
    "fileHash": Hash.of(FILE).sri(),
    "fileSize": len(FILE),
    "narHash": INFO.nar_hash.sri(),
    "narSize": INFO.nar_size_bytes,
    "path": str(INFO.path),
    "version": 1,
}
OTHER = "with another content than it was built with"
LIES: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "path": ({"path": f"{INFO.path}-x"}, FILE, OTHER),
    "NAR hash": ({"narHash": Hash.of(b"").sri()}, FILE, OTHER),
    "NAR size": ({"narSize": 1}, FILE, OTHER),
    "file hash": ({"fileHash": Hash.of(b"").sri()}, FILE, "another file than it made"),
    "file size": ({"fileSize": 1}, FILE, "another file than it made"),
    "bytes": ({}, FILE.upper(), "another file than it made"),
    "no hash": ({"fileHash": None}, FILE, "malformed result file"),
    "no number": ({"fileSize": "x"}, FILE, "malformed result file"),
}


def packed(tmp_path: Path, told: dict[str, Any], data: bytes) -> Any:
    """What is made of a builder's answers."""
    files = {RESULT_FILE: json.dumps(told).encode(), NAR_FILE: data}
    compiler = Compiler(WORKSHOP, Flavour.RUN)
    root = compiler.pack(StoreObject(INFO, compiler.base), "zstd")
    with Solver(lambda: nullcontext(Packing(files))) as solver:
        return pack_output(solver, root, OFFER, "zstd", tmp_path / "file")


def test_outputs(tmp_path: Path) -> None:
    """The builder's file arrives, whatever it is like."""
    found = packed(tmp_path, TOLD, FILE)
    assert found.file.read_bytes() == FILE
    assert (found.file_hash, found.file_size) == (Hash.of(FILE), len(FILE))
    assert found.url == f"nar/{Hash.of(FILE).base32()}.nar.zst"


@pytest.mark.parametrize("name", LIES)
def test_builders_that_lie(tmp_path: Path, name: str) -> None:
    """What was built, what was packed and what arrives are held against each other."""
    changes, data, said = LIES[name]
    with pytest.raises(PackError, match=said) as caught:
        packed(tmp_path, {**TOLD, **changes}, data)
    assert caught.value.where == str(INFO.path)


def test_the_step_that_packs() -> None:
    """It sees the one store path; a symlink, which cannot be mounted, is told."""
    compiler = Compiler(WORKSHOP, Flavour.RUN)
    op = compiler.pack(StoreObject(INFO, compiler.base), "xz").vertex.op.exec
    assert [m.dest for m in op.mounts if m.dest.startswith("/nix/")] == [str(INFO.path)]
    link = INFO._replace(file_type="symlink", target="/nix/ü")
    op = compiler.pack(StoreObject(link, compiler.base), "xz").vertex.op.exec
    assert [m.dest for m in op.mounts if m.dest.startswith("/nix/")] == []
    assert json.loads(op.meta.env[0].partition("=")[2]) == {
        "version": 1,
        "kind": "pack",
        "path": str(INFO.path),
        "compression": "xz",
        "links": {str(INFO.path): "/nix/Ã¼"},
    }
