"""README, docs and help pages lead somewhere, and leave nothing out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
import tomli
import typer
from doc_pages import blocks

from nixbk.apply.failures import FLAGS, exit_code
from nixbk.buildkit.address import SCHEMES
from nixbk.cli.app import INTERRUPTED, app
from nixbk.schema.lock_document import KEYS
from nixbk.schema.manifest_file import parse_manifest
from nixbk.schema.manifest_model import Manifest, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
REFERENCE: Final = DOCS / "reference"
ROOT_PAGES: Final = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES: Final = [*ROOT_PAGES, *sorted(DOCS.rglob("*.md"))]
COLUMNS: Final = 80
TABLES: Final = ("images", "inputs", "substituters")
FREE: Final = ("env", "labels", "paths")
"""Tables of the manifest whose keys are the user's."""

LINK: Final = re.compile(r"(?<!\\)\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)
ENVIRONMENT: Final = re.compile(r"environ(?:\.get\(|\[)f?\"([A-Za-z_]+)(\{name\})?\"")

page_of_each = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)(`{3,}).*?^\1\2$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """Every target of a page's links."""
    return [inline or footnote for inline, footnote in LINK.findall(prose(page))]


def anchors(page: Path) -> set[str]:
    """What links may name behind ``#``, as forges make it of headings."""
    headings = (re.sub(r"[^\w\- ]", "", text.lower()) for text in HEADING.findall(prose(page)))
    return {heading.replace(" ", "-") for heading in headings}


@page_of_each
def test_links_resolve(page: Path) -> None:
    """A relative link leads to a file, and its anchor to a heading of it."""
    broken = []
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked() -> None:
    """From README and the two indexes one gets to every page and every help page."""
    indexes = [ROOT / "README.md", DOCS / "README.md", DOCS / "adr" / "README.md"]
    indexes.append(REFERENCE / "cli.md")
    linked = {(page.parent / link).resolve() for page in indexes for link in links(page)}
    wanted = {*PAGES, *(ROOT / "cli").glob("*.txt")}
    assert sorted(wanted - linked - {ROOT / "README.md"}) == []


@page_of_each
def test_lines_fit_a_terminal(page: Path) -> None:
    """No line is wider than 80 columns, but for what programs print and lines of one link."""
    shown = {
        block.line + 1 + number
        for block in blocks(page.read_text())
        if block.language == "console"
        for number, line in enumerate(block.text.splitlines())
        if not line.startswith("$ ")
    }
    lines = enumerate(page.read_text().splitlines(), 1)
    wide = [number for number, line in lines if len(line) > COLUMNS and number not in shown]
    assert wide == []


@page_of_each
def test_what_is_not_run_has_a_reason(page: Path) -> None:
    """A block that is left out says why."""
    found = (block.comments.get("not run") for block in blocks(page.read_text()))
    assert [reason for reason in found if reason == ""] == []


@page_of_each
def test_blocks_of_files_are_in_them(page: Path) -> None:
    """A block that is said to be part of a file is found there."""
    for block in blocks(page.read_text()):
        name = block.comments.get("part of")
        if name is not None:
            assert block.text in (ROOT / name).read_text()


@page_of_each
def test_toml_blocks_are_toml(page: Path) -> None:
    """A TOML block parses; one with all that an image needs is a manifest."""
    for block in blocks(page.read_text()):
        if block.language == "toml":
            found = tomli.loads(block.text)
            images = found.get("images", {}).values()
            if any("installables" in image for image in images):
                parse_manifest(block.text.encode())


def example_keys() -> Iterator[str]:
    """The keys of the example manifest, with ``<name>`` where a name is the user's."""

    def walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                yield from walk(entry, path)
        elif isinstance(value, dict) and path[-1:] != () and path[-1] in FREE:
            yield path
        elif isinstance(value, dict):
            for key, below in value.items():
                name = "<name>" if path in {(table,) for table in TABLES} else key
                yield from walk(below, (*path, name))
        else:
            yield path

    for path in walk(tomli.loads((ROOT / "nixbk.toml.example").read_text()), ()):
        # inputs.<name> = "…" is short for inputs.<name>.url
        yield ".".join((*path, "url") if path == ("inputs", "<name>") else path)


def model_keys() -> Iterator[str]:
    """The keys that the manifest's models have."""
    fields = Manifest.model_fields
    image = get_args(fields["images"].annotation)[1]
    yield from (f"inputs.<name>.{key}" for key in keys(get_args(fields["inputs"].annotation)[1]))
    cache = get_args(fields["substituters"].annotation)[1]
    yield from (f"substituters.<name>.{key}" for key in keys(cache))
    yield from (f"sandbox.{key}" for key in keys(fields["sandbox"].annotation))
    for key in keys(image):
        if key not in {"layers", "outputs"}:
            yield f"images.<name>.{key}"
    yield from (
        f"images.<name>.layers.{key}" for key in keys(image.model_fields["layers"].annotation)
    )
    for output in get_args(get_args(Output)[0]):
        yield from (f"images.<name>.outputs.{key}" for key in keys(output))


def keys(model: Any) -> Iterator[str]:
    """The keys of one table."""
    return (field.alias or name for name, field in model.model_fields.items())


@pytest.mark.parametrize("key", sorted({*example_keys(), *model_keys()}))
def test_manifest_keys_have_headings(key: str) -> None:
    """Each key of the example and of the models has a section in the reference."""
    assert f"`{key}`" in HEADING.findall((REFERENCE / "manifest.md").read_text())


def test_lock_keys_are_described() -> None:
    """Every key that a lock can have is named in the reference."""
    text = (REFERENCE / "lock.md").read_text()
    wanted = {key for table, found in KEYS.items() if table != "lock" for key in found}
    assert sorted(key for key in wanted if f"`{key}`" not in text) == []


def test_plan_keys_are_described() -> None:
    """Every key of the plan's schema is named in the reference."""
    schema = json.loads((ROOT / "schema" / "plan.schema.json").read_text())
    tables = [schema, *schema["$defs"].values()]
    wanted = {key for table in tables for key in table["properties"]}
    found = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", reference("plan")))))
    assert sorted(wanted - found) == []


def reference(name: str) -> str:
    """The text of a page of the reference."""
    return (REFERENCE / f"{name}.md").read_text()


def commands() -> list[str]:
    """The words of all commands, with hyphens between them."""
    found: list[str] = []
    pending: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    while pending:
        prefix, group = pending.pop()
        below = getattr(group, "commands", {}).items()
        found += [f"{prefix}{name}" for name, _ in below]
        pending += [(f"{prefix}{name}-", command) for name, command in below]
    return found


def test_commands_are_documented() -> None:
    """Each command has a help page, which the reference links."""
    linked = [link for link in links(REFERENCE / "cli.md") if link.startswith("../../cli/")]
    wanted = ["../../cli/nixbk.txt", *(f"../../cli/nixbk-{name}.txt" for name in commands())]
    assert sorted(linked) == sorted(wanted)


def test_exit_codes_are_documented() -> None:
    """Each exit code is in the table of the reference and at the end of the help."""
    codes = {0, 1, 2, INTERRUPTED, *(exit_code([kind]) for kind in FLAGS)}
    table = {int(code) for code in re.findall(r"^\| ([0-9]+) ", reference("cli"), re.MULTILINE)}
    epilog = (ROOT / "cli" / "nixbk.txt").read_text().partition("Exit codes:")[2]
    said = set(map(int, re.findall(r"\b[0-9]+\b", epilog)))
    assert (table, said) == (codes, codes)


def test_variables_are_documented() -> None:
    """Each variable of the environment that nixbk reads is in the reference."""
    sources = "".join(path.read_text() for path in (ROOT / "src" / "nixbk").rglob("*.py"))
    found = {name for name, more in ENVIRONMENT.findall(sources) if not more}
    found |= {"NIXBK_TLS_CACERT", "NIXBK_TLS_CERT", "NIXBK_TLS_KEY"}
    text = reference("builders")
    assert sorted(name for name in found if f"`{name}`" not in text) == []


def test_addresses_are_documented() -> None:
    """Each scheme of a builder's address is in the reference."""
    text = reference("builders")
    assert [scheme for scheme in SCHEMES if f"`{scheme}://" not in text] == []


def test_decisions_have_their_parts() -> None:
    """A decision has its number, its status, and three sections."""
    for number, page in enumerate(sorted((DOCS / "adr").glob("0*.md")), 1):
        headings = HEADING.findall(page.read_text())
        assert headings[0].startswith(f"{number}. ")
        assert headings[1:] == ["Context", "Decision", "Consequences"]


def test_help_pages_are_current() -> None:
    """What ``cli/`` has is what the commands print."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "dev" / "clidocs"), "--check"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_help_fits_a_terminal() -> None:
    """No line of a help page is wider than 80 columns, and no summary is cut off."""
    text = "".join(path.read_text() for path in (ROOT / "cli").glob("*.txt"))
    cut = re.compile(r"^  .*[a-z]\.\.\.$")
    assert [x for x in text.splitlines() if len(x) > COLUMNS or cut.match(x)] == []
