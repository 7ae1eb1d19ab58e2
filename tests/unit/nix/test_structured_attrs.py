from __future__ import annotations

import pytest

from nixbk.nix.aterm import DerivationError
from nixbk.nix.structured_attrs import dump, parse

# As Nix 2.34.8 writes them to .attrs.json.
PRINTED = {
    "empty": ("{ }", "{}"),
    "sorted": ('{"b": 1, "a": {"d": [], "c": {}}}', '{"a":{"c":{},"d":[]},"b":1}'),
    "last of two": ('{"a": 1, "a": 2}', '{"a":2}'),
    "simple values": ('{"a": [null, true, false, "x"]}', '{"a":[null,true,false,"x"]}'),
    "escapes": (
        r'{"a": "\u0001\b\f\n\r\t\"\\\/\u007f\u00e9\ud83d\ude00"}',
        '{"a":"\\u0001\\b\\f\\n\\r\\t\\"\\\\/\x7fé😀"}',
    ),
    "integers": (
        '{"a": [0, -0, -9223372036854775808, 18446744073709551615]}',
        '{"a":[0,0,-9223372036854775808,18446744073709551615]}',
    ),
    "long integers": (
        '{"a": [18446744073709551616, -9223372036854775809, 1' + "0" * 30 + "]}",
        '{"a":[1.8446744073709552e+19,-9.223372036854776e+18,1e+30]}',
    ),
    "floats": (
        '{"a": [1.50, 2.0, -0.0, 0.1, 1e5, 1e15, 1e14, 0.0001, 0.00001, 1.25e22, 5e-324]}',
        '{"a":[1.5,2.0,-0.0,0.1,100000.0,1e+15,100000000000000.0,0.0001,1e-05,1.25e+22,5e-324]}',
    ),
    "more digits than needed": ('{"a": 0.100000000000000005551}', '{"a":0.1}'),
    "as many digits as Nix may print": (
        '{"a": 0.30000000000000004}',
        '{"a":0.30000000000000004}',
    ),
}


@pytest.mark.parametrize(("text", "printed"), PRINTED.values(), ids=PRINTED)
def test_json_is_printed_as_nix_does(text: str, printed: str) -> None:
    """Keys are sorted, spaces dropped, numbers and strings spelled in Nix's way."""
    assert dump(parse(text)) == printed
    assert dump(parse(printed)) == printed


DEEP = 100_000
BAD = {
    "empty": (
        "",
        "the structured attributes are no JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    "list": ("[]", "the structured attributes are no JSON object"),
    "cut": (
        '{"a": "',
        (
            "the structured attributes are no JSON: Unterminated string starting at:"
            " line 1 column 7 (char 6)"
        ),
    ),
    "not a number": ('{"a": NaN}', "'NaN' in the structured attributes is no JSON number"),
    "infinite": ('{"a": 1e999}', "a number of the structured attributes is out of range"),
    "endless digits": (
        '{"a": ' + "9" * 10_000 + "}",
        "a number of the structured attributes is out of range",
    ),
    "deep list": (
        '{"a": ' + "[" * DEEP + "]" * DEEP + "}",
        "the structured attributes are nested too deeply",
    ),
    "deep object": (
        '{"a": ' * DEEP + "1" + "}" * DEEP,
        "the structured attributes are nested too deeply",
    ),
    "half a surrogate": (r'{"a": "\ud800"}', "the structured attributes are no UTF-8"),
    "bytes": ('{"a": "\udcff"}', "the structured attributes are no UTF-8"),
    "control character": (
        '{"a": "\n"}',
        (
            "the structured attributes are no JSON: Invalid control character at: line 1 column 8"
            " (char 7)"
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_json_is_refused(text: str, message: str) -> None:
    """What Nix could not have written gives one error, however deep or long it is."""
    with pytest.raises(DerivationError) as caught:
        parse(text)
    assert str(caught.value) == message
