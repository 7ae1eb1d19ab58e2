"""Trees with parts left out, and written to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.nix.nar import Data, Directory, Event, RegularFile, write
from nixbk.resolve.filesystem import scan
from nixbk.resolve.trees import unpack, without

if TYPE_CHECKING:
    from pathlib import Path


def test_a_tree_without_some_of_it() -> None:
    """What is left out goes with all that is below it."""
    events: list[Event] = [
        Directory(""),
        Directory("a"),
        RegularFile("a/b", 1),
        Data(b"1"),
        RegularFile("ab", 1),
        Data(b"2"),
        RegularFile("c", 1),
        Data(b"3"),
    ]
    left = list(without(iter(events), {"a", "c"}))
    assert left == [Directory(""), RegularFile("ab", 1), Data(b"2")]
    assert b"".join(write(left))


def test_unpacking_is_the_inverse_of_scanning(tmp_path: Path) -> None:
    """A tree that is written is the tree that is read."""
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "b").mkdir(parents=True)
    (first / "b" / "x").write_bytes(b"1" * 300_000)
    (first / "empty").write_bytes(b"")
    (first / "run").write_bytes(b"#!")
    (first / "run").chmod(0o755)
    (first / "link").symlink_to("b/x")
    unpack(scan(first), second)
    assert list(scan(second)) == list(scan(first))
