"""What is different between two locks."""

from __future__ import annotations

import dataclasses

from proven import lock

from nixbk.nix.hashes import Hash
from nixbk.resolve.changes import Change, Changes, Count, compare
from nixbk.schema.lock import LockedInput

OLD = lock({"zlib": [], "hello": ["zlib"]})
NEW = lock({"zlib": [], "xz": [], "hello": ["zlib", "xz"]})


def test_the_first_lock() -> None:
    """Everything is new when there was nothing."""
    drv = f"{OLD.roots[0].basename}^out"
    found = compare(None, OLD)
    assert found == Changes(
        (Change("images.demo", "./default.nix#hello", "added", None, drv),),
        Count(2, 2, 0),
        Count(1, 1, 0),
    )
    assert found.changes[0].line() == f"+ images.demo: ./default.nix#hello: {short(drv)}"


def short(basename: str) -> str:
    """A base name with as much of its hash as is shown."""
    return f"{basename[:8]}…{basename[32:]}"


def test_nothing() -> None:
    """Equal locks have no changes."""
    assert compare(OLD, OLD) == Changes((), Count(2, 0, 0), Count(1, 0, 0))


def test_a_changed_package() -> None:
    """An installable that is another derivation is shown with both."""
    before, after = (f"{held.roots[0].basename}^out" for held in (OLD, NEW))
    found = compare(OLD, NEW)
    assert [change.line() for change in found.changes] == [
        f"~ images.demo: ./default.nix#hello: {short(before)} -> {short(after)}"
    ]
    assert found.derivations.line("derivation") == "3 derivations (2 added, 1 removed)"
    assert found.sources.line("source") == "1 source"


def test_inputs_and_images_that_come_and_go() -> None:
    """Inputs are shown by their references, and each installable of an image."""
    pinned = LockedInput(
        name="a",
        url="github:a/b",
        flake=True,
        locked="github:a/b/1",
        rev="1",
        nar_hash=Hash.of(b""),
    )
    with_input = dataclasses.replace(OLD, inputs={"a": pinned})
    renamed = dataclasses.replace(OLD, images={"other": OLD.images["demo"]})
    drv = f"{OLD.roots[0].basename}^out"
    assert [change.line() for change in compare(with_input, renamed).changes] == [
        "- inputs: a: github:a/b/1",
        f"- images.demo: ./default.nix#hello: {short(drv)}",
        f"+ images.other: ./default.nix#hello: {short(drv)}",
    ]
    assert compare(OLD, with_input).changes[0].to_json() == {
        "subject": "inputs",
        "name": "a",
        "action": "added",
        "old": None,
        "new": "github:a/b/1",
    }
