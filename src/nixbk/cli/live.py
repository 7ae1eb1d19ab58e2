"""What is being built, at the foot of a terminal; elsewhere just lines. Effect: prints."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nixbk.apply.logs import StepLogs
    from nixbk.apply.progress import Progress, Running

    Say = Callable[[str], None]

REFRESHES_PER_S: Final = 4
SHOWN: Final = 8
NAME_WIDTH: Final = 28


@contextmanager
def lines(*, err: bool, logs: bool, keep: Path) -> Iterator[tuple[Say, Progress]]:
    """A function that prints a line, and progress told through it.

    Args:
        err: whether to print on standard error.
        logs: whether every line of every builder is printed.
        keep: the folder that logs are kept in.
    """
    from nixbk.apply.logs import StepLogs

    with StepLogs(keep) as kept, _lines(kept, err=err, logs=logs) as found:
        yield found


@contextmanager
def _lines(keep: StepLogs, *, err: bool, logs: bool) -> Iterator[tuple[Say, Progress]]:
    from nixbk.apply.progress import Progress

    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():

        def say(line: str) -> None:
            typer.echo(line, err=err)

        yield say, Progress(say, logs=logs, keep=keep)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=err, highlight=False, markup=False, soft_wrap=True)
    progress = Progress(console.print, logs=logs, starts=False, keep=keep)
    with Live(
        console=console,
        get_renderable=lambda: running_lines(progress.running(), console.width, progress.fetches()),
        refresh_per_second=REFRESHES_PER_S,
        transient=True,
    ):
        yield console.print, progress


def running_lines(running: tuple[Running, ...], width: int, above: str = "") -> str:
    """One line for each build or download that runs, no longer than the terminal is wide.

    Args:
        running: what is being built or fetched.
        width: columns of the terminal.
        above: a line of its own; empty for none.
    """
    found = [above[: max(width - 1, 1)]] if above else []
    for build in running[:SHOWN]:
        name = build.name[:NAME_WIDTH]
        text = f"  {build.elapsed_s:5.0f} s  {name:{NAME_WIDTH}}  {build.line.strip()}"
        printable = "".join(c if c.isprintable() else " " for c in text)
        found.append(printable[: max(width - 1, 1)])
    if len(running) > SHOWN:
        found.append(f"           and {len(running) - SHOWN} more")
    return "\n".join(found)
