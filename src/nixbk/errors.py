"""The one error type nixbk raises on purpose. Pure."""

from __future__ import annotations


class NixbkError(Exception):
    """An error nixbk raises on purpose, written for the person who meets it.

    Attributes:
        message: what is wrong: lower case, no final stop, the user's text as its ``repr``.
        where: the place at fault: ``file:line:column: key`` of a file, or a store path.
        hint: one sentence the user can act on.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text
