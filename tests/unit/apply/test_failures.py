"""What is said of failures, and the exit codes they give."""

from __future__ import annotations

import pytest
from locks import drv_path, make_lock

from nixbk.apply.failures import (
    BuildsFailedError,
    DerivationFailedError,
    all_failed,
    derivation_failed,
    exit_code,
)
from nixbk.buildkit.errors import BuildFailed, Failure

# ``failingExitStatus`` of Nix: 0b1100000 and a bit for each kind.
CODES = {
    "a builder": (["builder-failed"], 100),
    "too long": (["timed-out"], 101),
    "another hash": (["hash-mismatch"], 102),
    "not deterministic": (["not-deterministic"], 104),
    "too long and another hash": (["timed-out", "hash-mismatch"], 103),
    "failed and not deterministic": (["builder-failed", "not-deterministic"], 108),
    "everything": (["timed-out", "hash-mismatch", "not-deterministic"], 111),
    "what Nix will not build": (["unsupported"], 100),
    "an output check": (["output-check"], 1),
    "a check and a builder": (["output-check", "builder-failed"], 100),
    "the engine": ([""], 1),
}


@pytest.mark.parametrize(("kinds", "code"), CODES.values(), ids=CODES)
def test_exit_codes(kinds: list[str], code: int) -> None:
    """Several kinds of failure give one code, as Nix's."""
    assert exit_code(kinds) == code


LOCK = make_lock({"fetch-src": [], "lib": ["fetch-src"], "app": ["lib"]})
LOG = ("one", "two", "nixbk: builder-failed: builder failed with exit code 3")

MESSAGES = {
    "a builder": (
        "lib",
        BuildFailed("x", failure=Failure(), log=LOG),
        (
            "lib: builder failed with exit code 3\n"
            "  last 2 lines of its log:\n"
            "  > one\n"
            "  > two\n"
            f"  all of its log: nixbk log {drv_path('lib')}\n"
            "  wanted by: images.image.installables[0] (./default.nix#app)"
        ),
        100,
    ),
    "killed with the helper": (
        "lib",
        BuildFailed("exit code: 137", failure=Failure(exit_code=137)),
        (
            "lib: builder was killed (signal 9)\n"
            "  wanted by: images.image.installables[0] (./default.nix#app)\n"
            "  hint: the builder may have run out of memory: try --max-jobs 1, or --cores 1"
        ),
        100,
    ),
    "no room": (
        "lib",
        BuildFailed("write /x: no space left on device", failure=Failure()),
        (
            "lib: write /x: no space left on device\n"
            "  wanted by: images.image.installables[0] (./default.nix#app)\n"
            "  hint: the builder's disk is full: make room there, then run the same again"
        ),
        1,
    ),
    "no server": (
        "fetch-src",
        BuildFailed("dial tcp: connection refused", failure=Failure()),
        (
            "fetch-src: cannot download: dial tcp: connection refused\n"
            "  wanted by: images.image.installables[0] (./default.nix#app)"
        ),
        100,
    ),
}


@pytest.mark.parametrize(("name", "error", "text", "code"), MESSAGES.values(), ids=MESSAGES)
def test_messages(name: str, error: BuildFailed, text: str, code: int) -> None:
    """The derivation, what went wrong, its last words, who wants it, what to do."""
    found = derivation_failed(LOCK, drv_path(name), error)
    assert (str(found), found.exit_code) == (text, code)


def test_several_failures() -> None:
    """One error has all of them, each with what was not built because of it."""
    one = DerivationFailedError(drv_path("one"), "timed-out", "took too long")
    two = DerivationFailedError(drv_path("two"), "hash-mismatch", "another hash")
    top = drv_path("top")
    found = all_failed([one, two], {one.derivation: [top], two.derivation: [top]})
    assert isinstance(found, BuildsFailedError)
    assert str(found) == (
        "2 derivations failed, 1 was not built because of them\n"
        "one: took too long\n"
        "  not built because of it: top\n"
        "two: another hash\n"
        "  not built because of it: top"
    )
    assert found.exit_code == 103
    assert found.unbuilt == {one.derivation, two.derivation, top}
    two.add("its build folder: two.build.tar")
    found.compose()
    assert str(found).endswith("top\n  its build folder: two.build.tar")
