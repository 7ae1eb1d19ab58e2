"""What the helper is told."""

from __future__ import annotations

import json

import pytest

from nixbk.planner.steps import (
    CHUNK_CHARACTERS,
    ENVIRONMENT_CHARACTERS,
    StepDocument,
    run_settings,
)


def text_of(document: StepDocument) -> str:
    """The document as the helper puts it together."""
    assert [entry.partition("=")[0] for entry in document.environment] == [
        "NIXBK_STEP",
        *(f"NIXBK_STEP_{i}" for i in range(1, len(document.environment))),
    ]
    return "".join(entry.partition("=")[2] for entry in document.environment)


SIZES = {
    "one variable": (10, 1),
    "just one": (CHUNK_CHARACTERS - 50, 1),
    "two": (CHUNK_CHARACTERS, 2),
    "many": (5 * CHUNK_CHARACTERS, 6),
}


@pytest.mark.parametrize(("size", "variables"), SIZES.values(), ids=SIZES.keys())
def test_long_documents_are_split(size: int, variables: int) -> None:
    """No variable is longer than Linux lets it be, and nothing is lost."""
    document = StepDocument.of("build", {"args": ["x" * size]})
    assert len(document.environment) == variables
    assert max(map(len, document.environment)) <= 128 * 1024
    assert json.loads(text_of(document)) == {"version": 1, "kind": "build", "args": ["x" * size]}


def test_very_long_documents_are_files() -> None:
    """What is too long for an environment is a file."""
    document = StepDocument.of("build", {"args": ["x" * ENVIRONMENT_CHARACTERS]})
    assert document.environment == ()
    assert json.loads(document.file)["args"] == ["x" * ENVIRONMENT_CHARACTERS]


def test_what_is_empty_is_left_out() -> None:
    """A field that says nothing does not key the step."""
    document = StepDocument.of("build", {"args": [], "fixed": None, "env": {}, "network": True})
    assert json.loads(text_of(document)) == {"version": 1, "kind": "build", "network": True}


SETTINGS = {"none": (None, ""), "cores": (4, ";nixbk:cores=4")}


@pytest.mark.parametrize(("cores", "text"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings(cores: int | None, text: str) -> None:
    """Settings are one suffix of a proxy variable."""
    assert run_settings(cores=cores) == text
