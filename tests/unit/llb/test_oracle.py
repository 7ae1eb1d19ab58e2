"""Operations have the bytes, and so the digests, that BuildKit's own client gives them.

``oracle.json`` is what ``oracle.go`` printed, built inside BuildKit's repository at
73ed6825c4b7569379ef89df0aedcdbe64473d31::

    go run -mod=vendor ./cmd/oracle > oracle.json    # oracle.go as cmd/oracle/main.go
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nixbk.llb.exec import Exec, ExtraHost, Proxy, SecretEnv, Ulimit, exec_
from nixbk.llb.file import ROOT, Copy, Mkdir, Mkfile, Remove, Symlink, file
from nixbk.llb.layers import diff, merge
from nixbk.llb.marshal import marshal, walk
from nixbk.llb.mounts import Mount
from nixbk.llb.platforms import LINUX_AMD64, LINUX_ARM64
from nixbk.llb.sources import git, http, image, local, oci_layout

if TYPE_CHECKING:
    from nixbk.llb.file import Action
    from nixbk.llb.vertex import Output

ORACLE: dict[str, Any] = json.loads(Path(__file__).with_name("oracle.json").read_bytes())

SUM = f"sha256:{hashlib.sha256(b'x').hexdigest()}"


def base() -> Output:
    """A root file system made by a file operation."""
    actions: list[Action] = [
        Mkdir("/nix/store", parents=True, owner=ROOT, mtime_s=1),
        Mkfile("/etc/passwd", b"root:x\n"),
        Remove("/gone", missing_ok=True),
    ]
    return file(None, actions, name="base")


def hello() -> Exec:
    """An exec with a mount of every kind."""
    helper = http(
        "http://buildkit-session/abc", checksum=SUM, filename="helper", mode=0o755, name="helper"
    )
    busybox = image("busybox", platform=LINUX_AMD64)
    mounts = [
        Mount("/", base(), output=True),
        Mount("/tmp", kind="tmpfs", size_bytes=4096),
        Mount("/cache", kind="cache", id="id", sharing="locked"),
        Mount("/run/secret", kind="secret", id="token"),
        Mount("/build", readonly=False),
        Mount("/.nixbk/result", output=True),
        Mount("/.nixbk/helper", helper, selector="/helper"),
        Mount("/nix/store/b", busybox, selector="/b", content_cache="on"),
        Mount("/nix/store/a", busybox, selector="/a", content_cache="off"),
    ]
    return exec_(
        ["/.nixbk/helper", "build"],
        mounts=mounts,
        env=["NIXBK_STEP={}"],
        user="0:0",
        extra_hosts=[ExtraHost("nixbk", "127.0.0.1")],
        proxy=Proxy(http="http://p", no="no"),
        hostname="localhost",
        ulimits=[Ulimit("nofile", 10, 20)],
        secret_env=[SecretEnv("token", "TOKEN")],
        platform=LINUX_AMD64,
        name="hello-2.10",
    )


def plain() -> Output:
    """An exec with nothing but a root, its network the container's own."""
    mounts = [Mount("/", base(), output=True)]
    run = exec_(["true"], mounts=mounts, network="sandbox", platform=LINUX_AMD64, name="plain")
    return run.root


def merged() -> Output | None:
    """Every kind of operation."""
    run = hello()
    copied = file(
        None,
        [
            Copy(run.root, "/nix/store/x", "/nix/store/x", parents=True, owner=ROOT, mtime_s=1),
            Copy(plain(), "/a", "/b", contents=True, follow=True, wildcard=True, mode=0o755),
            Symlink("target", "/link"),
        ],
        name="copied",
    )
    layers = [
        diff(base(), run.root, name="diff"),
        copied,
        local("src", session="s1", include=["a", "b*"], shared_key_hint="k"),
        git(
            "https://example.org/a/b.git",
            commit="0123456789012345678901234567890123456789",
            ref="main",
            name="repository",
        ),
        oci_layout(f"fixed@{SUM}", store="cache", platform=LINUX_AMD64, name="layout"),
        run.output("/.nixbk/result"),
    ]
    return merge(layers, name="merged")


UNRECORDED = {"copied": {"file.symlink.create"}}
"""Capabilities the client means to record and, by an order of its own, does not."""

GRAPHS = {
    "merged": merged,
    "result": lambda: hello().output("/.nixbk/result"),
    "arm": lambda: image(f"registry.example:5000/x/y:1@{SUM}", platform=LINUX_ARM64, name="arm"),
    "plain": plain,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_operations_are_those_of_buildkit_s_client(name: str) -> None:
    """The same digests, names and capabilities, the terminal operation's included."""
    output = GRAPHS[name]()
    assert output is not None
    definition, _ = marshal(output)
    digests = [hashlib.sha256(data).hexdigest() for data in getattr(definition, "def")]
    found = {
        vertex.digest: {"name": vertex.name, "caps": sorted(vertex.caps)} for vertex in walk(output)
    }
    found[f"sha256:{digests[-1]}"] = {
        "name": "",
        "caps": sorted(definition.metadata[f"sha256:{digests[-1]}"].caps),
    }
    expected = {
        digest: {"name": op["name"], "caps": sorted(op["caps"])}
        for digest, op in ORACLE[name]["ops"].items()
    }
    for op in expected.values():
        op["caps"] = sorted({*op["caps"], *UNRECORDED.get(op["name"], ())})
    assert found == expected
    assert f"sha256:{digests[-1]}" == ORACLE[name]["terminal"]
