r"""Files as BuildKit's file transfer writes them: modes, patterns, and safe paths.

    pattern = ["!"] path, "*" and "?" within a name, "**" over folders, "[...]" one of, "\" quotes

A pattern finds a path when it matches it or a folder above it; the last pattern that matches
decides, and one with "!" takes back.

Source: Go ``io/fs.FileMode``, moby/patternmatcher, tonistiigi/fsutil. Opens files.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

GO_DIR: Final = 1 << 31
GO_SYMLINK: Final = 1 << 27
GO_SETUID: Final = 1 << 23
GO_SETGID: Final = 1 << 22
GO_STICKY: Final = 1 << 20
# every bit of a type: directory, symlink, device, pipe, socket, character device, irregular
GO_TYPE: Final = GO_DIR | GO_SYMLINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19

_EXTRA: Final = (
    (stat.S_ISUID, GO_SETUID),
    (stat.S_ISGID, GO_SETGID),
    (stat.S_ISVTX, GO_STICKY),
)


def go_mode(mode: int) -> int | None:
    """Convert a mode of Unix to Go's; None for what is no file, folder or symlink."""
    result = mode & 0o777
    for unix, go in _EXTRA:
        result |= go if mode & unix else 0
    if stat.S_ISDIR(mode):
        return result | GO_DIR
    if stat.S_ISLNK(mode):
        return result | GO_SYMLINK
    return result if stat.S_ISREG(mode) else None


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern without its ``!``; it matches whole paths.

    Raises:
        ValueError: a bracket is not closed.
    """
    text, result, position = pattern.strip("/"), "", 0
    while position < len(text):
        letter = text[position]
        position += 1
        if text.startswith("**", position - 1):
            position += 1
            if text.startswith("/", position):
                position += 1
                result += "(?:.*/)?"
            else:
                result += ".*"
        elif letter == "*":
            result += "[^/]*"
        elif letter == "?":
            result += "[^/]"
        elif letter == "[":
            end = text.find("]", position + 1)
            if end < 0:
                raise ValueError(f"the bracket of {pattern!r} is not closed")
            inside = text[position:end]
            negated = inside[:1] in {"^", "!"}
            body = (inside[1:] if negated else inside).replace("\\", "\\\\").replace("[", "\\[")
            result += f"(?!/)[{'^' if negated else ''}{body}]"
            position = end + 1
        elif letter == "\\" and position < len(text):
            result += re.escape(text[position])
            position += 1
        else:
            result += re.escape(letter)
    return re.compile(result, re.DOTALL)


def matches(patterns: Sequence[str], path: str) -> bool:
    """Tell whether *patterns* find *path*."""
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    found = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if negated == found:
            compiled = compile_pattern(pattern.removeprefix("!"))
            if compiled.pattern in {"", r"\."} or any(compiled.fullmatch(one) for one in above):
                found = not negated
    return found


def split_path(path: str) -> tuple[str, ...]:
    """Split a path of the wire into names.

    Raises:
        ValueError: it is empty or absolute, or leaves its folder.
    """
    parts = tuple(path.split("/"))
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ValueError(f"{path!r} is no path within a folder")
    return parts


def open_folder(root: int, parts: Sequence[str]) -> int:
    """Open the folder *parts* below the open folder *root*, following no link on the way."""
    number = os.dup(root)
    for part in parts:
        try:
            below = os.open(
                part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=number
            )
        finally:
            os.close(number)
        number = below
    return number
