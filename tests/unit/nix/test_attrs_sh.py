from __future__ import annotations

import pytest

from nixbk.nix.attrs_sh import attrs_sh
from nixbk.nix.structured_attrs import parse

# As Nix 2.34.8 writes them to .attrs.sh.
VALUES = {
    "string": ('{"a": "it\'s \\n $x"}', "declare a='it'\\''s \n $x'\n"),
    "integers": ('{"a": 42, "b": -7}', "declare a=42\ndeclare b=-7\n"),
    "integers beyond 32 bits": (
        '{"a": 4294967297, "b": 9223372036854775807, "c": 2147483648}',
        "declare a=1\ndeclare b=-1\ndeclare c=-2147483648\n",
    ),
    "whole floats": (
        '{"a": 2.0, "b": -0.0, "c": 1e9}',
        "declare a=2\ndeclare b=0\ndeclare c=1000000000\n",
    ),
    "floats beyond 32 bits": (
        '{"a": 3e10, "b": 1e300, "c": -3e10}',
        "declare a=-2147483648\ndeclare b=-2147483648\ndeclare c=-2147483648\n",
    ),
    "a float that is nearly whole": ('{"a": 0.99999999999}', "declare a=0\n"),
    "a broken float": ('{"a": 1.5}', ""),
    "null": ('{"a": null}', "declare a=''\n"),
    "booleans": ('{"a": true, "b": false}', "declare a=1\ndeclare b=\n"),
    "empty list": ('{"a": []}', "declare -a a=()\n"),
    "list": (
        '{"a": ["x", 1, true, false, null]}',
        "declare -a a=('x' 1 1  '' )\n",
    ),
    "list of lists": ('{"a": [["x"]]}', ""),
    "list with a broken float": ('{"a": ["x", 1.5]}', ""),
    "empty object": ('{"a": {}}', "declare -A a=()\n"),
    "object": (
        '{"a": {"y": "x", "b c": 1}}',
        "declare -A a=(['b c']=1 ['y']='x' )\n",
    ),
    "object of objects": ('{"a": {"b": {}}}', ""),
    "names": (
        '{"_": 1, "A1": 1, "1a": 1, "a-b": 1, "a b": 1, "": 1, "é": 1, "a\\n": 1}',
        "declare A1=1\ndeclare _=1\n",
    ),
}


@pytest.mark.parametrize(("text", "expected"), VALUES.values(), ids=VALUES)
def test_values_become_declarations(text: str, expected: str) -> None:
    """Each value that the shell can hold is declared; what it cannot hold is left out."""
    assert attrs_sh(parse(text)) == expected
