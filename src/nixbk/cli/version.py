"""``nixbk version``. Effect: prints."""

from __future__ import annotations

import typer

from nixbk import __version__


def version() -> None:
    """Print the version."""
    typer.echo(f"nixbk {__version__}")
