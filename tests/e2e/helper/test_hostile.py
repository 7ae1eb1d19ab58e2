"""Builders that leave the unusual, or that want more than their outputs, on real engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from helper_bench import DEV, OUT, SEED

from nixbk.nix import nar

if TYPE_CHECKING:
    from helper_bench import Bench

_STORE: Final = {"/nix": "d 755 0:0 1", "/nix/store": "d 755 0:0 1"}
_RESULT: Final = "/.nixbk/result"
_ILLEGAL: Final = "nixbk: illegal-output: "


_REFUSED: Final = {
    "pipe within": ("mkdir $out; mkfifo $out/p", f"file '{OUT}/p' has an unsupported type"),
    "pipe": ("mkfifo $out", f"file '{OUT}' has an unsupported type"),
    "group": (
        "mkdir $out; chmod 775 $out",
        (
            f"suspicious ownership or permission on '{OUT}' for output 'out';"
            " rejecting this build output"
        ),
    ),
    "deep": (
        "d=$out; for i in $(seq 64); do mkdir $d; d=$d/d; done; : > $d",
        f"path '{OUT}{'/d' * 64}' exceeds maximum NAR directory depth of 64",
    ),
}


@pytest.mark.parametrize(("script", "message"), _REFUSED.values(), ids=_REFUSED.keys())
def test_refused(bench: Bench, script: str, message: str) -> None:
    """What no store object can be is refused in Nix's words."""
    done = bench.build(script)
    assert (done.exit_code, done.report) == (1, _ILLEGAL + message)


def test_set_id(bench: Bench) -> None:
    """No bit of the kind is ever set, nor kept from before an umask."""
    script = """
      mkdir -m 755 $out; cp $seed/bin/bash $out/b; chmod 4755 $out/b && exit 1
      chmod 2755 $out/b && exit 1; install -m 4755 $out/b $out/c && exit 1
      mkdir -m 2755 $out/d && exit 1; mkdir -p $out/d; chmod 1777 $out/d; chmod 000 $out/b; true
    """
    done = bench.build("set +e;" + script, env={"seed": SEED})
    assert done.exit_code == 0, done.log
    assert "special" not in " ".join(done.files.values())
    assert done.files[f"{OUT}/d"] == "d 555 0:0 1"
    assert done.files[f"{OUT}/b"] == "- 444 0:0 1"


def test_odd_names(bench: Bench) -> None:
    """Names may be of any bytes but two, and as long as the file system lets them."""
    script = r"""
      mkdir $out; n=$(printf 'a\nb\t\001\377\302')
      : > "$out/$n"; : > "$out/ "; : > $out/-; : > "$out/\\"; : > $out/$(printf '%0255d')
      : > $out/.nixbk-rewritten; : > /nix/store/.nixbk-copy
      mkdir -p /nix/store/.nixbk-removed-1/x /build/.nixbk-removed-1/x /build/a/b/c
    """
    names = [b"a\nb\t\x01\xff\xc2", b" ", b"-", b"\\", b"0" * 255, b".nixbk-rewritten"]
    texts = [name.decode("utf-8", "surrogateescape") for name in sorted(names)]
    events: list[nar.Event] = [nar.Directory(""), *(nar.RegularFile(text, 0) for text in texts)]
    expected, _ = nar.nar_hash([b"".join(nar.write(events))])
    done = bench.build(script, listed=False)
    assert done.result is not None, done.log
    assert done.result["out"]["narHash"] == expected.sri()


def test_hard_links(bench: Bench) -> None:
    """Hard links within the outputs stay; files of others cannot be linked at all."""
    script = """
      mkdir $out; echo x > $out/a; ln $out/a $out/b; ln $out/a $dev; ln /build/given $out/c || true
      ln $seed/bin/bash $out/d && exit 1; ln /etc/passwd $out/e && exit 1
      ln /proc/1/exe $out/f && exit 1; ln -s /etc/shadow $out/g; mkdir $out/empty
    """
    done = bench.build(
        script, outputs={"out": OUT, "dev": DEV}, env={"seed": SEED}, files={"given": "1"}
    )
    assert done.exit_code == 0, done.log
    # BuildKit shows hard links as links to the first of their names.
    found = {
        path: state if state.startswith("l") else state.partition(" -> ")[0]
        for path, state in done.files.items()
        if path != f"{OUT}/c"
    }
    assert found == {
        **_STORE,
        DEV: "- 444 0:0 1",
        OUT: "d 555 0:0 1",
        f"{OUT}/a": "- 444 0:0 1",
        f"{OUT}/b": "- 444 0:0 1",
        f"{OUT}/empty": "d 555 0:0 1",
        f"{OUT}/g": "l 0:0 1 -> /etc/shadow",
    }


