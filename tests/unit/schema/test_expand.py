"""``${installable}`` in texts."""

from __future__ import annotations

import pytest

from nixbk.schema.expand import ExpansionError, expand, references

CASES = {
    "plain": ("a $b $ {c}", "a $b $ {c}", ()),
    "one": ("${.#web}/bin", "<.#web>/bin", (".#web",)),
    "escaped": ("$${x} $$$${y}", "${x} $${y}", ()),
    "escaped and not": ("$$${a}", "$<a>", ("a",)),
    "twice": ("${a}:${b}:${a}", "<a>:<b>:<a>", ("a", "b")),
}


@pytest.mark.parametrize(("text", "expanded", "names"), CASES.values(), ids=CASES)
def test_expansion(text: str, expanded: str, names: tuple[str, ...]) -> None:
    """Each reference is replaced, and nothing else changes."""
    assert expand(text, lambda name: f"<{name}>") == expanded
    assert references(text) == names


def test_what_does_not_end() -> None:
    """An open brace is an error, not text."""
    with pytest.raises(ExpansionError) as caught:
        references("a ${b")
    assert str(caught.value) == ("missing '}' after '${b'\n  hint: write '$$' for a dollar sign")
