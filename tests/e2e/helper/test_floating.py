"""Outputs whose paths follow from their content, on real engines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from helper_bench import DEV, OUT, SEED

from nixbk.llb.file import Mkfile, file
from nixbk.llb.mounts import Mount

if TYPE_CHECKING:
    from helper_bench import Bench

_NAR: Final = {"method": "nar", "algorithm": "sha256"}
_ITSELF: Final = "/nix/store/1sjqi65v5b0zk4d3zj0539xchspy83a2-x"
_HELLO: Final = "/nix/store/974pyy65p8annw3kp4ibcknbhz1pndwm-x"


def test_itself(bench: Bench) -> None:
    """An output that mentions itself gets the path Nix 2.34 gives it, and mentions that one."""
    done = bench.build("echo $out > $out; echo $out >> $out", floating={"out": _NAR})
    assert done.result is not None, done.log
    out = done.result["out"]
    assert (out["path"], out["references"]) == (_ITSELF, [_ITSELF])
    assert out["contentAddress"] == (
        "fixed:r:sha256:0r55w50lnkvy6qj06wyakjav2d999mazg8f6nzfzvph04v7phd60"
    )
    assert done.files == {
        "/nix": "d 755 0:0 1",
        "/nix/store": "d 755 0:0 1",
        _ITSELF: "- 444 0:0 1",
    }


def test_siblings(bench: Bench) -> None:
    """Outputs that mention others mention them where they have gone; all else is left as it is."""
    script = """
      mkdir -p $out/bin; echo $dev > $out/bin/x; chmod 755 $out/bin/x; ln $out/bin/x $out/y
      ln -s $dev $out/z; echo dev $seed > $dev
    """
    done = bench.build(
        script,
        outputs={"out": OUT, "dev": DEV},
        env={"seed": SEED},
        floating={"out": _NAR, "dev": _NAR},
        checks={"out": {"allowedReferences": ["dev"]}, "dev": {"allowedReferences": [SEED]}},
    )
    assert done.result is not None, done.log
    out, dev = str(done.result["out"]["path"]), str(done.result["dev"]["path"])
    assert done.result["out"]["references"] == [dev]
    assert done.files == {
        "/nix": "d 755 0:0 1",
        "/nix/store": "d 755 0:0 1",
        dev: "- 444 0:0 1",
        out: "d 555 0:0 1",
        f"{out}/bin": "d 555 0:0 1",
        f"{out}/bin/x": "- 555 0:0 1",
        f"{out}/y": "- 555 0:0 1",
        f"{out}/z": f"l 0:0 1 -> {dev}",
    }


def test_existing(bench: Bench) -> None:
    """An output that turns out to be one of the inputs is that one."""
    made = file(None, [Mkfile("/x", b"hello\n", mtime_s=1)], name="an input")
    done = bench.build(
        "echo hello > $out",
        floating={"out": {"method": "flat", "algorithm": "sha256"}},
        mounts=[Mount(_HELLO, made, selector="x")],
    )
    assert done.result is not None, done.log
    assert done.result["out"]["path"] == _HELLO
    assert done.result["out"]["existing"] is True
    assert OUT not in done.files


def test_impure(bench: Bench) -> None:
    """An impure build has the network, and is a floating one otherwise."""
    done = bench.build(
        "test -s /etc/resolv.conf; cat /etc/nsswitch.conf; echo hello > $out",
        network="sandbox",
        impure=True,
        floating={"out": {"method": "flat", "algorithm": "sha256"}},
    )
    assert done.log == "hosts: files dns\nservices: files\n"
    assert done.result is not None
    assert done.result["out"]["path"] == _HELLO
    assert done.files == {
        "/nix": "d 755 0:0 1",
        "/nix/store": "d 755 0:0 1",
        _HELLO: "- 444 0:0 1",
    }


def test_failed(bench: Bench) -> None:
    """What must not mention itself is refused."""
    done = bench.build(
        "echo $out > $out", floating={"out": {"method": "text", "algorithm": "sha256"}}
    )
    assert (done.exit_code, done.report) == (
        1,
        "nixbk: illegal-output: self-reference not allowed with text hashing",
    )


def test_result_is_canonical(bench: Bench) -> None:
    """The result file is JSON with sorted keys and no spaces."""
    done = bench.build("echo hello > $out", floating={"out": _NAR})
    assert done.text == json.dumps(json.loads(done.text), sort_keys=True, separators=(",", ":")) + (
        "\n"
    )
