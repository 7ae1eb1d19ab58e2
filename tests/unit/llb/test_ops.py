from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixbk.llb.errors import LlbError
from nixbk.llb.exec import Exec, exec_
from nixbk.llb.file import Copy, Mkdir, Mkfile, Symlink, file
from nixbk.llb.layers import diff, merge
from nixbk.llb.mounts import Mount
from nixbk.llb.platforms import LINUX_AMD64, LINUX_ARM64, Platform
from nixbk.llb.sources import git, http, local, normalize_reference, oci_layout
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixbk.llb.file import Action

SUM = "sha256:" + "0" * 64
ROOT = Mount("/", output=True)
A = file(None, [Mkdir("/a")], name="a")
B = file(None, [Mkdir("/b")], name="b")

REFERENCES = {
    "busybox": "docker.io/library/busybox:latest",
    "busybox:1": "docker.io/library/busybox:1",
    "me/x": "docker.io/me/x:latest",
    "localhost/x": "localhost/x:latest",
    "localhost:5000/x": "localhost:5000/x:latest",
    "quay.io/a/b:c": "quay.io/a/b:c",
    "index.docker.io/library/x": "docker.io/library/x:latest",
    f"busybox@{SUM}": f"docker.io/library/busybox@{SUM}",
}


@pytest.mark.parametrize(("text", "expected"), REFERENCES.items())
def test_references_are_read_as_docker_reads_them(text: str, expected: str) -> None:
    """What Docker takes for granted is spelled out."""
    assert normalize_reference(text) == expected


PLATFORMS = {
    "linux/amd64": LINUX_AMD64,
    "linux/x86_64": LINUX_AMD64,
    "Linux/AArch64": LINUX_ARM64,
    "linux/arm64/v8": LINUX_ARM64,
    "linux/arm/v7": Platform("linux", "arm", "v7"),
}


@pytest.mark.parametrize(("text", "expected"), PLATFORMS.items())
def test_platforms_have_one_spelling(text: str, expected: Platform) -> None:
    """However a platform was written, equal ones are equal, and print what parses."""
    assert Platform.parse(text) == expected
    assert Platform.parse(str(expected)) == expected


def run(**changes: Any) -> Exec:
    """An exec with everything it needs."""
    facts: dict[str, Any] = {
        "args": ["true"],
        "mounts": [ROOT],
        "platform": LINUX_AMD64,
        "name": "x",
    } | changes
    return exec_(facts.pop("args"), **facts)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no arguments": (lambda: run(args=[]), "x: an exec without arguments"),
    "no root": (lambda: run(mounts=[Mount("/a")]), "x: an exec without a root file system"),
    "no name": (lambda: run(name=""), "an operation has no name"),
    "relative folder": (
        lambda: run(cwd="build"),
        "x: 'build' is no clean absolute path to work in",
    ),
    "two mounts": (
        lambda: run(mounts=[ROOT, Mount("/a"), Mount("/a", kind="tmpfs")]),
        "x: two mounts at '/a'",
    ),
    "no such output": (lambda: run().output("/a"), "x: '/a' is no output"),
    "dots": (lambda: Mount("/a/../b"), "'/a/../b' is no clean absolute path to mount at"),
    "relative mount": (lambda: Mount("a"), "'a' is no clean absolute path to mount at"),
    "slash at the end": (lambda: Mount("/a/"), "'/a/' is no clean absolute path to mount at"),
    "tmpfs as output": (
        lambda: Mount("/a", kind="tmpfs", output=True),
        "/a: a tmpfs mount has no source and no output",
    ),
    "cache without id": (lambda: Mount("/a", kind="cache"), "/a: a cache mount needs an id"),
    "selector of nothing": (
        lambda: Mount("/a", selector="/b"),
        "/a: an empty folder has nothing to select",
    ),
    "checksum": (
        lambda: http("http://a", checksum="sha256:00", name="x"),
        "'sha256:00' is no sha256 digest\n  hint: write it as sha256:<64 digits>",
    ),
    "scheme": (
        lambda: http("ftp://a", checksum=SUM, name="x"),
        "'ftp://a' is no http or https URL",
    ),
    "file name": (
        lambda: http("http://a", checksum=SUM, filename="a/b", name="x"),
        "'a/b' is no file name",
    ),
    "mode": (lambda: http("http://a", checksum=SUM, mode=0, name="x"), "0o0 is no file mode"),
    "layout without digest": (
        lambda: oci_layout("a:b", store="s", platform=LINUX_AMD64),
        "'a:b' is no sha256 digest\n  hint: write it as sha256:<64 digits>",
    ),
    "remote": (lambda: git("a/b", commit="0" * 40), "'a/b' is no URL"),
    "commit": (lambda: git("https://a/b", commit="main"), "'main' is no commit"),
    "no actions": (lambda: file(None, [], name="x"), "x: a file operation without actions"),
    "relative file": (
        lambda: file(None, [Mkfile("a", b"")], name="x"),
        "x: 'a' is no absolute path",
    ),
    "platform": (
        lambda: Platform.parse("linux"),
        "'linux' is no platform\n  hint: write it as linux/amd64",
    ),
}


