"""``${installable}`` in the texts of a manifest.

::

    text      = *( character | "$$" | "${" installable "}" )

``$$`` is one dollar sign; a dollar sign before anything else is itself. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(r"\$\$|\$\{([^}]*)(\}?)")


class ExpansionError(NixbkError):
    """A ``${`` that does not end, or that names nothing."""


def references(text: str) -> tuple[str, ...]:
    """The installables that *text* names, in order, each once.

    Raises:
        ExpansionError: a ``${`` does not end.
    """
    found: dict[str, None] = {}

    def note(name: str) -> str:
        found[name] = None
        return ""

    expand(text, note)
    return tuple(found)


def expand(text: str, path_of: Callable[[str], str]) -> str:
    """*text* with every ``${installable}`` replaced by what *path_of* says.

    Raises:
        ExpansionError: a ``${`` does not end.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if not match[2]:
            raise ExpansionError(
                f"missing '}}' after {match[0][:40]!r}", hint="write '$$' for a dollar sign"
            )
        return path_of(match[1])

    return _TOKEN.sub(replace, text)
