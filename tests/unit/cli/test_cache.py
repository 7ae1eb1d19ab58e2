"""What ``nixbk cache push`` tells, and what it refuses before it asks anybody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fetched import store_path
from typer.testing import CliRunner

from nixbk.apply.push import Pushed
from nixbk.cli.app import app, run
from nixbk.cli.cache import LISTED, document, note_lines, pushed_line, summary
from nixbk.nix.hashes import Hash
from nixbk.nix.narinfo import NarInfo
from nixbk.planner.offers import ABSENT, UNPROVEN, Offer
from nixbk.planner.realisation import RealisedOutput

if TYPE_CHECKING:
    from pathlib import Path


URL = "https://cache.example"


def offer(name: str) -> Offer:
    """A path that may be pushed."""
    return Offer(RealisedOutput(store_path(name), Hash.of(name.encode()), 2000, ()), "")


def info(found: Offer) -> NarInfo:
    """What a cache tells of it then."""
    hashed = found.info.nar_hash
    return NarInfo(found.path, "nar/x", "zstd", Hash.of(b"file"), 1000, hashed, 2000)


APP, LIB, OLD = offer("app"), offer("lib"), offer("old")


NOTHING = Pushed(URL, {}, (), (), {}, (), ())


SUMMARIES = {
    "two": (
        replace(NOTHING, pushed={APP: info(APP), LIB: info(LIB)}),
        True,
        f"Pushed 2 paths (2 kB) to {URL}; 0 there already.",
    ),
    "none": (
        replace(NOTHING, present=(OLD,)),
        True,
        f"Pushed 0 paths (0 B) to {URL}; 1 there already.",
    ),
    "signed": (
        Pushed(URL, {APP: info(APP)}, (OLD, LIB), (OLD,), {}, (), ()),
        True,
        f"Pushed 1 path (1 kB) to {URL}; 2 there already, 1 of them signed now.",
    ),
    "dry": (
        Pushed(URL, {APP: None}, (OLD,), (OLD,), {}, (), ()),
        False,
        f"1 path to push to {URL}; 1 there already, 1 of them to be signed.",
    ),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries(name: str) -> None:
    """One line."""
    found, written, line = SUMMARIES[name]
    assert summary(found, written=written) == line


def test_lines() -> None:
    """A line for each path."""
    assert pushed_line(APP, info(APP)) == "pushed app (1 kB)"
    assert pushed_line(APP, None) == "would push app (2 kB unpacked)"


def test_notes() -> None:
    """What is left out is named, with what to do about it."""
    found = replace(
        NOTHING,
        withheld={store_path("hello"): UNPROVEN, store_path("gcc.drv"): ABSENT},
        fetched=(store_path("glibc"),),
        differing=(OLD,),
    )
    assert list(note_lines(found)) == [
        f"gcc is not pushed: {ABSENT}",
        f"hello is not pushed: {UNPROVEN}",
        "with 'fallback = true' in the manifest, a lock has all recipes",
        "what comes from binary caches is not pushed, though it is referred to: glibc",
        "the cache has other content, and keeps it: old",
    ]
    assert list(note_lines(NOTHING)) == []
    many = replace(NOTHING, withheld={store_path(f"x{n:02}"): ABSENT for n in range(LISTED + 3)})
    lines = list(note_lines(many))
    assert len(lines) == LISTED + 1
    assert lines[-1] == "3 more are not pushed; --json has them all"


def test_the_document() -> None:
    """Everything is in it; files only where there are some."""
    pushed: dict[Offer, NarInfo | None] = {APP: info(APP), LIB: None}
    left = {store_path("x"): ABSENT}
    found = replace(NOTHING, pushed=pushed, present=(OLD,), withheld=left)
    told = document(found, written=True)
    assert told["pushed"] == [
        {
            "path": str(APP.path),
            "narHash": APP.info.nar_hash.sri(),
            "narSize": 2000,
            "references": [],
            "url": "nar/x",
            "fileSize": 1000,
        },
        {
            "path": str(LIB.path),
            "narHash": LIB.info.nar_hash.sri(),
            "narSize": 2000,
            "references": [],
        },
    ]
    assert (told["present"], told["withheld"]) == (
        [str(OLD.path)],
        {str(store_path("x")): ABSENT},
    )


REFUSED = {
    "both": (["--unsigned", "--secret-key-file", "k"], 2, "exclude each other"),
    "method": (["--compression", "bzip2"], 2, "'bzip2' is not one of"),
    "no key": (["--secret-key-file", "none"], 1, "none: cannot read the file"),
    "no manifest": (["--unsigned"], 1, "nixbk.toml: no such file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a builder or a cache is asked."""
    options, code, said = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    assert run(["cache", "push", "file:./cache", *options]) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_addresses_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong one is told before anything is read."""
    monkeypatch.chdir(tmp_path)
    assert run(["cache", "push", "s3://B"]) == 1
    assert "'s3://B': expected the name of a bucket" in capsys.readouterr().err


def test_the_group_has_a_help() -> None:
    """As every command has."""
    done = CliRunner().invoke(app, ["cache", "--help"])
    assert done.exit_code == 0
    assert "push" in done.output
