"""What an image cannot be. Pure."""

from __future__ import annotations

from nixbk.errors import NixbkError


class ImageError(NixbkError):
    """An image that cannot be put together, or that no engine could run."""
