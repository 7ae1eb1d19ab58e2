"""Caches that are asked what outputs came to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from memory_caches import KEY, KEYS, STRANGER, MemoryWire, MemoryWires, cache, store_path

from nixbk.resolve.caches.answers import Answers
from nixbk.resolve.caches.faults import CacheError
from nixbk.resolve.caches.outputs import told_url
from nixbk.resolve.caches.query import Caches
from nixbk.resolve.caches.wire import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nixbk.nix.signatures import SecretKey

ID = f"sha256:{'0' * 64}!out"
PATH, OTHER = store_path("float"), store_path("float2")


def told(path: Any = PATH, key: SecretKey | None = KEY, output_id: str = ID) -> bytes:
    """What a cache tells of an output."""
    content = {"dependentRealisations": {}, "id": output_id, "outPath": path.basename}
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    signatures = [key.sign(text)] if key else []
    return json.dumps({**content, "signatures": signatures}).encode()


def wire(files: Mapping[str, bytes], status: int = 404) -> MemoryWire:
    """A cache that has some files, by the names of outputs, and answers *status* else."""
    paths = {f"/{told_url(name)}": data for name, data in files.items()}
    return MemoryWire(
        lambda path: Reply(200, path, paths[path]) if path in paths else Reply(status, path)
    )


def found(*wires: MemoryWire, trust: bool = True, **options: Any) -> Any:
    """What several caches come to."""
    names = [f"c{number}" for number in range(len(wires))]
    group = MemoryWires(dict(zip(names, wires, strict=True)))
    caches = [cache(name, f"https://{name}.example", trust=trust) for name in names]
    with Caches(caches, KEYS, wire=lambda: group, **options) as asked:
        return asked.outputs([ID, ID])[ID]


def test_names_of_files() -> None:
    """They are escaped, as not all servers and signatures know these characters as they are."""
    assert told_url(ID) == f"realisations/sha256%3A{'0' * 64}%21out.doi"


CASES: dict[str, tuple[list[MemoryWire], Any]] = {
    "signed": ([wire({ID: told()})], PATH),
    "the second": ([wire({}), wire({ID: told(OTHER)})], OTHER),
    "the first": ([wire({ID: told()}), wire({ID: told(OTHER)})], PATH),
    "a bad one, and a good one": ([wire({ID: told(key=None)}), wire({ID: told(OTHER)})], OTHER),
    "nobody": ([wire({}), wire({}, 403)], None),
    "unsigned": ([wire({ID: told(key=None)})], None),
    "signed by a stranger": ([wire({ID: told(key=STRANGER)})], None),
    "of another output": ([wire({ID: told(output_id=f"sha256:{'1' * 64}!out")})], None),
    "nothing of use": ([wire({ID: b"x"})], None),
    "one that fails does not count": ([wire({}, 400), wire({ID: told()})], PATH),
}


@pytest.mark.parametrize("name", CASES)
def test_what_caches_say(name: str) -> None:
    """The first that is believed counts."""
    wires, expected = CASES[name]
    assert found(*wires) == expected


def test_what_needs_no_signature() -> None:
    """Of a cache that is believed without."""
    assert found(wire({ID: told(key=None)}), trust=False) == PATH
    assert found(wire({ID: told(OTHER, STRANGER)}), trust=False) == OTHER


def test_a_cache_that_fails() -> None:
    """Where no other knows, it is told why."""
    outcome = found(wire({}), wire({}, 400))
    assert isinstance(outcome, CacheError)
    assert (outcome.where, "HTTP 400" in outcome.message) == ("c1", True)


def test_answers_are_kept() -> None:
    """Those that there is nothing, too; what fails is asked for again."""
    answers = Answers(None)
    for first in (wire({ID: told()}), wire({})):
        answers = Answers(None)
        expected = found(first, answers=answers)
        silent = wire({}, 400)
        assert found(silent, answers=answers) == expected
        assert found(silent, answers=answers, offline=True) == expected
        assert silent.asked == []
        assert isinstance(found(silent, answers=answers, refresh=True), CacheError)
        assert len(silent.asked) == 1
    outcome = found(wire({}), answers=Answers(None), offline=True)
    assert isinstance(outcome, CacheError)
    assert outcome.hint == "leave out --offline"


def test_folders(tmp_path: Path) -> None:
    """They are looked into each time."""
    place = cache("disk", f"file://{tmp_path}")
    with Caches([place], KEYS, offline=True) as asked:
        assert asked.outputs([ID]) == {ID: None}
        (tmp_path / "realisations").mkdir()
        (tmp_path / "realisations" / f"{ID}.doi").write_bytes(told())
        assert asked.outputs([ID]) == {ID: PATH}
        assert asked.outputs([]) == {}
