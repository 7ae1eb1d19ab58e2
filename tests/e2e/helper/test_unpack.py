"""The steps that build nothing, on real engines: fetch, unpack, collect, assemble."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
from typing import TYPE_CHECKING, Final

from nixbk.llb.mounts import Mount
from nixbk.nix import nar
from nixbk.nix.hashes import Hash, HashAlgorithm

if TYPE_CHECKING:
    from helper_bench import Bench, Done

A: Final = f"/nix/store/{'a' * 32}-a"
B: Final = f"/nix/store/{'b' * 32}-b"
C: Final = f"/nix/store/{'c' * 32}-c"

_TREE: Final = b"".join(
    nar.write(
        [
            nar.Directory(""),
            nar.Directory("empty"),
            nar.RegularFile("file", 5),
            nar.Data(b"hello"),
            nar.Symlink("link", "../x"),
            nar.RegularFile("tool", 0, executable=True),
        ]
    )
)
_TREE_FILES: Final = {
    "": "d 555 0:0 1",
    "/empty": "d 555 0:0 1",
    "/file": "- 444 0:0 1",
    "/link": "l 0:0 1 -> ../x",
    "/tool": "- 555 0:0 1",
}
_STORE: Final = {"/nix": "d 755 0:0 1", "/nix/store": "d 755 0:0 1"}


def unpack(bench: Bench, *archives: tuple[str, bytes], **changes: object) -> Done:
    """Unpack archives in one step."""
    step = {"nars": [bench.nar(path, data, **changes) for path, data in archives]}
    mounts = [bench.nar_mount(i, data) for i, (_, data) in enumerate(archives)]
    made = bench.exec("unpack", step, program="unpack", mounts=mounts)
    return bench.run(made, result="")  # all of which is known before


def test_unpack(bench: Bench) -> None:
    """Archives become canonical store objects, and nothing else is left."""
    file = nar.file_nar(b"x" * 1_000_000, executable=True)
    link = b"".join(nar.write([nar.Symlink("", "over/there")]))
    done = unpack(bench, (A, _TREE), (B, file), (C, link), references=[B, A])
    assert done.exit_code == 0, done.log
    assert done.files == {
        **_STORE,
        **{A + path: text for path, text in _TREE_FILES.items()},
        B: "- 555 0:0 1",
        C: "l 0:0 1 -> over/there",
    }


def test_unpack_refuses(bench: Bench) -> None:
    """An archive that is not the promised one fails the step."""
    other = Hash(HashAlgorithm.SHA256, bytes(32)).sri()
    real = nar.nar_hash([_TREE])[0].sri()
    for changes, exit_code, report in (
        (
            {"narHash": other},
            102,
            (
                f"hash-mismatch: hash mismatch in the archive of '{A}':\n"
                f"  specified: {other}\n     got:    {real}"
            ),
        ),
        (
            {"narSize": 100},
            102,
            f"hash-mismatch: the archive of '{A}' is longer than its 100 bytes",
        ),
        (
            {"path": "/nix/store/../x"},
            70,
            "internal: unpacking '/nix/store/../x': \"/nix/store/../x\" is no store path",
        ),
    ):
        done = unpack(bench, (A, _TREE), **changes)
        assert (done.exit_code, done.report) == (exit_code, f"nixbk: {report}")


def test_compressions(bench: Bench) -> None:
    """Files of binary caches become the same objects, and are refused beyond the signed size."""
    fields = bench.nar(A, _TREE)
    for compression, compress in (
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
    ):
        for half in (0, 100):  # one stream, two
            data = (compress(_TREE[:half]) if half else b"") + compress(_TREE[half:])
            done = unpack(bench, (A, data), **{**fields, "compression": compression})
            assert done.exit_code == 0, done.log
            assert done.files == {
                **_STORE,
                **{A + path: text for path, text in _TREE_FILES.items()},
            }
        for data, message in (
            (compress(bytes(100_000_000)), f"the archive of '{A}' is longer than its "),
            (compress(_TREE)[:-2], f"unpacking '{A}': bad {compression} data: unexpected end"),
            (compress(_TREE) + b"garbage", f"unpacking '{A}': bad {compression} data: "),
        ):
            done = unpack(bench, (A, data), **{**fields, "compression": compression})
            assert done.exit_code == 102, done.log
            assert done.report.startswith(f"nixbk: hash-mismatch: {message}")


def test_content_address(bench: Bench) -> None:
    """A path must follow from its content where it is said to."""
    path = "/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello"  # nix store add --mode flat
    address = "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq"
    done = unpack(bench, (path, nar.file_nar(b"hello\n")), contentAddress=address)
    assert done.exit_code == 0, done.log
    done = unpack(bench, (path, nar.file_nar(b"hullo\n")), contentAddress=address)
    assert (done.exit_code, done.report) == (
        102,
        (
            f"nixbk: hash-mismatch: hash mismatch in the content of '{path}':\n"
            f"  specified: {address}\n"
            "     got:    fixed:sha256:1wwm4nzs3rfyfpr7ybxf2ryfrj19a3g8aa5x0hx9rh4xrckkjphn"
        ),
    )


def test_pack(bench: Bench) -> None:
    """An object that is mounted becomes the file of a cache, and that the object again."""
    step = {"nars": [bench.nar(A, _TREE)]}
    mounts = [bench.nar_mount(0, _TREE)]
    made = bench.exec("unpack", step, program="unpack", mounts=mounts)
    nar_fields = {k: v for k, v in bench.nar(A, _TREE).items() if k in {"narHash", "narSize"}}
    for compression, decompress in (
        ("none", bytes),
        ("gzip", gzip.decompress),
        ("xz", lzma.decompress),
        ("zstd", None),
    ):
        pack = bench.exec(
            "pack",
            {"path": A, "compression": compression},
            program="unpack",
            mounts=[Mount(A, made.root, selector=A[1:])],
        )
        done = bench.run(pack, file="nar", listed=False)
        assert done.exit_code == 0, done.log
        digest = Hash(HashAlgorithm.SHA256, hashlib.sha256(done.data).digest())
        assert json.loads(done.text) == {
            "compression": compression,
            "fileHash": digest.sri(),
            "fileSize": len(done.data),
            **nar_fields,
            "path": A,
            "version": 1,
        }
        if decompress is not None:
            assert decompress(done.data) == _TREE
        again = unpack(bench, (A, done.data), **nar_fields, compression=compression)
        assert again.exit_code == 0, again.log
        assert again.files == {**_STORE, **{A + path: text for path, text in _TREE_FILES.items()}}


def test_collect(bench: Bench) -> None:
    """Result files become lines, in their order."""
    results = [json.dumps({"outputs": {"out": {"n": n}}, "version": 1}) + "\n" for n in range(12)]
    mounts = [
        Mount(f"/.nixbk/in/{n}", bench.upload(text.encode(), "result.json"))
        for n, text in enumerate(results)
    ]
    step = bench.exec("collect", {}, program="unpack", mounts=mounts)
    done = bench.run(step, result="results.jsonl")
    assert (done.text, done.files) == ("".join(results), {})


def test_assemble(bench: Bench) -> None:
    """Store objects of several steps come together in one tree."""
    tree = bench.exec(
        "unpack",
        {"nars": [bench.nar(A, _TREE)]},
        program="unpack",
        mounts=[bench.nar_mount(0, _TREE)],
    )
    tool = bench.upload(b"tool", "tool", 0o555)
    step = bench.exec(
        "assemble",
        {"paths": [A, B], "links": {C: "over/there"}},
        program="unpack",
        mounts=[
            Mount("/.nixbk/from/0", tree.root, selector=A[1:]),
            Mount("/.nixbk/from/1", tool, selector="tool"),
        ],
    )
    done = bench.run(step, result="")
    assert done.exit_code == 0, done.log
    assert done.files == {
        **_STORE,
        **{A + path: text for path, text in _TREE_FILES.items()},
        B: "- 555 0:0 1",
        C: "l 0:0 1 -> over/there",
    }


def test_fetch(bench: Bench) -> None:
    """A download becomes the fixed output it should be, or a mismatch."""
    data = b"downloaded" * 100_000
    flat = Hash(HashAlgorithm.SHA512, hashlib.sha512(data).digest()).sri()
    executable = nar.file_nar(data, executable=True)
    for step, expected in (
        ({"fixed": {"method": "flat", "hash": flat}}, nar.file_nar(data)),
        (
            {
                "fixed": {"method": "nar", "hash": nar.nar_hash([executable])[0].sri()},
                "executable": True,
            },
            executable,
        ),
    ):
        mounts = [Mount("/.nixbk/fetched", bench.upload(data, "download", 0o600))]
        done = bench.run(bench.exec("fetch", {"outputs": {"out": A}, **step}, mounts=mounts))
        assert done.exit_code == 0, done.log
        digest, size_bytes = nar.nar_hash([expected])
        mode = "555" if "executable" in step else "444"
        assert done.files == {**_STORE, A: f"- {mode} 0:0 1"}
        assert done.result == {
            "out": {
                "path": A,
                "narHash": digest.sri(),
                "narSize": size_bytes,
                "references": [],
                "type": "regular",
            }
        }
    wrong = Hash(HashAlgorithm.SHA512, bytes(64)).sri()
    step = {"outputs": {"out": A}, "fixed": {"method": "flat", "hash": wrong}}
    done = bench.run(
        bench.exec("fetch", step, mounts=[Mount("/.nixbk/fetched", bench.upload(data, "download"))])
    )
    assert (done.exit_code, done.report) == (
        102,
        (
            "nixbk: hash-mismatch: hash mismatch in fixed-output derivation:\n"
            f"  specified: {wrong}\n     got:    {flat}"
        ),
    )
