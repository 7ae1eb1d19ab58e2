"""Lines and columns of the keys of a TOML document, from tree-sitter's tree of it.

tomli, which reads the values, keeps no places; this is asked when an error or the
origin of a value is shown, and never on the way of a success, since it imports
tree-sitter. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tomli
import tree_sitter_toml
from tree_sitter import Language, Parser

if TYPE_CHECKING:
    from tree_sitter import Node

    from nixbk.schema.problems import KeyPath

KEYS = ("bare_key", "quoted_key")


class Positions:
    """Where each key and value of a document stands.

    Args:
        text: the document. Text that is no TOML gives what places can be told.
    """

    def __init__(self, text: bytes) -> None:
        self._lines = text.split(b"\n")
        self._keys: dict[KeyPath, Node] = {}
        self._values: dict[KeyPath, Node] = {}
        self._tables: dict[KeyPath, int] = {}
        root = Parser(Language(tree_sitter_toml.language())).parse(text).root_node
        for node in root.named_children:
            if node.type == "pair":
                self._pair((), node)
            elif node.type in ("table", "table_array_element"):
                self._table(node)

    def find(self, path: KeyPath, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value (or key) at *path*, or of the nearest above it."""
        steps = path
        while steps:
            node = (self._keys if at_key else self._values).get(steps) or self._keys.get(steps)
            if node is not None:
                row, column = node.start_point
                return row + 1, len(self._lines[row][:column].decode(errors="replace")) + 1
            steps = steps[:-1]
        return 1, 1

    def _table(self, node: Node) -> None:
        header, *rest = node.named_children
        parts = _parts(header)
        path: KeyPath = ()
        for number, (name, key) in enumerate(parts, start=1):
            path = (*path, name)
            self._keys.setdefault(path, key)
            last = number == len(parts)
            if last and node.type == "table_array_element":
                self._tables[path] = self._tables.get(path, -1) + 1
            if path in self._tables:
                path = (*path, self._tables[path])
                self._keys.setdefault(path, header)
            elif last:
                self._keys[path] = key
        for child in rest:
            if child.type == "pair":
                self._pair(path, child)

    def _pair(self, prefix: KeyPath, pair: Node) -> None:
        work = [(prefix, pair)]
        while work:
            base, node = work.pop()
            if node.type == "pair":
                if len(node.named_children) < 2:  # noqa: PLR2004 - a key without its value
                    continue
                key, value = node.named_children[0], node.named_children[1]
                for name, part in _parts(key):
                    base = (*base, name)
                    self._keys.setdefault(base, part)
                work.append((base, value))
                continue
            self._values.setdefault(base, node)
            children = [c for c in node.named_children if c.type != "comment"]
            if node.type == "inline_table":
                work.extend((base, child) for child in children)
            elif node.type == "array":
                work.extend(((*base, i), child) for i, child in enumerate(children))


def _parts(key: Node) -> list[tuple[str, Node]]:
    """The names of a dotted key, each with its node, in order."""
    found: list[tuple[str, Node]] = []
    work = [key]
    while work:
        node = work.pop()
        if node.type in KEYS:
            found.append((_name(node), node))
        elif node.type == "dotted_key":
            work.extend(reversed(node.named_children))
    return found


def _name(node: Node) -> str:
    text = (node.text or b"").decode(errors="replace")
    if node.type == "bare_key":
        return text
    try:
        return next(iter(tomli.loads(f"{text} = 0")))
    except tomli.TOMLDecodeError:
        return text
