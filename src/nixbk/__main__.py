"""The program's entry: ``nixbk`` and ``python -m nixbk``.

Only what a command needs is imported, so that help and version are quick.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    gc.set_threshold(500_000)  # what start-up and graphs make stays: garbage is looked for later
    if sys.argv[1:] in (["--version"], ["version"]):
        from nixbk import __version__  # noqa: PLC0415  nothing else is needed for this

        sys.stdout.write(f"nixbk {__version__}\n")
        return
    from nixbk.cli.app import run  # noqa: PLC0415  typer takes a tenth of a second

    code = run(sys.argv[1:])
    gc.freeze()  # else the interpreter looks for garbage in all there is before it ends
    sys.exit(code)


if __name__ == "__main__":
    main()
