"""The builders that are part of Nix, on real engines."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from typing import TYPE_CHECKING, Any, Final

from helper_bench import OUT, SEED

from nixbk.llb.mounts import Mount
from nixbk.nix import nar
from nixbk.nix.hashes import Hash, HashAlgorithm

if TYPE_CHECKING:
    from helper_bench import Bench, Done

_SOURCE: Final = "/nix/store/00000000000000000000000000000002-source"
_STORE: Final = {"/nix": "d 755 0:0 1", "/nix/store": "d 755 0:0 1"}


def _run(bench: Bench, builder: str, source: bytes, /, env: dict[str, str], **more: Any) -> Done:
    """Run a builtin builder with *source* as an input."""
    made = bench.upload(source, "source")
    return bench.build(
        "",
        builder=f"builtin:{builder}",
        args=[],
        env=env,
        mounts=[Mount(_SOURCE, made, selector="source")],
        **more,
    )


def _fixed(data: bytes, method: str = "nar") -> dict[str, str]:
    digest = Hash(HashAlgorithm.SHA256, hashlib.sha256(data).digest())
    return {"method": method, "hash": digest.sri()}


def _tree() -> bytes:
    return b"".join(
        nar.write(
            [
                nar.Directory(""),
                nar.Directory("bin"),
                nar.RegularFile("bin/x", 3, executable=True),
                nar.Data(b"#!\n"),
                nar.Symlink("link", "bin/x"),
            ]
        )
    )


def test_unpacked(bench: Bench) -> None:
    """An archive is downloaded, decompressed and unpacked, its hash is the tree's."""
    archive = _tree()
    done = _run(
        bench,
        "fetchurl",
        archive,
        env={"url": f"file://{_SOURCE}", "unpack": "1"},
        fixed=_fixed(archive),
        network="sandbox",
    )
    assert done.exit_code == 0, done.log
    assert done.files == {
        **_STORE,
        OUT: "d 555 0:0 1",
        f"{OUT}/bin": "d 555 0:0 1",
        f"{OUT}/bin/x": "- 555 0:0 1",
        f"{OUT}/link": "l 0:0 1 -> bin/x",
    }


def test_executable(bench: Bench) -> None:
    """A file that is to be executable is hashed as one; no other hash is taken for its own."""
    archive = b"".join(nar.write([nar.RegularFile("", 3, executable=True), nar.Data(b"#!\n")]))
    env = {"url": f"file://{_SOURCE}", "executable": "1"}
    done = _run(bench, "fetchurl", b"#!\n", env, fixed=_fixed(archive), network="sandbox")
    assert done.files == {**_STORE, OUT: "- 555 0:0 1"}, done.log
    done = _run(bench, "fetchurl", b"#?\n", env, fixed=_fixed(archive), network="sandbox")
    assert done.exit_code == 102


def test_not_found(bench: Bench) -> None:
    """A download that fails says which and why, as a builder would."""
    done = _run(
        bench,
        "fetchurl",
        b"",
        env={"url": "file:///nothing"},
        fixed=_fixed(b"", "flat"),
        network="sandbox",
    )
    assert (done.exit_code, done.log) == (
        100,
        f"""\
error:
       … writing file "{OUT}"

       error: unable to download 'file:///nothing': Could not read a file:// file (37) \
Could not open file /nothing
nixbk: builder-failed: builder failed with exit code 1
""",
    )


def test_not_fixed(bench: Bench) -> None:
    """A download without a hash is refused."""
    done = _run(bench, "fetchurl", b"", env={"url": "file:///nothing"})
    assert done.log.splitlines() == [
        "error: 'builtin:fetchurl' must be a fixed-output or impure derivation",
        "nixbk: builder-failed: builder failed with exit code 1",
    ]


def test_channel(bench: Bench) -> None:
    """A channel's one folder is given its name, whatever the archive's compression."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        for name, kind, mode in (("a", tarfile.DIRTYPE, 0), ("a/x", tarfile.REGTYPE, 0o755)):
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, mode
            out.addfile(member)
    env = {"channelName": "nixos", "src": _SOURCE}
    done = _run(bench, "unpack-channel", lzma.compress(archive.getvalue()), env)
    assert done.files == {
        **_STORE,
        OUT: "d 555 0:0 1",
        f"{OUT}/nixos": "d 555 0:0 1",
        f"{OUT}/nixos/x": "- 555 0:0 1",
    }, done.log


def test_hostile_channel(bench: Bench) -> None:
    """An archive that leads out of its folder is refused."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "/build"
        out.addfile(link)
        out.addfile(tarfile.TarInfo("a/x"))
    env = {"channelName": "nixos", "src": _SOURCE}
    done = _run(bench, "unpack-channel", archive.getvalue(), env)
    assert done.log.splitlines() == [
        f"error: failed to extract archive (Cannot extract through symlink {OUT}/a/x)",
        "nixbk: builder-failed: builder failed with exit code 1",
    ]


def test_environment(bench: Bench) -> None:
    """An environment of one package has links to what is in it, and a manifest."""
    env = {"derivations": f"true 5 1 {SEED}", "manifest": f"{_SOURCE}"}
    done = _run(bench, "buildenv", b"", env)
    assert done.files == {
        **_STORE,
        OUT: "d 555 0:0 1",
        f"{OUT}/bin": f"l 0:0 1 -> {SEED}/bin",
        f"{OUT}/manifest.nix": f"l 0:0 1 -> {_SOURCE}",
    }, done.log
    assert done.result is not None
    assert done.result["out"]["references"] == [SEED, _SOURCE]


def test_unknown(bench: Bench) -> None:
    """A builder that is no part of Nix fails as it does there."""
    done = _run(bench, "nonsense", b"", {})
    assert (done.exit_code, done.log) == (
        100,
        (
            "error: unsupported builtin builder 'nonsense'\n"
            "nixbk: builder-failed: builder failed with exit code 1\n"
        ),
    )
