"""Every case of ``cases/`` comes out as with real Nix: outputs byte for byte, failures by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from verdicts import NO_ANSWER, case_files, case_names, named_paths

if TYPE_CHECKING:
    from verdicts import Runs

CASES = [(file, name) for file in case_files() for name in case_names(file)]


@pytest.mark.parametrize(("file", "name"), CASES, ids=[".".join(case) for case in CASES])
def test_as_nix_builds_it(runs: Runs, engine: str, file: str, name: str) -> None:
    """Paths, NAR hashes, sizes and references are the same, or the failure and what it names."""
    case = runs.cases(file)[name]
    expected = runs.expected(file)[name]
    assert expected.kind == case.kind, f"real Nix: {expected.message}"
    assert [text for text in case.mentions if text not in expected.message] == []
    found = runs.found(engine, file)[name]
    if case.refused:
        assert found.kind in {NO_ANSWER, "unsupported"}
        assert case.refused in found.message
        return
    both = f"{found.message}\n\nreal Nix: {expected.message}"
    if expected.kind == "":  # an error of no kind
        assert found.kind not in {None, NO_ANSWER}, both
    else:
        assert found.kind == expected.kind, both
    assert found.outputs == expected.outputs
    assert [text for text in case.mentions if text not in found.message] == [], found.message
    if expected.hashes:
        assert found.hashes == expected.hashes, both
    if expected.kind != "builder-failed":  # whose log is the builder's
        assert named_paths(expected.message) <= named_paths(found.message), found.message
