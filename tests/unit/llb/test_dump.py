from __future__ import annotations

import re

from nixbk.llb.dump import dump
from nixbk.llb.exec import ExtraHost, Proxy, exec_
from nixbk.llb.file import ROOT, Copy, Mkdir, Mkfile, Remove, Symlink, file
from nixbk.llb.layers import diff, merge
from nixbk.llb.mounts import Mount
from nixbk.llb.origin import Origin
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.llb.sources import http

EXPECTED = """\
#1 … file base
    base scratch
    mkdir /nix/store 0755 parents owner=0:0 mtime=1
    mkfile /etc/passwd 0644 'root:x\\n'
    symlink /link -> target
    rm /gone
#2 … source helper
    http://buildkit-session/1
    http.checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000
    http.filename=helper
#3 … exec hello-2.10 (images.web: nixpkgs#hello)
    platform linux/amd64
    args helper 'two words'
    env 'A=b'
    cwd /build
    network none
    host nixbk=127.0.0.1
    proxy no_proxy=x
    mount / <- #1:0 rw -> :0
    mount /build <- scratch rw
    mount /cache cache id
    mount /helper <- #2:0/helper ro content-cache=off
    mount /result <- scratch rw -> :1
    mount /tmp tmpfs
#4 … diff hello-2.10
    lower #1:0
    upper #3:0
#5 … file copied
    base scratch
    copy #3:1/a -> /b contents parents 0755 mtime=1
    copy this/b -> /c
#6 … merge image
    layers #4:0 #5:0
result #6:0
"""


def test_a_dump_says_everything_a_reader_asks() -> None:
    """Operations in order, by number, with what they are and where they come from."""
    base = file(
        None,
        [
            Mkdir("/nix/store", parents=True, owner=ROOT, mtime_s=1),
            Mkfile("/etc/passwd", b"root:x\n"),
            Symlink("target", "/link"),
            Remove("/gone"),
        ],
        name="base",
    )
    helper = http(
        "http://buildkit-session/1", checksum=f"sha256:{'0' * 64}", filename="helper", name="helper"
    )
    run = exec_(
        ["helper", "two words"],
        mounts=[
            Mount("/", base, output=True),
            Mount("/build", readonly=False),
            Mount("/cache", kind="cache", id="id"),
            Mount("/helper", helper, selector="/helper", content_cache="off"),
            Mount("/result", output=True),
            Mount("/tmp", kind="tmpfs"),
        ],
        env=["A=b"],
        cwd="/build",
        extra_hosts=[ExtraHost("nixbk", "127.0.0.1")],
        proxy=Proxy(no="x"),
        platform=LINUX_AMD64,
        name="hello-2.10",
        origin=Origin("images.web", "nixpkgs#hello"),
    )
    result = run.output("/result")
    copies = [
        Copy(result, "/a", "/b", contents=True, parents=True, mode=0o755, mtime_s=1),
        Copy(None, "/b", "/c"),
    ]
    layers = [diff(base, run.root, name="hello-2.10"), file(None, copies, name="copied")]
    text = dump(merge(layers, name="image"))
    assert re.sub(r"(?m)^(#\d+) [0-9a-f]{12} ", r"\1 … ", text) == EXPECTED
    assert dump(None) == "scratch\n"
