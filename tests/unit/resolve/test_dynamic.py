"""Derivations that builds make are made when a lock is, and then are recipes like others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from benches import Bench
from locks import KINDS

from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.environment import placeholder
from nixbk.nix.resolution import downstream_placeholder, dynamic_placeholder
from nixbk.nix.store_path import StorePath
from nixbk.planner.workshop import Flavour
from nixbk.resolve.evaluator import Evaluated, EvaluationError
from nixbk.resolve.locker import make_lock
from nixbk.resolve.memory import MemoryEvaluator
from nixbk.schema.lock_document import to_bytes
from nixbk.schema.lock_file import parse_lock
from nixbk.schema.manifest_file import parse_manifest
from nixbk.schema.problems import LockError

if TYPE_CHECKING:
    from pathlib import Path

    from nixbk.schema.lock import Lock

MANIFEST = b"[images.demo]\ninstallables = ['./default.nix#user']\nplatforms = ['linux/amd64']\n"
INNER = Derivation(
    "inner",
    {"out": KINDS["floating"]},
    {},
    (),
    "x86_64-linux",
    "/bin/sh",
    (),
    {"out": placeholder("out")},
)
MAKER = Derivation(
    "inner.drv",
    {"out": DerivationOutput("", "text:sha256", "")},
    {},
    (),
    "x86_64-linux",
    "/bin/sh",
    (),
    {"out": placeholder("out")},
)
STANDS_FOR = dynamic_placeholder(downstream_placeholder(MAKER.path(), "out"), "out")
USER = Derivation.from_bytes(
    "user",
    (
        f'DrvWithVersion("xp-dyn-drv",[("out","","","")],'
        f'[("{MAKER.path()}",([],[("out",["out"])]))],[],"x86_64-linux","/bin/sh",'
        f'["{STANDS_FOR}"],[("in","{STANDS_FOR}"),("out","")])'
    ).encode(),
)


def world(*, is_made: bool = True) -> MemoryEvaluator:
    """A store in which the maker has been built, or cannot be."""
    found = MemoryEvaluator()
    for derivation in (INNER, MAKER, USER):
        found.add_derivation(derivation)
    found.answers = {"./default.nix#user": Evaluated(USER.path(), ("out",))}
    if is_made:
        found.made = {(MAKER.path(), "out"): INNER.path()}
    return found


def locked(folder: Path) -> Lock:
    """The lock of what uses an output of what another derivation makes."""
    manifest = parse_manifest(MANIFEST)
    return make_lock(manifest, folder, folder / "nixbk.lock", world()).lock


def test_the_lock_pins_what_is_made(tmp_path: Path) -> None:
    """Its recipe is in the lock, and what made it; both come back from the text."""
    lock = locked(tmp_path)
    assert lock.made == {(MAKER.path(), "out"): INNER.path()}
    assert set(lock.derivations) == {INNER.path(), MAKER.path(), USER.path()}
    assert dict(lock.inputs_of(USER.path())) == {INNER.path(): ("out",)}
    again = parse_lock(to_bytes(lock), "nixbk.lock")
    assert again == lock
    assert again.derivations[USER.path()].dynamic == USER.dynamic


def test_it_is_built_without_its_maker(tmp_path: Path) -> None:
    """As with an import from a derivation, nothing is left of how the recipe came about."""
    bench = Bench(locked(tmp_path), {})
    assert bench.apply() == ["inner", "user"]
    graph, _, found = bench.survey()
    assert found.to_build == ()
    inner = graph.output(INNER.path(), "out")
    step = graph.step(USER.path(), Flavour.RUN)
    assert str(inner) in {mount.dest for mount in step.root.vertex.op.exec.mounts}
    assert STANDS_FOR not in "".join(step.root.vertex.op.exec.meta.env)


def test_what_cannot_be_made_cannot_be_locked(tmp_path: Path) -> None:
    """The failure of the build ends the lock."""
    manifest = parse_manifest(MANIFEST)
    with pytest.raises(EvaluationError, match="the build failed"):
        make_lock(manifest, tmp_path, tmp_path / "nixbk.lock", world(is_made=False))


STRAYS = {
    "not there": {},
    "not a recipe of the lock": {(MAKER.path(), "out"): StorePath(bytes(20), "x.drv")},
}


@pytest.mark.parametrize("made", STRAYS.values(), ids=STRAYS.keys())
def test_a_lock_that_lacks_it_is_refused(
    tmp_path: Path, made: dict[tuple[StorePath, str], StorePath]
) -> None:
    """A lock proves that all it needs is in it."""
    lock = replace(locked(tmp_path), made=made)
    with pytest.raises(LockError, match="makes is not in the lock"):
        parse_lock(to_bytes(lock), "nixbk.lock")
