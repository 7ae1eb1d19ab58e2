"""Kind build on real engines: what the builder finds, what its end is, what is left of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from helper_bench import DEV, OUT, SEED

if TYPE_CHECKING:
    from helper_bench import Bench

_HELLO_NAR: Final = "sha256-CkMIecJm+LV/QJKg+TXPP6zUi7zN5XYNR0jKQFFx6Wk="
LINK: Final = f"/nix/store/{'c' * 32}-link"


def test_sandbox(bench: Bench) -> None:
    """The builder finds Nix's sandbox."""
    script = r"""
      id; pwd; umask; hostname; cat /etc/passwd /etc/group /etc/hosts; ls -1A /etc /tmp /build
      stat -c '%n %a %u:%g' / /build /tmp /nix /nix/store /bin
      grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)' /proc/self/status
      ulimit -c; cat; ls -l /dev/ptmx | grep -o '/dev/ptmx.*'; grep -c 'shm.*noexec' /proc/mounts
      test -t 1 && test -t 2 && echo terminal
      env | sort; echo x > /dev/tty
      [ -e $seed/bin/sh ]; : > $seed/x
      ip -o addr | grep -o 'inet6\? [^ ]*'
      for f in /x /nix/x /etc/x /bin/x /.nixbk/x /.nixbk/helper; do : > $f; done
      ls /.nixbk; ls /sys; cat /proc/1/environ; chmod 4755 $NIX_BUILD_TOP; chmod 2755 $NIX_BUILD_TOP
      echo ok > $out
    """
    env = {"NIX_BUILD_TOP": "/build", "seed": SEED, "latin": "\xff\xe9"}
    files = {"b": "", "a": "text"}
    done = bench.build(f"set +e; {script}", env=env, files=files, settings="x;nixbk:cores=3")
    shell = f"{SEED}/bin/bash: line"
    space = " "  # at the end of a line
    expected = f"""\
uid=1000(nixbld) gid=100(nixbld)
/build
0022
localhost
root:x:0:0:Nix build user:/build:/noshell
nixbld:x:1000:100:Nix build user:/build:/noshell
nobody:x:65534:65534:Nobody:/:/noshell
root:x:0:
nixbld:!:100:
nogroup:x:65534:
127.0.0.1 localhost
::1 localhost
/build:
a
b

/etc:
group
hosts
passwd

/tmp:
/ 750 0:100
/build 700 1000:100
/tmp 1777 0:0
/nix 755 0:0
/nix/store 1775 0:100
/bin 755 0:0
Uid:	1000	1000	1000	1000
Gid:	100	100	100	100
Groups:	{space}
CapInh:	0000000000000000
CapPrm:	0000000000000000
CapEff:	0000000000000000
CapBnd:	0000000000000000
CapAmb:	0000000000000000
NoNewPrivs:	1
Seccomp:	2
0
/dev/ptmx -> /dev/pts/ptmx
0
terminal
NIX_BUILD_CORES=3
NIX_BUILD_TOP=/build
PATH={SEED}/bin
PWD=/build
SHLVL=1
_={SEED}/bin/env
latin=\udcff\udce9
out={OUT}
seed={SEED}
bash: /dev/tty: No such device or address
bash: {SEED}/x: Read-only file system
inet 127.0.0.1/8
inet6 ::1/128
bash: /x: Permission denied
bash: /nix/x: Permission denied
bash: /etc/x: Read-only file system
bash: /bin/x: Permission denied
bash: /.nixbk/x: Permission denied
bash: /.nixbk/helper: Permission denied
ls: can't open '/.nixbk': Permission denied
ls: can't open '/sys': Permission denied
cat: can't open '/proc/1/environ': Permission denied
chmod: /build: Operation not permitted
chmod: /build: Operation not permitted
"""
    assert done.exit_code == 0, done.log
    log = re.sub(rf"(bash|{re.escape(shell)}[ ]?\d*): line \d+: ", "bash: ", done.log)
    assert log.splitlines() == expected.splitlines()


