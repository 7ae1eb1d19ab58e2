"""What every evaluator promises: the ``nix`` command and its twin in memory, by one suite."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixbk.nix.derivation_hash import verify
from nixbk.nix.nar import nar_hash
from nixbk.nix.store_path import StorePath, source_path
from nixbk.resolve.evaluator import Evaluated, EvaluationError, Evaluator, InputRequest, Wish
from nixbk.resolve.filesystem import nar_of
from nixbk.resolve.memory import MemoryEvaluator
from nixbk.resolve.nix_command import NixCommand
from nixbk.schema.installable import ALL_OUTPUTS, Installable

if TYPE_CHECKING:
    from collections.abc import Callable

GONE = StorePath(b"x" * 20, "gone.drv")


@dataclass(frozen=True)
class World:
    """An evaluator, and the same small world in each.

    Attributes:
        evaluator: the one under test.
        tarball: the flake reference of a plain tree.
        plain: the derivation of ``default.nix#plain``.
    """

    evaluator: Evaluator
    tarball: str
    plain: StorePath


@pytest.fixture(params=["nix", "memory"])
def world(request: pytest.FixtureRequest, project: Path, run: Callable[..., str]) -> World:
    """The project of these tests, by real Nix or in memory."""
    archive = project / "tree.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(project / "tree", "tree")
    url = f"file://{archive}"
    text = run("nix-instantiate", "default.nix", "-A", "plain", folder=project).strip()
    plain = StorePath.parse(text.partition("!")[0])
    if request.param == "nix":
        return World(NixCommand(project), url, plain)
    twin = MemoryEvaluator()
    derivation = verify(plain, Path(str(plain)).read_bytes())
    twin.add_derivation(derivation)
    for path in derivation.input_srcs:
        twin.add_path(path, b"".join(nar_of(Path(str(path)))))
    twin.answers["default.nix#plain"] = Evaluated(plain, ("lib",))
    twin.trees[url] = b"".join(nar_of(project / "tree"))
    return World(twin, url, plain)


def _wish(text: str) -> Wish:
    return Wish(Installable.parse(text), "x86_64-linux")


def test_each_wish_has_its_own_answer(world: World) -> None:
    """Answers come in order, and one that fails does not take others with it."""
    texts = ("default.nix#plain", "default.nix#none", f"{world.plain}^out")
    plain, none, stored = world.evaluator.evaluate([_wish(text) for text in texts], {})
    assert plain == Evaluated(world.plain, ("lib",))
    assert isinstance(none, EvaluationError)
    assert none.message == "there is no attribute 'none'"
    assert stored == Evaluated(world.plain, ALL_OUTPUTS)


def test_nothing_is_asked_for(world: World) -> None:
    """No wishes have no answers."""
    assert list(world.evaluator.evaluate([], {})) == []
    assert dict(world.evaluator.infos([])) == {}


def test_derivations_hash_to_their_paths(world: World) -> None:
    """What was evaluated is in the store."""
    assert verify(world.plain, world.evaluator.derivation(world.plain)).name == "plain"


def test_infos_are_those_of_the_archives(world: World) -> None:
    """The store's hash is that of the bytes it gives."""
    sources = verify(world.plain, world.evaluator.derivation(world.plain)).input_srcs
    infos = world.evaluator.infos(sources)
    assert set(infos) == set(sources)
    for path, info in infos.items():
        found = nar_hash(world.evaluator.nar(path))
        assert (info.path, info.nar_hash, info.nar_size) == (path, *found)
        assert info.references == ()
        assert source_path(path.name, info.nar_hash.digest) == path


def test_what_is_not_in_the_store(world: World) -> None:
    """Each way to ask for it is an evaluation error."""
    with pytest.raises(EvaluationError):
        world.evaluator.derivation(GONE)
    with pytest.raises(EvaluationError):
        world.evaluator.infos([GONE])
    with pytest.raises(EvaluationError):
        list(world.evaluator.nar(GONE))


def test_inputs_stay_pinned(world: World) -> None:
    """What is locked once can be had again, and nothing else in its place."""
    found = world.evaluator.lock_input(InputRequest("t", world.tarball, flake=False))
    assert (found.locked.name, found.locked.url, found.is_local) == ("t", world.tarball, False)
    assert found.store_path == source_path("source", found.locked.nar_hash.digest)
    again = world.evaluator.fetch_input(found.locked)
    assert (again.store_path, again.locked) == (found.store_path, found.locked)


def test_inputs_that_cannot_be_had(world: World) -> None:
    """A reference that leads nowhere is an evaluation error."""
    with pytest.raises(EvaluationError):
        world.evaluator.lock_input(InputRequest("t", f"{world.tarball}x.tar.gz", flake=False))
