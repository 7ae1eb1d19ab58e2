"""Commands are imported when they are asked for, and are all there."""

from __future__ import annotations

from pathlib import Path

import pytest

from nixbk.cli import commands
from nixbk.cli.app import run
from nixbk.cli.commands import NAMES, Commands


def test_every_name_has_a_command() -> None:
    """Each is called by its name, and has a line of help."""
    for name, command in Commands().items():
        assert command.name == name
        assert command.get_short_help_str()
    assert list(Commands()) == list(NAMES)
    assert len(Commands()) == len(NAMES)


def test_a_name_that_is_none() -> None:
    """Nothing is imported because of what a user types."""
    with pytest.raises(KeyError):
        Commands()["options"]
    assert "options" not in Commands()


def test_one_command_alone_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others cost nothing."""
    loaded: list[str] = []
    load = commands._load

    def note(name: str) -> object:
        loaded.append(name)
        return load(name)

    monkeypatch.setattr(commands, "_load", note)
    assert run(["version"]) == 0
    assert set(loaded) == {"version"}


def test_a_slip_of_the_pen(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest commands are named."""
    assert run(["lok"]) == 2
    assert "No such command 'lok'. Did you mean 'lock', 'log'?" in capsys.readouterr().err


def test_the_help_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    """As it did when all were imported."""
    assert run(["--help"]) == 0
    page = Path(__file__).parents[3] / "cli" / "nixbk.txt"
    shown = capsys.readouterr().out.split()[2:]  # behind the name, which is that of this program
    assert shown == page.read_text().split()[2:]
