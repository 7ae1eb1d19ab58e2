"""What an operation cannot be. Pure."""

from __future__ import annotations

from nixbk.errors import NixbkError


class LlbError(NixbkError):
    """An operation that BuildKit would refuse, or that would not be the same twice."""
