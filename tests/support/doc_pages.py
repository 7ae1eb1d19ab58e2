"""Pages of the documentation as programs: their blocks, and how what was printed is compared.

A page is run from its top to its end, in one folder and one shell. Three kinds of blocks count,
and a comment before a block says what the block alone cannot::

    console      lines with "$ " are commands, with "> " more of the same; the rest is printed
    sh           a script; what it prints does not matter
    any          <!-- file: NAME --> writes the block to a file
    any          <!-- not run: REASON --> leaves it out
    (anywhere)   <!-- after: PAGE --> begins in the folder as another page left it

In what a block prints, a line of dots stands for any number of lines, and dots within a line for
any text. A command must succeed, unless the next one is ``echo $?``. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

ANY: Final = "..."
STATUS: Final = "echo $?"
_FENCE: Final = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>\w*)\s*$")
_COMMENT: Final = re.compile(r"^ *<!-- *(?P<key>[a-z ]+?): *(?P<value>.*?) *-->\s*$")
_MARK: Final = re.compile("\036([0-9]+)\036\n")
_VOLATILE: Final = (
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"sha256:[0-9a-f]{12,64}"), "sha256:<digest>"),
    (re.compile(r"sha256-[0-9A-Za-z+/]{43}="), "sha256-<hash>"),
    (re.compile(r"\b[0-9a-df-np-sv-z]{32}-"), "<hash>-"),
    (re.compile(r"\b[0-9]+\.[0-9] s\b"), "<time>"),
    (re.compile(r"\b[0-9]+(\.[0-9]+)? [kMG]?B\b"), "<size>"),
)
_NOISE: Final = re.compile(r"^WARNING: .* Networking will not work\.$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        line: of its fence, from 1.
        language: behind the fence; empty when there is none.
        text: with a newline at its end.
        comments: those directly above it, by key: ``file``, ``not run``.
    """

    line: int
    language: str
    text: str
    comments: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether it is a program, or would be if nobody said otherwise."""
        return self.language in {"console", "sh"} and "file" not in self.comments


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page.

    Attributes:
        line: where it stands, from 1.
        text: for the shell.
        expected: what it prints; None when that does not matter.
        kind: ``file`` for one that writes a file and is not on the page as such.
    """

    line: int
    text: str
    expected: str | None
    kind: Literal["command", "file"] = "command"


def blocks(page: str) -> tuple[Block, ...]:
    """Every fenced block of a page."""
    found: list[Block] = []
    comments: dict[str, str] = {}
    lines = page.splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            comment = _COMMENT.match(lines[number])
            if comment:
                comments[comment["key"]] = comment["value"]
            elif lines[number].strip():
                comments = {}
            number += 1
            continue
        end = number + 1
        while lines[end].strip() != fence["ticks"]:
            end += 1
        body = [line.removeprefix(fence["indent"]) for line in lines[number + 1 : end]]
        text = "".join(f"{line}\n" for line in body)
        found.append(Block(number + 1, fence["language"], text, comments))
        comments = {}
        number = end + 1
    return tuple(found)


def page_before(page: str) -> str | None:
    """The page that ``<!-- after: PAGE -->`` names, relative to this one."""
    found = (_COMMENT.match(line) for line in page.splitlines())
    return next((m["value"] for m in found if m and m["key"] == "after"), None)


def commands(page: str) -> tuple[Command, ...]:
    """What running a page means, in order."""
    found: list[Command] = []
    for block in blocks(page):
        if "file" in block.comments:
            found.append(_file(block))
        elif not block.runs or "not run" in block.comments:
            continue
        elif block.language == "sh":
            found.append(Command(block.line, f"(set -eu\n{block.text})", None))
        else:
            found.extend(_console(block))
    return tuple(found)


def _file(block: Block) -> Command:
    name = block.comments["file"]
    text = f"mkdir -p \"$(dirname '{name}')\"; cat > '{name}' <<'END OF {name}'\n"
    return Command(block.line, f"{text}{block.text}END OF {name}", "", "file")


def _console(block: Block) -> list[Command]:
    found: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append((number, [line[2:]], []))
        elif line.startswith("> ") and found and not found[-1][2]:
            found[-1][1].append(line[2:])
        elif found:
            found[-1][2].append(line)
        else:
            message = f"line {number}: a console block starts with a command"
            raise ValueError(message)
    return [
        Command(number, "\n".join(text), "".join(f"{line}\n" for line in printed))
        for number, text, printed in found
    ]


def script(found: tuple[Command, ...]) -> str:
    """A program for bash that runs *found* and marks the end of each with its status."""
    parts = ["exec 2>&1 < /dev/null\n", "status=0\n"]
    for command in found:
        parts.append(f"(exit $status)\n{command.text}\n")
        parts.append("status=$?; printf '\\036%d\\036\\n' $status\n")
    return "".join(parts)


def results(output: str) -> tuple[tuple[str, int], ...]:
    """What each command printed, and its status."""
    parts = _MARK.split(output)
    return tuple(zip(parts[:-1:2], map(int, parts[1::2]), strict=True))


def complaint(command: Command, after: Command | None, printed: str, status: int) -> str | None:
    """What is wrong with the result of *command*; None when all is well.

    Args:
        command: what was run.
        after: the next command of the page.
        printed: what it printed.
        status: its exit status.
    """
    asked = after is not None and after.text == STATUS
    if status and not asked and command.text != STATUS:
        return f"line {command.line}: {command.text!r} ended with {status}:\n{printed}"
    if command.expected is None or matches(command.expected, printed):
        return None
    return (
        f"line {command.line}: {command.text!r} printed\n{printed}"
        f"and the page has\n{command.expected}"
    )


def matches(expected: str, printed: str) -> bool:
    """Whether *printed* is what a page shows, times, hashes and sizes aside."""
    pattern = "".join(_line_pattern(line) for line in steady(expected).splitlines())
    return re.fullmatch(pattern, steady(printed)) is not None


def _line_pattern(line: str) -> str:
    if line == ANY:
        return r"(?:.*\n)*?"
    return ".*".join(map(re.escape, line.split(ANY))) + r"\n"


def steady(text: str) -> str:
    """*text* without what differs from one run to the next."""
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    lines = _NOISE.sub("\0", text.replace("\r", "")).replace("\0\n", "").splitlines()
    return "".join(f"{line}\n" for line in lines)
