"""Laws of the manifest and the lock over generated documents."""

from __future__ import annotations

import contextlib
import string

from fetched import KEY, PART
from hypothesis import given
from hypothesis import strategies as st
from proven import lock

from nixbk.nix.signatures import fingerprint, verify
from nixbk.schema.expand import ExpansionError, expand, references
from nixbk.schema.installable import Installable, InstallableError
from nixbk.schema.lock_document import to_bytes
from nixbk.schema.lock_file import parse_lock
from nixbk.schema.manifest_file import parse_manifest
from nixbk.schema.positions import Positions
from nixbk.schema.problems import LockError, ManifestError, show_key

# Nix's strings are bytes without NUL.
TEXTS = st.binary(max_size=40).map(
    lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
GRAPHS = st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=8)


def _graph(rows: list[list[int]]) -> dict[str, list[str]]:
    """Derivations that need earlier ones; the last needs all."""
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows):
        found[f"p{number}"] = [f"p{n}" for n in sorted({n % number for n in row})] if number else []
    return {**found, "last": list(found)}


@given(GRAPHS, st.dictionaries(NAMES, TEXTS, max_size=4))
def test_every_lock_comes_back(rows: list[list[int]], env: dict[str, str]) -> None:
    """Whatever recipes hold, reading is the inverse of writing, and writing repeats itself."""
    inputs = _graph(rows)
    held = lock(inputs, env=dict.fromkeys(inputs, env))
    text = to_bytes(held)
    assert parse_lock(text) == held
    assert to_bytes(parse_lock(text)) == text


SMALL = to_bytes(lock({"zlib": [], "hello": ["zlib"]}, with_shell=True))


@given(st.integers(0, len(SMALL) - 1), st.binary(min_size=1, max_size=3))
def test_an_edited_lock_is_never_believed(position: int, patch: bytes) -> None:
    """A lock either says what it said, or is refused with a place."""
    text = SMALL[:position] + patch + SMALL[position + len(patch) :]
    try:
        read = parse_lock(text)
    except LockError as error:
        assert all(problem.where.startswith("nixbk.lock:") for problem in error.problems)  # noqa: PT017
        return
    # What no recipe and no hash proves is what the manifest is held against.
    assert read.derivations == parse_lock(SMALL).derivations
    assert set(read.sources) == set(parse_lock(SMALL).sources)


FETCHED = to_bytes(PART)


@given(st.integers(0, len(FETCHED) - 1), st.binary(min_size=1, max_size=3))
def test_an_edited_lock_of_what_is_fetched_is_never_believed(position: int, patch: bytes) -> None:
    """What a cache said is refused as it is changed, or held against its signature."""
    text = FETCHED[:position] + patch + FETCHED[position + len(patch) :]
    try:
        read = parse_lock(text)
    except LockError as error:
        assert all(problem.where.startswith("nixbk.lock:") for problem in error.problems)  # noqa: PT017
        return
    held = parse_lock(FETCHED)
    assert read.derivations == held.derivations
    keys = {KEY.name: KEY.public}
    for path, found in read.substitutes.items():
        signed = fingerprint(path, found.nar_hash, found.nar_size, found.references)
        if any(verify(signed, signature, keys) for signature in found.signatures):
            known = held.substitutes[path]
            assert (found.nar_hash, found.nar_size, found.references) == (
                known.nar_hash,
                known.nar_size,
                known.references,
            )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_an_error(data: bytes) -> None:
    """No text makes a reader fail in another way."""
    with contextlib.suppress(ManifestError):
        parse_manifest(data)
    with contextlib.suppress(LockError):
        parse_lock(data)
    Positions(data)


VALUES = st.recursive(
    st.integers() | st.text(max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["images", "inputs", "sandbox", "substituters", "x"]), VALUES)
)
def test_any_document_is_a_manifest_or_has_problems(document: dict[str, object]) -> None:
    """Values of every type, anywhere, give errors with their places."""
    import tomli_w

    with contextlib.suppress(ManifestError):
        parse_manifest(tomli_w.dumps(document).encode())


KEYS = ["installables", "name", "env", "outputs", "layers", "platforms", "ports", "user", "labels"]


@given(st.dictionaries(st.sampled_from(KEYS), VALUES | st.lists(st.text(max_size=8), max_size=3)))
def test_any_image_is_one_or_has_problems(image: dict[str, object]) -> None:
    """The same one level deeper, where the models are richer."""
    import tomli_w

    with contextlib.suppress(ManifestError):
        parse_manifest(tomli_w.dumps({"images": {"x": image}}).encode())


@given(st.text(alphabet=string.printable + "é", max_size=30))
def test_any_text_is_an_installable_or_an_error(text: str) -> None:
    """An installable keeps the user's text, and its parts are never empty."""
    try:
        installable = Installable.parse(text)
    except InstallableError:
        return
    assert installable.text == text
    assert installable.target
    assert "" not in installable.attribute


@given(st.text(alphabet="${}ab", max_size=20))
def test_expansion_without_references_only_unescapes(text: str) -> None:
    """Escaped text comes back whole; references are exactly what is replaced."""
    assert expand(text.replace("$", "$$"), lambda _: "?") == text
    with contextlib.suppress(ExpansionError):
        marked = expand(text, lambda name: f"<{name}>")
        assert marked.count("<") >= len(references(text))


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_places_of_keys_are_those_that_toml_has(keys: list[str]) -> None:
    """Any key, as it is shown, is a key of TOML, and is found where it stands."""
    text = f"\n{show_key(tuple(keys))} = 1".encode()
    if all(key.isprintable() for key in keys):
        assert Positions(text).find(tuple(keys))[0] == 2
