"""Where an operation comes from in the user's own files. Pure."""

from __future__ import annotations

from typing import NamedTuple


class SourceFile(NamedTuple):
    """A file of the user's that BuildKit shows lines of when a step fails.

    Attributes:
        name: as it is shown.
        data: its whole text, sent with every definition that points at it.
        language: of its syntax, as GitHub's linguist names it.

    Source: ``pb.SourceInfo``.
    """

    name: str
    data: bytes
    language: str = "TOML"


class Origin(NamedTuple):
    """Why an operation is there; no part of its digest nor of its cache key.

    Attributes:
        key: dotted key of the manifest, ``images.web``.
        installable: as the user wrote it, or nothing.
        file: where *line* is, when BuildKit shall know it.
        line: 1 for the first, 0 for none.
        end_line: the last, *line* when 0.
    """

    key: str
    installable: str = ""
    file: SourceFile | None = None
    line: int = 0
    end_line: int = 0

    @property
    def located(self) -> bool:
        """Whether BuildKit can show the lines it came from."""
        return self.file is not None and self.line > 0

    def __str__(self) -> str:
        return f"{self.key}: {self.installable}" if self.installable else self.key
