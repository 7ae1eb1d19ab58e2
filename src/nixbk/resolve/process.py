"""Runs a program to its end, and shows what it says meanwhile.

Effect: starts processes, which end before their call returns.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

KEPT_LINES = 2000
"""How much of a failing program's messages is kept."""


class Done(NamedTuple):
    """A program that ended.

    Attributes:
        status: its exit status; negative for a signal.
        output: all of its standard output.
        messages: the last lines of its standard error.
    """

    status: int
    output: bytes
    messages: tuple[str, ...]


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Done:
    """Run *command* with nothing on its standard input.

    When the call is interrupted the program is ended before the interruption goes on.

    Raises:
        FileNotFoundError: there is no such program.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment,
    )
    assert process.stdout is not None  # noqa: S101 - it was asked for
    assert process.stderr is not None  # noqa: S101 - it was asked for
    lines: list[str] = []
    reader = threading.Thread(target=_collect, args=(process.stderr, lines, on_line), daemon=True)
    reader.start()
    with ended(process):
        output = process.stdout.read()
        reader.join()
        status = process.wait()
    return Done(status, output, tuple(lines))


def _collect(stream: IO[bytes], lines: list[str], on_line: Callable[[str], None] | None) -> None:
    for line in stream:
        text = line.decode(errors="replace").rstrip("\r\n")
        lines.append(text)
        if len(lines) > KEPT_LINES:
            del lines[: KEPT_LINES // 2]
        if on_line is not None:
            on_line(text)


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """See to it that *process* is no more when the block is left."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
