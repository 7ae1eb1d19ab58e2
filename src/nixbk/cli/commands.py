"""The commands of the command line, each imported when it is asked for. Effect: imports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

NAMES: Final = ("init", "lock", "plan", "apply", "build", "log", "version", "cache")
"""In the order of the help; each has a module of its name in this package."""


class Commands(Mapping[str, Any]):
    """All commands by their names, as typer has them."""

    def __getitem__(self, name: str) -> Any:
        if name not in NAMES:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


class LazyGroup(TyperGroup):
    """A group of commands that are imported when they are asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": Commands()})


@cache
def _load(name: str) -> Any:
    module = import_module(f"nixbk.cli.{name}")
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if hasattr(module, "app"):  # it has commands below it
        alone.add_typer(module.app)
    else:
        alone.command()(getattr(module, name))
    return typer.main.get_group(alone).commands[name]
