"""Places of keys in TOML documents."""

from __future__ import annotations

import pytest

from nixbk.schema.positions import Positions

TEXT = """\
a = 1
"b c".d = [ 1, # one
  { e = 2 },
]
[t.'u.v']
w.x = 3
[[r]]
k = 1
[[r]]
k = 2
[r.s]
m = [[1, 2], [3]]
[[r.q]]
n = 1
[[r.q]]
n = { o = { p = 1 } }
[t.z]
é = "x"
""".encode()

PLACES = {
    "value": (("a",), False, (1, 5)),
    "key": (("a",), True, (1, 1)),
    "array": (("b c", "d"), False, (2, 11)),
    "dotted key": (("b c", "d"), True, (2, 7)),
    "element behind a comment": (("b c", "d", 1), False, (3, 3)),
    "in an inline table": (("b c", "d", 1, "e"), False, (3, 9)),
    "quoted table": (("t", "u.v", "w", "x"), False, (6, 7)),
    "table": (("t", "u.v"), True, (5, 4)),
    "second of an array of tables": (("r", 1, "k"), False, (10, 5)),
    "first of an array of tables": (("r", 0, "k"), False, (8, 5)),
    "table in the last element": (("r", 1, "s", "m", 1, 0), False, (12, 15)),
    "array of tables within": (("r", 1, "q", 1, "n", "o", "p"), False, (16, 17)),
    "missing key": (("r", 1, "s", "zz"), False, (11, 4)),
    "missing table": (("zz", "y"), False, (1, 1)),
    "nothing": ((), False, (1, 1)),
}


@pytest.mark.parametrize(("path", "at_key", "place"), PLACES.values(), ids=PLACES)
def test_places(path: tuple[str | int, ...], at_key: bool, place: tuple[int, int]) -> None:
    """Every kind of key is found where it stands; a missing one at the nearest above it."""
    assert Positions(TEXT).find(path, at_key=at_key) == place


def test_broken_text_has_places_still() -> None:
    """Text that is no TOML gives what can be told of it, and no error."""
    assert Positions(b"a = [1,\n[t]\nb = ").find(("t", "b")) is not None
    assert Positions(b"\xff\x00[[[").find(("a",)) == (1, 1)
