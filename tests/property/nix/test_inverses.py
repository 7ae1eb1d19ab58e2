"""Reading and printing are inverses, whatever is printed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nix_values import derivations, digests, hashes, names, nix_strings, store_paths, trees

from nixbk.nix import aterm, base32, structured_attrs
from nixbk.nix.derivation import Derivation
from nixbk.nix.hashes import Hash
from nixbk.nix.nar import Data, Event, read, write
from nixbk.nix.store_path import StorePath


@given(st.binary(max_size=80))
def test_base32(data: bytes) -> None:
    """Every byte string has one text, of the length that is foretold."""
    text = base32.encode(data)
    assert base32.decode(text) == data
    assert len(text) == base32.encoded_length(len(data))


@given(st.text(base32.ALPHABET, max_size=60))
def test_base32_texts(text: str) -> None:
    """A text that is read is the one that is printed."""
    try:
        data = base32.decode(text)
    except base32.Base32Error:
        return
    assert base32.encode(data) == text


@given(hashes())
def test_hashes(known: Hash) -> None:
    """Every spelling of a hash is read as that hash."""
    for text in (known.base16(), known.base32(), known.base64()):
        assert Hash.parse(text, known.algorithm) == known
        assert Hash.parse(f"{known.algorithm}:{text}") == known
    assert Hash.parse(str(known)) == known


@given(digests, names)
def test_store_paths(digest: bytes, name: str) -> None:
    """A path is read as its parts."""
    path = StorePath(digest, name)
    again = StorePath.parse(str(path))
    assert (again, again.digest, again.name, hash(again)) == (path, digest, name, hash(path))
    assert StorePath.from_basename(path.basename) == path


@given(st.lists(store_paths))
def test_store_paths_sort_as_texts(paths: list[StorePath]) -> None:
    """The order of paths is that of their texts."""
    assert list(map(str, sorted(paths))) == sorted(map(str, paths))


@given(derivations())
def test_derivations(drv: Derivation) -> None:
    """A derivation is read as it was printed, field by field and byte by byte."""
    data = drv.to_bytes()
    again = Derivation.from_bytes(drv.name, data)
    assert again == drv
    assert (again.to_bytes(), again.source) == (data, drv.source)
    assert list(again.env) == sorted(again.env, key=aterm.to_bytes)


@given(derivations(), st.randoms(use_true_random=False))
def test_the_order_of_fields_is_nothing(drv: Derivation, random: object) -> None:
    """Fields that come in another order make the same derivation."""
    shuffled = Derivation(
        drv.name,
        dict(reversed(drv.outputs.items())),
        dict(reversed(drv.input_drvs.items())),
        tuple(reversed(drv.input_srcs)),
        drv.system,
        drv.builder,
        drv.args,
        dict(reversed(drv.env.items())),
    )
    assert shuffled.to_bytes() == drv.to_bytes()


@given(derivations(), nix_strings)
def test_variables_are_found_in_the_text(drv: Derivation, other: str) -> None:
    """The value of a variable is where it is said to be."""
    for name, value in drv.env.items():
        if name.isalnum() and name.isascii():
            span = aterm.find_variable(drv.source, name)
            assert span is not None
            start, end = span
            assert drv.to_bytes()[start - 1 : end + 1] == aterm.to_bytes(aterm.quote(value))
    if other.isalnum() and other.isascii() and other not in drv.env:
        assert aterm.find_variable(drv.source, other) is None


def _joined(events: list[Event]) -> list[Event]:
    """The events with the data of each file in one piece."""
    joined: list[Event] = []
    for event in events:
        if isinstance(event, Data) and joined and isinstance(joined[-1], Data):
            joined[-1] = Data(joined[-1].chunk + event.chunk)
        else:
            joined.append(event)
    return joined


@given(trees(), st.integers(1, 100))
def test_archives(tree: list[Event], size: int) -> None:
    """A tree is read as it was written, however the archive is cut."""
    data = b"".join(write(tree))
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    assert _joined(list(read(chunks))) == tree
    assert b"".join(write(read(chunks))) == data


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), _json, max_size=4))
def test_structured_attributes(attrs: dict[str, object]) -> None:
    """What is printed is read as it was, and printed again the same."""
    text = structured_attrs.dump(attrs)
    again = structured_attrs.parse(text)
    assert again == attrs
    assert structured_attrs.dump(again) == text