def test_what_is_left(bench: Bench) -> None:
    """Outputs become canonical, everything else is as the base has it, no process survives."""
    script = r"""
      mkdir -p $out/bin $out/closed
      echo "#! $seed $dev $link" > $out/bin/x; chmod 755 $out/bin/x; ln $out/bin/x $dev
      ln -s ../nowhere $out/link; echo a > $out/closed/a
      chmod 0 $out/closed/a; chmod 0 $out/closed
      : > /nix/store/junk; mkdir -p /nix/store/more/junk; chmod 0 /nix/store/more
      (sleep 1000 &); (setsid sleep 1000 > /dev/null 2>&1 < /dev/null &)
      (trap '' TERM HUP INT; while :; do : > $out/late; done) &
      sleep 0.2; printf 'no newline'
    """
    done = bench.build(
        script,
        outputs={"out": OUT, "dev": DEV},
        env={"seed": SEED, "link": LINK},
        links={LINK: "../target"},
    )
    assert done.exit_code == 0, done.log
    assert done.log == "no newline\n"
    assert done.files == {
        "/nix": "d 755 0:0 1",
        "/nix/store": "d 755 0:0 1",
        OUT: "d 555 0:0 1",
        f"{OUT}/bin": "d 555 0:0 1",
        f"{OUT}/bin/x": "- 555 0:0 1",
        f"{OUT}/closed": "d 555 0:0 1",
        f"{OUT}/closed/a": "- 444 0:0 1",
        f"{OUT}/late": "- 444 0:0 1",
        f"{OUT}/link": "l 0:0 1 -> ../nowhere",
        DEV: "- 555 0:0 1",
    }
    assert done.result is not None
    assert {
        name: (output["path"], output["type"], output["references"])
        for name, output in done.result.items()
    } == {
        "dev": (DEV, "regular", [SEED, DEV, LINK]),
        "out": (OUT, "directory", [SEED, DEV, LINK]),
    }


def test_fixed_outputs(bench: Bench) -> None:
    """Fixed outputs that are what they should be pass, and their references may be discarded."""
    for script, fixed in (
        ("printf hello > $out", {"method": "flat", "hash": "md5-XUFAKrxLKna5cZ2REBfFkg=="}),
        (
            "printf hello > $out",
            {"method": "nar", "hash": _HELLO_NAR},
        ),
    ):
        done = bench.build(script, fixed=fixed)
        assert done.result is not None, done.log
        assert done.result["out"]["narHash"] == _HELLO_NAR
    done = bench.build(f"echo {SEED} > $out", unsafeDiscardReferences=["out"])
    assert done.result is not None
    assert done.result["out"]["references"] == []


def test_impure_variables(bench: Bench) -> None:
    """Impure variables come from the proxies and are empty when those are not set."""
    done = bench.build(
        'echo "$no_proxy|$http_proxy|$OTHER" | tee $out',
        impureEnv=["no_proxy", "http_proxy", "OTHER"],
        settings="localhost,.example;nixbk:cores=1",
    )
    assert done.log == "localhost,.example||\n"


def test_long_step(bench: Bench) -> None:
    """A step may be longer than one variable of an environment."""
    done = bench.build("wc -c < big | tee $out", files={"big": "x" * 300_000})
    assert done.log == "300000\n"


def test_network(bench: Bench) -> None:
    """A build with a network finds resolver and hosts; its outputs are copies if need be."""
    script = """
      test -s /etc/resolv.conf; test -s /etc/hosts; mkdir -p $out/sub; echo x > $out/sub/x
      chmod 755 $out/sub/x; ln $out/sub/x $out/y; ln -s y $out/z
    """
    done = bench.build(script, network="sandbox")
    assert done.exit_code == 0, done.log
    assert done.files == {
        "/nix": "d 755 0:0 1",
        "/nix/store": "d 755 0:0 1",
        OUT: "d 555 0:0 1",
        f"{OUT}/sub": "d 555 0:0 1",
        f"{OUT}/sub/x": "- 555 0:0 1",
        f"{OUT}/y": "- 555 0:0 1",
        f"{OUT}/z": "l 0:0 1 -> y",
    }


def test_i686(bench: Bench) -> None:
    """A build for i686 sees a machine of that kind, others the real one."""
    done = bench.build("uname -m | tee $out", system="i686-linux")
    assert done.log == "i686\n"
    done = bench.build("uname -m | tee $out", system="x86_64-linux")
    assert done.log == "x86_64\n"
