"""The JSON of structured attributes, read and printed as Nix does. Pure.

Nix keeps structured attributes as one JSON text in the environment variable
``__json`` and prints them again, keys sorted, without spaces, for the builder.
Its library prints numbers in its own way::

    integer = what fits 64 bits, signed or not; anything longer is a float
    float   = digits "." digits         ; up to 15 digits before the point,
                                        ; up to 3 zeros behind it
            / digit ["." digits] "e" sign 2*digits

Source: ``StructuredAttrs``, Nix ``src/libstore/parsed-derivations.cc``;
``serializer::dump`` and ``to_chars`` of nlohmann/json 3.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn, Self

from nixbk.nix.aterm import DerivationError

ENV_VAR: Final = "__json"

_INT64_MIN: Final = -(1 << 63)
_UINT64_MAX: Final = (1 << 64) - 1
_INT_DIGITS: Final = 20
_FLOAT_DIGITS: Final = 17
_LONGEST_FLOAT: Final = 40
_FIXED_POINTS: Final = range(-3, 16)


class JsonFloat(float):
    """A float that knows how Nix prints it.

    Nix's shortest digits are not always the shortest there are. A text that
    Nix printed is therefore kept as it is, and only others are made anew.
    """

    __slots__ = ("printed",)
    printed: str

    def __new__(cls, text: str) -> Self:
        """The number that *text* is."""
        number = super().__new__(cls, text)
        number.printed = _print_float(number)
        if number and len(text) < _LONGEST_FLOAT:
            written = Decimal(text).normalize()
            few_digits = len(written.as_tuple().digits) <= _FLOAT_DIGITS
            if few_digits and _layout(written) == text:
                number.printed = text
        return number

    __hash__ = float.__hash__


def parse(text: str) -> dict[str, Any]:
    """The object that *text* is; the inverse of `dump` for what Nix prints.

    Raises:
        DerivationError: *text* is no JSON object, or nested too deeply to be read.
    """
    try:
        text.encode("utf-8")
        value = json.loads(
            text, parse_float=_parse_float, parse_int=_parse_int, parse_constant=_refuse
        )
        dump(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DerivationError("the structured attributes are no UTF-8") from error
    except RecursionError:
        raise DerivationError("the structured attributes are nested too deeply") from None
    except ValueError as error:
        raise DerivationError(f"the structured attributes are no JSON: {error}") from error
    if not isinstance(value, dict):
        raise DerivationError("the structured attributes are no JSON object")
    return value


def dump(value: object) -> str:
    """Print JSON as Nix does: keys sorted, no spaces, nothing escaped without need."""
    parts: list[str] = []
    _dump(value, parts)
    return "".join(parts)


def _dump(value: object, parts: list[str]) -> None:
    match value:
        case str():
            parts.append(encode_basestring(value))
        case dict():
            separator = "{"
            for key in sorted(value):
                parts += separator, encode_basestring(key), ":"
                _dump(value[key], parts)
                separator = ","
            parts.append("}" if value else "{}")
        case list() | tuple():
            separator = "["
            for item in value:
                parts.append(separator)
                _dump(item, parts)
                separator = ","
            parts.append("]" if value else "[]")
        case JsonFloat():
            parts.append(value.printed)
        case float():
            parts.append(_print_float(value))
        case _:
            parts.append(json.dumps(value))


def _parse_int(text: str) -> int | float:
    if len(text) <= _INT_DIGITS:
        number = int(text)
        if _INT64_MIN <= number <= _UINT64_MAX:
            return number
    return _parse_float(text)


def _parse_float(text: str) -> float:
    number = JsonFloat(text)
    if math.isinf(number):
        raise DerivationError("a number of the structured attributes is out of range")
    return number


def _refuse(text: str) -> NoReturn:
    raise DerivationError(f"{text!r} in the structured attributes is no JSON number")


def _print_float(number: float) -> str:
    if not number or math.isinf(number):
        return repr(float(number))
    return _layout(Decimal(repr(float(number))).normalize())


def _layout(number: Decimal) -> str:
    """Source: ``format_buffer`` of nlohmann/json 3."""
    negative, digit_tuple, _ = number.as_tuple()
    digits = "".join(map(str, digit_tuple))
    sign = "-" if negative else ""
    point = number.adjusted() + 1
    if point not in _FIXED_POINTS:
        mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
        return f"{sign}{mantissa}e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}"
