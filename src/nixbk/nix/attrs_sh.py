r"""Structured attributes as shell text: ``.attrs.sh``. Pure.

Grammar::

    file    = *( "declare " name "=" simple LF
               / "declare -a " name "=(" *( simple " " ) ")" LF
               / "declare -A " name "=(" *( "[" quoted "]=" simple " " ) ")" LF )
    name    = ( ALPHA / "_" ) *( ALPHA / DIGIT / "_" )
    simple  = quoted / integer / "''" (null) / "1" (true) / "" (false)
    quoted  = "'" text with each ' as '\\'' "'"

Attributes come sorted. One whose name or value has no such form is left out.

Source: ``StructuredAttrs::writeShell``, Nix ``src/libstore/parsed-derivations.cc``.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INT32: Final = 1 << 32
_INT32_MIN: Final = -(1 << 31)


def attrs_sh(attrs: Mapping[str, object]) -> str:
    """The ``.attrs.sh`` of *attrs*."""
    lines: list[str] = []
    for name in sorted(attrs):
        if _NAME.fullmatch(name):
            declaration = _declaration(name, attrs[name])
            if declaration is not None:
                lines.append(f"declare {declaration}\n")
    return "".join(lines)


def shell_quote(text: str) -> str:
    """Quote for a shell, whatever the text.

    Source: ``escapeShellArgAlways``, Nix ``src/libutil/util.cc``.
    """
    return "'" + text.replace("'", "'\\''") + "'"


def _declaration(name: str, value: object) -> str | None:
    match value:
        case list():
            items = [_simple(item) for item in value]
            if None in items:
                return None
            return f"-a {name}=({''.join(f'{item} ' for item in items)})"
        case dict():
            pairs = [(shell_quote(key), _simple(value[key])) for key in sorted(value)]
            if any(item is None for _, item in pairs):
                return None
            return f"-A {name}=({''.join(f'[{key}]={item} ' for key, item in pairs)})"
        case _:
            simple = _simple(value)
            return None if simple is None else f"{name}={simple}"


def _simple(value: object) -> str | None:
    match value:
        case str():
            return shell_quote(value)
        case None:
            return "''"
        case bool():
            return "1" if value else ""
        case int() | float():
            return _integer(value)
        case _:
            return None


def _integer(value: float) -> str | None:
    """A number whose 32-bit float is whole, cast to a C ``int``, as on x86-64.

    The casts lose what they lose: Nix prints 2**32 as 0 and 0.99999999999 as 0.
    """
    try:
        (single,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        single = math.inf
    if not math.isinf(single) and not float(single).is_integer():
        return None
    if isinstance(value, int):
        return str((value - _INT32_MIN) % _INT32 + _INT32_MIN)
    whole = math.trunc(value)
    return str(whole if _INT32_MIN <= whole < -_INT32_MIN else _INT32_MIN)
