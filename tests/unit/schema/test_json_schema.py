"""The generated JSON schemas."""

from __future__ import annotations

from pathlib import Path

from nixbk.schema.json_schema import schemas

FOLDER = Path(__file__).parents[3] / "schema"


def test_the_committed_schemas_are_those_of_the_models() -> None:
    """``dev/schemas`` was run after the last change of a model."""
    assert {path.name: path.read_bytes() for path in FOLDER.glob("*.json")} == schemas()
