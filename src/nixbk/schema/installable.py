"""Installables as Nix users write them.

::

    installable = store-path          ; of anything but a derivation
                | ( derivation | file [ "#" attribute ] | flake [ "#" attribute ] ) [ "^" outputs ]
    outputs     = "*" | name *( "," name )
    file        = a path that ends in ".nix", relative to the manifest
    flake       = the name of an input | a path | a flake reference with its scheme
    attribute   = name *( "." name ) ; a name with dots stands in double quotes

Source: ``ExtendedOutputsSpec::parse``, ``parseFlakeRefWithFragment`` and
``parseAttrPath`` of Nix (``src/libcmd``, ``src/libflake``, ``src/libexpr``). Pure.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from nixbk.errors import NixbkError
from nixbk.nix.store_path import StorePath, StorePathError

ALL_OUTPUTS = ("*",)
"""The selection of every output."""

SCHEMES = ("path", "git", "github", "gitlab", "sourcehut", "hg", "tarball", "file", "http", "https")

_OUTPUTS = re.compile(r"\*|[A-Za-z0-9+._?=-]+(,[A-Za-z0-9+._?=-]+)*")
_INPUT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_SCHEME = re.compile(r"([a-z][a-z0-9.-]*)(\+[a-z0-9.-]+)?:")


class InstallableError(NixbkError):
    """The text is no installable."""


class InstallableKind(Enum):
    """What an installable names."""

    STORE = "derivation"
    PATH = "store path"
    FILE = "file"
    INPUT = "input"
    FLAKE = "flake"


class Installable(NamedTuple):
    """One thing a user wants, as written and taken apart.

    Attributes:
        text: as the user wrote it.
        kind: what ``target`` is.
        target: a store path (of a derivation for ``STORE``), a file relative to the manifest, the
            name of an input, or a flake reference.
        attribute: the attribute path; empty when none is named.
        absolute: whether the attribute stands for itself and is not searched for
            (``.#.legacy.x``).
        outputs: the selected outputs, ``ALL_OUTPUTS``, or None for the default ones.
    """

    text: str
    kind: InstallableKind
    target: str
    attribute: tuple[str, ...] = ()
    absolute: bool = False
    outputs: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Installable:
        """Take *text* apart.

        Raises:
            InstallableError: it is no installable; the text is not part of the message.
        """
        if not text or text != text.strip() or any(ord(c) < ord(" ") for c in text):
            raise InstallableError("expected an installable, found empty or unprintable text")
        body, caret, names = text.rpartition("^")
        outputs: tuple[str, ...] | None = None
        if caret:
            if not _OUTPUTS.fullmatch(names):
                raise InstallableError(
                    f"expected output names after '^', found {names!r}",
                    hint="write '^out,dev' or '^*'",
                )
            outputs = tuple(dict.fromkeys(names.split(",")))
        else:
            body = text
        target, hash_sign, fragment = body.partition("#")
        if target.startswith("/nix/store/") and not hash_sign:
            return cls._store(text, target, outputs)
        absolute = fragment.startswith(".")
        attribute = parse_attribute_path(fragment[1:] if absolute else fragment)
        kind = _kind(target)
        return cls(text, kind, target or ".", attribute, absolute, outputs)

    @classmethod
    def _store(cls, text: str, target: str, outputs: tuple[str, ...] | None) -> Installable:
        try:
            path = StorePath.parse(target)
        except StorePathError as error:
            raise InstallableError(error.message) from error
        if not path.is_derivation:
            if outputs is not None:
                raise InstallableError(
                    f"the store path {target!r} has no outputs",
                    hint="it is one itself: leave out what begins with '^'",
                )
            return cls(text, InstallableKind.PATH, target)
        return cls(text, InstallableKind.STORE, target, (), absolute=False, outputs=outputs)


def _kind(target: str) -> InstallableKind:
    scheme = _SCHEME.match(target)
    if scheme:
        if scheme[1] in SCHEMES or (scheme[2] and scheme[1] in SCHEMES):
            return InstallableKind.FLAKE
        raise InstallableError(
            f"unknown kind of flake reference {target!r}",
            hint="nothing is evaluated unpinned: declare it as 'inputs.<name>.url', "
            f"with one of the schemes {', '.join(SCHEMES)}",
        )
    if target.endswith(".nix"):
        return InstallableKind.FILE
    if target in ("", ".", "..") or target.startswith(("./", "../", "/", "~", "?", ".?")):
        return InstallableKind.FLAKE
    if _INPUT.fullmatch(target):
        return InstallableKind.INPUT
    if "/" in target and _INPUT.fullmatch(target.split("/", 1)[0]):
        raise InstallableError(
            f"{target!r} would be looked up in a registry of flakes",
            hint=f"declare it as 'inputs.<name>.url', or write './{target}' for a folder",
        )
    raise InstallableError(f"expected a file, a flake or an input, found {target!r}")


def parse_attribute_path(text: str) -> tuple[str, ...]:
    """The names of an attribute path; no name when *text* is empty.

    Raises:
        InstallableError: an empty name, or a quote that does not end.
    """
    if not text:
        return ()
    names: list[str] = []
    name = ""
    quoted = False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif char == "." and not quoted:
            names.append(name)
            name = ""
        else:
            name += char
    names.append(name)
    if quoted:
        raise InstallableError(f"missing closing quote in attribute path {text!r}")
    if "" in names:
        raise InstallableError(f"empty name in attribute path {text!r}")
    return tuple(names)