def test_races(bench: Bench) -> None:
    """Nobody is left to exchange files for links while they are made canonical."""
    script = """
      mkdir $out $out/d; : > $out/d/f
      for i in 1 2 3; do
        (trap '' TERM INT HUP; while :; do
          rm -rf $out/d; ln -s /etc $out/d; rm $out/d; mkdir $out/d; : > $out/d/f; done) \
          > /dev/null 2>&1 &
      done
      (setsid sh -c 'while :; do sh -c "exec sleep 0.01" & done' > /dev/null 2>&1 &)
      sleep 0.5
    """
    for _ in range(3):
        done = bench.build(script)
        assert done.exit_code == 0, done.log
        assert done.files.keys() <= {
            *_STORE,
            OUT,
            f"{OUT}/d",
            f"{OUT}/d/f",
        }
        assert "/etc" not in done.files


def test_sparse(bench: Bench) -> None:
    """A sparse file is what its bytes are."""
    done = bench.build("dd if=/dev/zero of=$out bs=1 count=1 seek=300000000 2> /dev/null")
    assert done.result is not None, done.log
    assert done.result["out"]["narSize"] == 300000001 + 119


def test_empty(bench: Bench) -> None:
    """Empty files and folders are outputs, and so is a link to nothing."""
    links = {"link": "/nix/store/" + "d" * 32 + "-x-link"}
    done = bench.build(
        ": > $out; mkdir $dev; ln -s '' $link 2> /dev/null || ln -s nowhere $link",
        outputs={"out": OUT, "dev": DEV, **links},
    )
    assert done.result is not None, done.log
    assert {name: (found["type"], found["narSize"]) for name, found in done.result.items()} == {
        "out": ("regular", 112),
        "dev": ("directory", 96),
        "link": ("symlink", 120),
    }


def test_no_way_out(bench: Bench) -> None:
    """A builder reaches neither the helper nor the namespaces of its container."""
    script = """
      set +e; kill -9 1; kill -9 -1; ls /proc/1/root /proc/1/fd /.nixbk; cat /proc/1/mem
      mount -t tmpfs none /tmp; chroot / true; mknod /build/x c 1 3; hostname other
      unshare -r true; chown 0 /build; su root -c true; ulimit -c unlimited && ulimit -c
      echo x > /proc/sysrq-trigger; : > $seed/x; rm -rf $seed; cat $seed/bin/bash | wc -c > $out
    """
    done = bench.build(script, env={"seed": SEED})
    # `kill -9 -1` ends all of the builder's own processes but itself.
    assert done.exit_code == 0, done.log
    assert done.files.keys() == {*_STORE, OUT}


def test_in_root(bench: Bench) -> None:
    """Folders to write to may be parts of the step's root, which is left clean all the same."""
    bench.rooted = True
    try:
        script = """
          mkdir -p a/b/c /tmp/d; echo x > a/b/c/x; chmod 0 a/b; echo y > $out; ln $out /tmp/d/y
          chmod 755 /build; ln -s /etc /tmp/etc
        """
        done = bench.build(script, files={"given": "1"})
        failed = bench.build(script + "exit 1", keepFailed=True, file="build.tar")
    finally:
        bench.rooted = False
    result = {"/.nixbk": "d 755 0:0 1", "/.nixbk/result": "d 755 0:0 1"}
    file = "- 644 0:0 1"
    assert done.files == {**_STORE, **result, f"{_RESULT}/result.json": file, OUT: "- 444 0:0 1"}
    assert failed.files == {**result, f"{_RESULT}/result.json": file, f"{_RESULT}/build.tar": file}
    assert len(failed.data) > 1000
