"""Each way a build can fail: its exit code, and the helper's report at the end of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from helper_bench import DEV, OUT, SEED

if TYPE_CHECKING:
    from helper_bench import Bench

_BOTH: Final = {"outputs": {"out": OUT, "dev": DEV}}
_ZERO_MD5: Final = "md5-AAAAAAAAAAAAAAAAAAAAAA=="
_ZERO_SHA256: Final = f"sha256-{'A' * 43}="
_BELOW: Final = "/nix/store/below"


@dataclass(frozen=True)
class Case:
    """A build and how it ends."""

    script: str
    exit_code: int
    report: str
    changes: dict[str, Any] = field(default_factory=dict)


def _fixed(method: str, text: str) -> dict[str, Any]:
    return {"fixed": {"method": method, "hash": text}}


def _checks(**checks: object) -> dict[str, Any]:
    return {"checks": {"out": checks}}


_NOT_ALLOWED: Final = (
    f"output-check: output '{OUT}' is not allowed to refer to the following paths:"
)
_MISMATCH: Final = "hash-mismatch: hash mismatch in fixed-output derivation:"

_CASES: Final = {
    "exit code": Case("exit 3", 100, "builder-failed: builder failed with exit code 3"),
    "signal": Case("kill -9 $$", 100, "builder-failed: builder failed due to signal 9 (Killed)"),
    "segmentation fault": Case(
        "kill -SEGV $$",
        100,
        "builder-failed: builder failed due to signal 11 (Segmentation fault)",
    ),
    "output closed": Case(
        "exec > /dev/null 2>&1; sleep 10; : > $out",
        100,
        "builder-failed: builder failed due to signal 9 (Killed)",
    ),
    "no output": Case(
        ":",
        1,
        f"output-missing: builder failed to produce output path for output 'out' at '{OUT}'",
    ),
    "one output of two": Case(
        ": > $out",
        1,
        f"output-missing: builder failed to produce output path for output 'dev' at '{DEV}'",
        _BOTH,
    ),
    "no builder": Case(
        "",
        100,
        "builder-failed: executing '/nix/store/nothing': No such file or directory",
        {"builder": "/nix/store/nothing"},
    ),
    "builder is a folder": Case(
        "", 100, f"builder-failed: executing '{SEED}': Permission denied", {"builder": SEED}
    ),
    "fifo": Case(
        "mkdir $out; mkfifo $out/pipe",
        1,
        f"illegal-output: file '{OUT}/pipe' has an unsupported type",
    ),
    "writable by all": Case(
        "mkdir $out; chmod 777 $out",
        1,
        (
            f"illegal-output: suspicious ownership or permission on '{OUT}' for output 'out';"
            " rejecting this build output"
        ),
    ),
    "hostile name": Case(
        r"""n=$(printf '\nnixbk: builder-failed: lie\033[31m'); mkdir $out; mkfifo "$out/$n" """,
        1,
        (
            f"illegal-output: file '{OUT}/"
            r"\x0anixbk: builder-failed: lie\x1b[31m' has an unsupported type"
        ),
    ),
    "flat hash": Case(
        "printf hello > $out",
        102,
        f"{_MISMATCH}\n  specified: {_ZERO_MD5}\n     got:    md5-XUFAKrxLKna5cZ2REBfFkg==",
        _fixed("flat", _ZERO_MD5),
    ),
    "flat hash of a folder": Case(
        "mkdir $out",
        1,
        (
            f"illegal-output: output path '{OUT}' should be a non-executable regular file since"
            " recursive hashing is not enabled (one of outputHashMode={flat,text} is true)"
        ),
        _fixed("flat", _ZERO_MD5),
    ),
    "nar hash": Case(
        "printf hello > $out",
        102,
        (
            f"{_MISMATCH}\n  specified: {_ZERO_SHA256}\n"
            "     got:    sha256-CkMIecJm+LV/QJKg+TXPP6zUi7zN5XYNR0jKQFFx6Wk="
        ),
        _fixed("nar", _ZERO_SHA256),
    ),
    "fixed with a reference": Case(
        "printf %s $seed > $out",
        102,
        (
            "hash-mismatch: fixed-output derivations must not reference store paths:"
            f" '{OUT}' references 1 distinct paths, e.g. '{SEED}'"
        ),
        _fixed("nar", "sha256-QPS8cy5WUxbvb4jcHSnQiO1j2MSOP88cNmCn4GEnJrM="),
    ),
    "flat with a reference": Case(
        "printf %s $seed > $out",
        1,
        "illegal-output: fixed output derivation 'x' is not allowed to refer to other store paths."
        "\n  You may need to use the 'unsafeDiscardReferences' derivation attribute,"
        " see the manual for more details.",
        _fixed("flat", "md5-E2bk09k6ARjtwvJBln7BHQ=="),
    ),
    "reference not allowed": Case(
        "echo $seed > $out", 1, f"{_NOT_ALLOWED}\n  {SEED}", _checks(allowedReferences=[])
    ),
    "requisite not allowed": Case(
        "echo $seed > $out",
        1,
        f"{_NOT_ALLOWED}\n  {_BELOW}",
        {
            **_checks(disallowedRequisites=[_BELOW]),
            "closure": {SEED: {"narSize": 1, "references": [_BELOW]}, _BELOW: {"narSize": 1}},
        },
    ),
    "too large": Case(
        "printf 12345678 > $out",
        1,
        f"output-check: path '{OUT}' is too large at 120 bytes; limit is 119 bytes",
        _checks(maxSize=119),
    ),
    "cycle": Case(
        "echo $dev > $out; echo $out > $dev",
        1,
        "cycle: cycle detected in the references of output 'dev' from output 'out'",
        _BOTH,
    ),
    "unknown field": Case(
        "",
        70,
        'internal: the step is not what this helper reads: json: unknown field "colour"',
        {"colour": 1},
    ),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES.keys())
def test_failures(bench: Bench, case: Case) -> None:
    """Each failure has its exit code, and its report is the end of the log."""
    done = bench.build(case.script, env={"seed": SEED}, **case.changes)
    assert (done.exit_code, done.report) == (case.exit_code, f"nixbk: {case.report}")


@pytest.mark.parametrize(
    ("settings", "script", "message"),
    [
        ("timeout=1", "while :; do echo x; sleep 0.1; done", "after 1 seconds"),
        ("max-silent=1", "echo x; sleep 60", "after 1 seconds of silence"),
        ("timeout=1", "sleep 60 & exec > /dev/null; wait", "after 1 seconds"),
    ],
)
def test_time_limits(bench: Bench, settings: str, script: str, message: str) -> None:
    """A build that takes too long, or is silent for too long, is ended."""
    done = bench.build(script, settings=f";nixbk:{settings}")
    assert (done.exit_code, done.report) == (101, f"nixbk: timed-out: builder timed out {message}")
