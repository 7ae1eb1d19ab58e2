"""Solves outputs within one running build. Effect: calls to BuildKit, from any thread."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from nixbk.buildkit.errors import BuildFailed
from nixbk.errors import NixbkError
from nixbk.llb.marshal import MAX_DEFINITION_BYTES, Marshaller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.buildkit.protocols import Build, Ref
    from nixbk.llb.vertex import Output


class Solver:
    """A running build that takes outputs and remembers what their definitions share.

    Attributes:
        largest_definition_bytes: of those sent so far.
    """

    def __init__(self, build: Build, faults: Sequence[NixbkError] = ()) -> None:
        """Solve within *build*; *faults* fills with what the builder asked for in vain."""
        self.build = build
        self._faults = faults
        self.largest_definition_bytes = 0
        self._marshaller = Marshaller()
        self._lock = Lock()

    def solve(self, output: Output) -> Ref:
        """Make *output* exist.

        Raises:
            BuildFailed: an operation failed.
            SourceError: a source that BuildKit asked for is not what was locked.
            NixbkError: its definition is longer than BuildKit takes.
        """
        with self._lock:
            definition, size_bytes = self._marshaller.marshal(output)
            self.largest_definition_bytes = max(self.largest_definition_bytes, size_bytes)
        if size_bytes > MAX_DEFINITION_BYTES:
            raise NixbkError(
                f"its definition has {size_bytes:,} bytes; BuildKit takes "
                f"{MAX_DEFINITION_BYTES:,} at most",
                where=output.vertex.name,
            )
        try:
            ref = self.build.solve(definition, evaluate=True)
        except BuildFailed as error:
            if self._faults:
                raise self._faults[0] from error
            raise
        if ref is None:
            raise NixbkError("BuildKit returned nothing", where=output.vertex.name)
        return ref

    def read(self, output: Output, path: str) -> bytes:
        """Make *output* exist and read one of its files."""
        return self.build.read_file(self.solve(output), path)

    def cancel(self) -> None:
        """Abandon everything under way."""
        self.build.cancel()
