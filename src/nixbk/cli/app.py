"""The command line: commands, exit codes, and how errors are shown. Effect: prints.

Exit codes::

    0    done; for ``plan --detailed-exitcode``: done, and nothing to do
    1    an error of the manifest, the lock, the engine or nixbk
    2    wrong usage; for ``plan --detailed-exitcode``: done, and there are changes
    100  a derivation failed to build
    101  a build took too long
    102  a fixed output has another hash than its derivation says
    104  built again, a derivation came out otherwise
    130  interrupted

Codes from 100 to 111 are 96 and a sum of: 1 too long (with 4), 2 another hash (with 4), 4 failed,
8 came out otherwise; so they tell of several failures, too.
"""

from __future__ import annotations

import signal
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from nixbk import __version__
from nixbk.cli.commands import LazyGroup
from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

INTERRUPTED = 130
INTERRUPT_GRACE_S = 20
COLUMNS = 80

app = typer.Typer(
    name="nixbk",
    cls=LazyGroup,
    help=(
        "Container images from Nix, built by BuildKit.\n\n"
        "Write a manifest, nixbk.toml; pin it with 'nixbk lock'; see with 'nixbk plan' what is "
        "missing; and have it with 'nixbk apply'."
    ),
    epilog=(
        "Exit codes: 0 done; 1 an error; 2 wrong usage, or changes for 'plan --detailed-exitcode'; "
        "100 a derivation failed to build; 101 a build took too long; 102 a fixed output has "
        "another hash than its derivation says; 104 built again, a derivation came out otherwise; "
        "130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _version(given: bool) -> None:  # noqa: FBT001  typer calls it so
    if given:
        typer.echo(f"nixbk {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    del version


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: what the user gave, without the program's name.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(list(arguments), standalone_mode=False)
    except NixbkError as error:
        return _report(error)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("nixbk: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        # typer's errors of usage, which it does not name in public
        show, usage_code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is None or not isinstance(usage_code, int):
            raise
        show()
        return usage_code
    if code == INTERRUPTED:  # what typer makes of KeyboardInterrupt
        typer.echo("nixbk: interrupted", err=True)
    return code if isinstance(code, int) else 0


def _report(error: NixbkError) -> int:
    place = f"{error.where}: " if error.where else ""
    typer.echo(f"nixbk: {place}{error.message}", err=True)
    if error.hint:
        lines = textwrap.wrap(
            error.hint,
            COLUMNS,
            initial_indent="  hint: ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        typer.echo("\n".join(lines), err=True)
    return int(getattr(error, "exit_code", 1))


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    import threading

    # Whatever still hangs then: the builder ends what this process asked for when it is gone.
    timer = threading.Timer(INTERRUPT_GRACE_S, _give_up)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _give_up() -> NoReturn:
    import os

    os.write(2, b"nixbk: interrupted\n")
    os._exit(INTERRUPTED)
