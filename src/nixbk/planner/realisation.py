"""What a step of a build left behind: the helper's result file. Pure.

The file is one line of canonical JSON::

    {"outputs":{"out":{"narHash":"sha256-…=","narSize":123,"path":"/nix/store/…",
     "references":["/nix/store/…"],"type":"directory"}},"version":1}

``type`` is ``directory``, ``regular`` or ``symlink``; a symlink has its ``target`` too, and an
output whose path follows from its content has a ``contentAddress``, and ``existing`` when an
input of the step was the very same, so that it is not in the step's own file system.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from nixbk.errors import NixbkError
from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import StorePath

if TYPE_CHECKING:
    from collections.abc import Mapping

FileType = Literal["directory", "regular", "symlink"]

RESULT_VERSION: Final = 1
_TYPES: Final = ("directory", "regular", "symlink")


class ResultError(NixbkError):
    """A result file is not one that this version of the helper writes."""


class RealisedOutput(NamedTuple):
    """One store object as it was found on the builder.

    Attributes:
        path: where it lives.
        nar_hash: SHA-256 of its NAR.
        nar_size_bytes: length of its NAR.
        references: store paths that occur in it, itself included, sorted.
        file_type: what its root is.
        target: where a symlink points; empty otherwise.
        content_address: how its path follows from its content, of floating outputs.
        existing: whether the step had it as an input, and did not keep it a second time.
    """

    path: StorePath
    nar_hash: Hash
    nar_size_bytes: int
    references: tuple[StorePath, ...]
    file_type: FileType = "directory"
    target: str = ""
    content_address: str = ""
    existing: bool = False


class Realisation(NamedTuple):
    """The outputs of one step, by output name."""

    outputs: Mapping[str, RealisedOutput]

    @classmethod
    def from_bytes(cls, data: bytes) -> Realisation:
        """Read a result file.

        Raises:
            ResultError: it is not a result file of this version.
        """
        try:
            document = json.loads(data)
            if document["version"] != RESULT_VERSION:
                raise ResultError(f"unknown version {document['version']!r} of a result file")
            return cls(
                {
                    str(name): _output(cast("dict[str, object]", fields))
                    for name, fields in document["outputs"].items()
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultError(f"malformed result file: {data[:200]!r}") from error

    def to_bytes(self) -> bytes:
        """The canonical form, as the helper writes it."""
        outputs = {name: _fields(output) for name, output in self.outputs.items()}
        document = {"version": RESULT_VERSION, "outputs": outputs}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _output(fields: dict[str, object]) -> RealisedOutput:
    file_type = fields["type"]
    if file_type not in _TYPES:
        raise ResultError(f"unknown file type {file_type!r} in a result file")
    size = fields["narSize"]
    if not isinstance(size, int) or size < 0:
        raise ResultError(f"{size!r} is no NAR size")
    return RealisedOutput(
        path=StorePath.parse(str(fields["path"])),
        nar_hash=Hash.parse(str(fields["narHash"])),
        nar_size_bytes=size,
        references=tuple(
            StorePath.parse(str(path)) for path in cast("list[object]", fields["references"])
        ),
        file_type=file_type,
        target=str(fields.get("target", "")).encode("latin-1").decode("utf-8", "surrogateescape"),
        content_address=str(fields.get("contentAddress", "")),
        existing=bool(fields.get("existing")),
    )


def _fields(output: RealisedOutput) -> dict[str, object]:
    fields: dict[str, object] = {
        "path": str(output.path),
        "narHash": output.nar_hash.sri(),
        "narSize": output.nar_size_bytes,
        "references": [str(path) for path in output.references],
        "type": output.file_type,
    }
    if output.file_type == "symlink":
        fields["target"] = byte_text(output.target)
    if output.content_address:
        fields["contentAddress"] = output.content_address
    if output.existing:
        fields["existing"] = True
    return fields


def byte_text(text: str) -> str:
    """*text* with one character for each of its bytes, as the helper's JSON has it."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")
