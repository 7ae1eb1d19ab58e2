"""What is wrong with a file of the user's, said once for every place at fault.

An error of a document reads ``file:line:column: key: message``, one line for each
problem, with hints on lines of their own. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Sequence

KeyPath = tuple[str | int, ...]
"""The way to a value of a document: names of tables and indexes of arrays."""


def show_key(path: KeyPath) -> str:
    """A key path as TOML would write it, with indexes in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{quote_key(step)}" if text else quote_key(step)
    return text


def quote_key(name: str) -> str:
    """One key as TOML writes it: bare when it can be, else in double quotes."""
    if name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Problem(NamedTuple):
    """One thing wrong with a document.

    Attributes:
        path: the key at fault.
        message: what is wrong, in the words of an error.
        hint: one sentence the user can act on.
        at_key: whether the key itself is at fault, and not its value.
        position: line and column, both from 1, when they are known without a look-up.
    """

    path: KeyPath
    message: str
    hint: str | None = None
    at_key: bool = False
    position: tuple[int, int] | None = None


class LocatedProblem(NamedTuple):
    """A problem and the place of it: ``where`` is ``file:line:column: key``."""

    where: str
    message: str
    hint: str | None = None


class DocumentError(NixbkError):
    """A file of the user's breaks its format; says so for every key at fault.

    Attributes:
        problems: all of them, in the order of the file.
    """

    def __init__(self, problems: Sequence[LocatedProblem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        if len(self.problems) == 1:
            super().__init__(first.message, where=first.where, hint=first.hint)
            return
        hints = (f" ({p.hint})" if p.hint else "" for p in self.problems)
        lines = [
            f"{p.where}: {p.message}{hint}" for p, hint in zip(self.problems, hints, strict=True)
        ]
        super().__init__("\n".join(lines))


class ManifestError(DocumentError):
    """The manifest breaks its format."""


class LockError(DocumentError):
    """The lock breaks its format, or does not prove itself."""


def locate_problems(
    problems: Sequence[Problem], text: bytes, filename: str
) -> tuple[LocatedProblem, ...]:
    """The problems with their places in *text*, in the order of the file.

    Imports tree-sitter, and so is for the way of errors alone.
    """
    from nixbk.schema.positions import Positions  # noqa: PLC0415 - heavy, for errors only

    positions = Positions(text)
    rows = []
    for problem in problems:
        place = problem.position or positions.find(problem.path, at_key=problem.at_key)
        where = f"{filename}:{place[0]}:{place[1]}"
        if problem.path:
            where += f": {show_key(problem.path)}"
        rows.append((place, LocatedProblem(where, problem.message, problem.hint)))
    rows.sort(key=lambda row: row[0])
    return tuple(located for _, located in rows)
