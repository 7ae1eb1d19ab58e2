"""How pages are taken apart, and what counts as the same output."""

from __future__ import annotations

import pytest
from doc_pages import Command, commands, complaint, matches, page_before, results, script

PAGE = """\
Some text.

<!-- after: other.md -->
<!-- file: a.toml -->
```toml
x = 1
```

```console
$ cat <<'END'
> text
> END
text
$ false
$ echo $?
1
```

<!-- not run: it would hurt -->
```sh
rm -rf /
```

```sh
true
```
"""

COMMANDS = (
    Command(
        5,
        "mkdir -p \"$(dirname 'a.toml')\"; cat > 'a.toml' <<'END OF a.toml'\nx = 1\nEND OF a.toml",
        "",
        "file",
    ),
    Command(10, "cat <<'END'\ntext\nEND", "text\n"),
    Command(14, "false", ""),
    Command(15, "echo $?", "1\n"),
    Command(24, "(set -eu\ntrue\n)", None),
)

MATCHES = {
    "the same": ("a\nb\n", "a\nb\n", True),
    "another line": ("a\n", "b\n", False),
    "a line less": ("a\nb\n", "a\n", False),
    "nothing": ("", "", True),
    "something for nothing": ("", "a\n", False),
    "dots for no line": ("...\na\n", "a\n", True),
    "dots for lines": ("...\na\n", "b\nc\na\n", True),
    "dots in a line": ("a ... d\n", "a b c d\n", True),
    "dots do not cross lines": ("a ... d\n", "a b\nc d\n", False),
    "times": ("built x in 0.1 s\n", "built x in 12.3 s\n", True),
    "sizes": ("2 MB\n", "1.98 MB\n", True),
    "digests": ("(sha256:42e7371db830)\n", "(sha256:5d96377141dc)\n", True),
    "store paths": (
        "/nix/store/30by9079w7qvyk1ljivc2fvvqis2mfl0-x\n",
        "/nix/store/l16r6ckjnh2rzjxklfqy2s9n0gcc51bn-x\n",
        True,
    ),
    "names of store paths": (
        "/nix/store/30by9079w7qvyk1ljivc2fvvqis2mfl0-x\n",
        "/nix/store/l16r6ckjnh2rzjxklfqy2s9n0gcc51bn-y\n",
        False,
    ),
    "colours": ("a\n", "\x1b[1ma\x1b[0m\n", True),
    "a machine without a network": ("a\n", "WARNING: X. Networking will not work.\na\n", True),
}


def test_commands_of_a_page() -> None:
    """Files, commands and scripts come in the order of the page; what is not run is left out."""
    assert commands(PAGE) == COMMANDS


def test_page_before() -> None:
    """The page to begin after is the one that the comment names."""
    assert (page_before(PAGE), page_before("```sh\n```\n")) == ("other.md", None)


def test_a_block_starts_with_a_command() -> None:
    """Output that belongs to no command is a mistake of the page."""
    with pytest.raises(ValueError, match="line 2: a console block starts with a command"):
        commands("```console\nx\n```\n")


@pytest.mark.parametrize("case", MATCHES)
def test_matches(case: str) -> None:
    """What differs from run to run does not count, and dots stand for anything."""
    expected, printed, same = MATCHES[case]
    assert matches(expected, printed) is same


def test_results_are_taken_apart() -> None:
    """Each mark ends the output of one command."""
    assert results("a\n\0361\036\n\0360\036\n") == (("a\n", 1), ("", 0))


def test_script_keeps_the_status() -> None:
    """The next command sees the status of the one before."""
    lines = script((Command(1, "false", ""), Command(2, "echo $?", "1\n"))).splitlines()
    assert lines[2:4] == ["(exit $status)", "false"]


def test_a_failure_has_to_be_looked_at() -> None:
    """A command may fail only where the page asks for its status."""
    failing, asking = Command(1, "false", ""), Command(2, "echo $?", "1\n")
    found = [complaint(failing, after, "", 1) for after in (asking, None)]
    assert found == [None, "line 1: 'false' ended with 1:\n"]
