"""What a failed build left, and what differs between two builds, on real engines."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from helper_bench import OUT

from nixbk.llb.file import Mkdir, Mkfile, Symlink, file
from nixbk.llb.mounts import Mount

if TYPE_CHECKING:
    from helper_bench import Bench

    from nixbk.llb.vertex import Output


@pytest.mark.parametrize(
    ("script", "settings", "failure"),
    [
        ("exit 3", "", "builder-failed: builder failed with exit code 3"),
        ("sleep 60", ";nixbk:timeout=1", "timed-out: builder timed out after 1 seconds"),
        (
            ":",
            "",
            (f"output-missing: builder failed to produce output path for output 'out' at '{OUT}'"),
        ),
    ],
)
def test_failed(bench: Bench, script: str, settings: str, failure: str) -> None:
    """The build folder comes back, root's, with its times, and the failure is told."""
    before = """
      mkdir -p sub/closed; echo text > sub/file; ln sub/file hard; ln -s /etc/passwd link
      chmod 0 sub/closed; mkfifo pipe; chmod 700 sub/file; touch -d @5 sub/file
      mkdir $out.junk; n=$(printf 'a\\377b'); echo > "$n"; echo said;
    """
    done = bench.build(
        before + script, settings=settings, keepFailed=True, files={"given": "x"}, file="build.tar"
    )
    assert done.log == "said\n"
    assert json.loads(done.text) == {"version": 1, "failure": failure, "outputs": {}}
    assert done.files == {}
    with tarfile.open(fileobj=io.BytesIO(done.data)) as archive:
        members = {
            member.name: (member.type, oct(member.mode), member.linkname)
            for member in archive.getmembers()
        }
        assert {(member.uid, member.gid) for member in archive.getmembers()} == {(0, 0)}
        assert archive.getmember("build/hard").mtime == 5
        content = archive.extractfile("build/hard")
        assert content is not None
        assert content.read() == b"text\n"
    assert members == {
        "build": (tarfile.DIRTYPE, "0o755", ""),
        "build/a\udcffb": (tarfile.REGTYPE, "0o644", ""),
        "build/given": (tarfile.REGTYPE, "0o644", ""),
        "build/hard": (tarfile.REGTYPE, "0o700", ""),
        "build/link": (tarfile.SYMTYPE, "0o777", "/etc/passwd"),
        "build/pipe": (tarfile.FIFOTYPE, "0o644", ""),
        "build/sub": (tarfile.DIRTYPE, "0o755", ""),
        "build/sub/closed": (tarfile.DIRTYPE, "0o0", ""),
        "build/sub/file": (tarfile.LNKTYPE, "0o700", "build/hard"),
    }


def test_succeeded(bench: Bench) -> None:
    """A build that succeeds after all is as any other."""
    done = bench.build("echo hello > $out", keepFailed=True)
    assert done.result is not None
    assert list(done.result) == ["out"]


def test_compare(bench: Bench) -> None:
    """Two objects are compared by what a Nix archive would say of them."""
    if not bench.is_able("file.symlink.create"):
        pytest.skip("the engine makes no symlinks but in an exec")

    def tree(*more: Mkfile | Symlink) -> Output:
        return file(
            None,
            [
                Mkdir("/o", 0o755, mtime_s=1),
                Mkfile("/o/same", b"x", mtime_s=1),
                Mkdir("/o/sub", 0o755, mtime_s=1),
                *more,
            ],
            name="an object",
        )

    first = tree(
        Mkfile("/o/sub/a", b"12", mtime_s=1),
        Mkfile("/o/sub/run", b"", 0o755, mtime_s=1),
        Symlink("one", "/o/link"),
        Mkfile("/o/type", b"", mtime_s=1),
        Mkfile("/o/first", b"", mtime_s=1),
    )
    second = tree(
        Mkfile("/o/sub/a", b"13", mtime_s=2),
        Mkfile("/o/sub/run", b"", 0o644, mtime_s=1),
        Symlink("two", "/o/link"),
        Symlink("x", "/o/type"),
        Mkfile("/o/second", b"", mtime_s=1),
    )
    done = bench.run(
        bench.exec(
            "compare",
            {},
            program="unpack",
            mounts=[
                Mount("/.nixbk/a", first, selector="o"),
                Mount("/.nixbk/b", second, selector="o"),
            ],
        ),
        result="differences.json",
    )
    assert json.loads(done.text) == {
        "version": 1,
        "differences": [
            {"path": "first", "what": "only-first"},
            {"path": "link", "what": "target"},
            {"path": "second", "what": "only-second"},
            {"path": "sub/a", "what": "content"},
            {"path": "sub/run", "what": "executable"},
            {"path": "type", "what": "type"},
        ],
    }