@pytest.mark.parametrize(("make", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_what_buildkit_would_refuse_is_refused_at_once(
    make: Callable[[], object], expected: str
) -> None:
    """No operation exists that is none."""
    with pytest.raises(LlbError) as caught:
        make()
    assert str(caught.value) == expected


def test_the_order_of_mounts_says_nothing() -> None:
    """Mounts are sorted, and outputs counted, by mount point."""
    mounts = [Mount("/z", output=True), Mount("/m", A), ROOT, Mount("/n", A), Mount("/b", B)]
    first, second = run(mounts=mounts), run(mounts=mounts[::-1])
    assert first == second
    assert [(dest, output.index) for dest, output in first.outputs] == [("/", 0), ("/z", 1)]
    assert [o.vertex for o in first.vertex.inputs] == [B.vertex, A.vertex]
    found = [(m.dest, m.input, m.output, m.readonly) for m in first.vertex.op.exec.mounts]
    assert found == [
        ("/", -1, 0, False),
        ("/b", 0, -1, True),
        ("/m", 1, -1, True),
        ("/n", 1, -1, True),
        ("/z", -1, 1, False),
    ]


def test_actions_follow_one_another() -> None:
    """Each action works on what the one before left, and the last one is the result."""
    actions: list[Action] = [
        Copy(B, "/b", "/c"),
        Symlink("c", "/d"),
        Copy(None, "/c", "/e"),
        Copy(A, "/", "/f"),
    ]
    output = file(A, actions, name="x")
    found = [(a.input, a.secondaryInput, a.output) for a in output.vertex.op.file.actions]
    assert found == [(0, 1, -1), (2, -1, -1), (3, 3, -1), (4, 0, 0)]


def test_times_and_owners_are_kept_unless_given() -> None:
    """BuildKit's -1 stands for neither; 0 is a time."""
    actions: list[Action] = [
        Mkdir("/a"),
        Mkdir("/b", mtime_s=0),
        Copy(A, "/", "/"),
        Copy(A, "/", "/", mode=0),
    ]
    found = file(None, actions, name="x").vertex.op.file.actions
    assert [a.mkdir.timestamp for a in found[:2]] == [-1, 0]
    assert [(a.copy.mode, a.copy.timestamp) for a in found[2:]] == [(-1, -1), (0, -1)]
    assert not found[0].mkdir.HasField("owner")


def test_a_local_source_is_told_apart_by_session_or_name() -> None:
    """A folder of no certain session needs another difference."""
    named, bound = local("src", unique="u"), local("src", unique="u", session="s")
    assert dict(named.vertex.op.source.attrs) == {"local.unique": "u"}
    assert dict(bound.vertex.op.source.attrs) == {"local.session": "s"}


def test_merging_and_taking_apart_what_is_empty() -> None:
    """Scratch costs no operation, as in BuildKit's client."""
    assert merge([], name="m") is None
    assert merge([None, A], name="m") == A
    assert diff(None, A, name="d") == A
    gone = diff(A, None, name="d")
    assert gone is not None
    assert gone.vertex.op.diff == pb.DiffOp(
        lower=pb.LowerDiffInput(input=0), upper=pb.UpperDiffInput(input=-1)
    )
