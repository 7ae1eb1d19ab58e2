"""Installables: the grammar, and what it refuses."""

from __future__ import annotations

import pytest

from nixbk.schema.installable import (
    Installable,
    InstallableError,
    InstallableKind,
    parse_attribute_path,
)

FILE, INPUT = InstallableKind.FILE, InstallableKind.INPUT
FLAKE, STORE = InstallableKind.FLAKE, InstallableKind.STORE
DRV = "/nix/store/n7zwllx7nz103yzsydjhjifzmr9v7fs4-test.drv"
OUT = DRV.removesuffix(".drv")

GOOD = {
    "./default.nix#hello": (FILE, "./default.nix", ("hello",), False, None),
    "dir/x.nix#a.b": (FILE, "dir/x.nix", ("a", "b"), False, None),
    "default.nix": (FILE, "default.nix", (), False, None),
    "/abs/x.nix#a^*": (FILE, "/abs/x.nix", ("a",), False, ("*",)),
    "nixpkgs#hello": (INPUT, "nixpkgs", ("hello",), False, None),
    "app#pkg^dev,out,dev": (INPUT, "app", ("pkg",), False, ("dev", "out")),
    "nixpkgs": (INPUT, "nixpkgs", (), False, None),
    ".#web": (FLAKE, ".", ("web",), False, None),
    "#web": (FLAKE, ".", ("web",), False, None),
    ".": (FLAKE, ".", (), False, None),
    ".#.legacy.x": (FLAKE, ".", ("legacy", "x"), True, None),
    '.#a."b.c"': (FLAKE, ".", ("a", "b.c"), False, None),
    "path:./dir#x": (FLAKE, "path:./dir", ("x",), False, None),
    "git+file:///srv/r?ref=main#x^out": (
        FLAKE,
        "git+file:///srv/r?ref=main",
        ("x",),
        False,
        ("out",),
    ),
    "github:NixOS/nixpkgs/nixos-26.05#hello": (
        FLAKE,
        "github:NixOS/nixpkgs/nixos-26.05",
        ("hello",),
        False,
        None,
    ),
    "https://example.org/x.tar.gz#a": (FLAKE, "https://example.org/x.tar.gz", ("a",), False, None),
    "./dir#x": (FLAKE, "./dir", ("x",), False, None),
    DRV: (STORE, DRV, (), False, None),
    OUT: (InstallableKind.PATH, OUT, (), False, None),
    f"{DRV}^out": (STORE, DRV, (), False, ("out",)),
}


@pytest.mark.parametrize(("text", "parts"), GOOD.items(), ids=GOOD)
def test_parts(
    text: str,
    parts: tuple[InstallableKind, str, tuple[str, ...], bool, tuple[str, ...] | None],
) -> None:
    """Every way to write an installable is taken apart as Nix does."""
    assert Installable.parse(text) == Installable(text, *parts)


BAD = {
    "": "expected an installable, found empty or unprintable text",
    " .#x": "expected an installable, found empty or unprintable text",
    "a#b\n": "expected an installable, found empty or unprintable text",
    ".#x^": "expected output names after '^', found ''",
    ".#x^a b": "expected output names after '^', found 'a b'",
    ".#x^*,a": "expected output names after '^', found '*,a'",
    ".#a..b": "empty name in attribute path 'a..b'",
    '.#a."b': "missing closing quote in attribute path 'a.\"b'",
    "flake:nixpkgs#x": "unknown kind of flake reference 'flake:nixpkgs'",
    "C:\\x": "expected a file, a flake or an input, found 'C:\\\\x'",
    "nixpkgs/nixos-26.05#x": "'nixpkgs/nixos-26.05' would be looked up in a registry of flakes",
    "/nix/store/x-y": "'/nix/store/x-y' is no store path: no '-' follows a digest of 32 characters",
    f"{OUT}^out": f"the store path '{OUT}' has no outputs",
    f"{OUT}/bin": f"'{OUT}/bin' is no store path: the store path name 'test/bin' has a character "
    "other than letters, digits and +-._?=",
}


@pytest.mark.parametrize(("text", "message"), BAD.items(), ids=map(repr, BAD))
def test_refusals(text: str, message: str) -> None:
    """What is no installable is refused in a few words."""
    with pytest.raises(InstallableError) as caught:
        Installable.parse(text)
    assert caught.value.message == message


def test_an_empty_attribute_path() -> None:
    """Nothing is a path without names."""
    assert parse_attribute_path("") == ()
