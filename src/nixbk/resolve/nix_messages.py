"""What Nix says when it fails, made short: its own words, without the trace. Pure.

::

    messages = *( warning / progress ) error
    error    = "error:" ( text / *( frame ) "error:" text )
    frame    = "…" text, source lines
    version  = program " (" name ") " number "." number rest
"""

from __future__ import annotations

import re

MAX_LINES = 12
"""How many lines of a message are shown."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_VERSION = re.compile(r"((\d+)\.(\d+)\S*)\s*$")
_HINTS = (
    ("in restricted mode", "declare what lies outside of the manifest's folder as an input"),
    ("in pure evaluation mode", "a locked flake cannot use what is not pinned"),
    ("requires lock file changes", "run 'nix flake lock' in the flake"),
    ("cannot update unlocked flake input", "run 'nix flake lock' in the flake"),
    ("experimental Nix feature", "add it to 'extra-experimental-features' in nix.conf"),
)


def summary(messages: tuple[str, ...], status: int) -> str:
    """The error in *messages*, the last lines of standard error, as one short text."""
    lines = [_ESCAPES.sub("", line) for line in messages]
    starts = [number for number, line in enumerate(lines) if line.lstrip().startswith("error:")]
    if not starts:
        rest = [line for line in lines if line.strip() and not line.startswith("warning:")]
        return "\n".join(rest[-MAX_LINES:]) or f"it ended with status {status} and said nothing"
    found = lines[starts[-1] :]
    first = found[0].lstrip().removeprefix("error:").strip()
    indent = len(found[0]) - len(found[0].lstrip())
    rest = [line[indent:] if not line[:indent].strip() else line.strip() for line in found[1:]]
    kept = [first, *rest] if first else rest
    while kept and not kept[-1].strip():
        kept.pop()
    place = _place(lines[starts[0] : starts[-1]])
    return "\n".join([*kept[:MAX_LINES], *place])


def _place(frames: list[str]) -> list[str]:
    """Where the innermost frame of a trace is, in the user's own files if it can be told."""
    for line in reversed(frames):
        stripped = line.strip()
        if stripped.startswith("at ") and not stripped.startswith("at «"):
            return [stripped.rstrip(":")]
    return []


def too_old(text: str, oldest: tuple[int, int]) -> str | None:
    """The version in *text*, which ``nix --version`` printed, if it is before *oldest*.

    Lix and others count their own versions, all of them later.
    """
    found = _VERSION.search(text.partition("\n")[0])
    if found is None or (int(found[2]), int(found[3])) >= oldest:
        return None
    return found[1]


def hint_for(message: str) -> str | None:
    """What the user can do about *message*, where that is known."""
    return next((hint for text, hint in _HINTS if text in message), None)
