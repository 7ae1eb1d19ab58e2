"""From a lock's TOML document to its values, every field's type checked by hand.

This is on the way of each ``plan`` and ``apply``, so it works without pydantic. An entry at
fault is reported with its key; the others are read all the same. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nixbk.errors import NixbkError
from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import StorePath
from nixbk.schema.lock import (
    VERSION,
    BundleOrigin,
    ContentMethod,
    FileOrigin,
    FileType,
    InputOrigin,
    Lock,
    LockedImage,
    LockedInput,
    LockedInstallable,
    LockedPath,
    LockedShell,
    LockedSource,
    Origin,
)
from nixbk.schema.lock_document import implied_paths
from nixbk.schema.lock_fields import (
    Refused,
    at,
    bool_of,
    check_keys,
    choice_of,
    dict_of,
    field_of,
    int_of,
    paths_of,
    relative_of,
    require,
    sha256_of,
    str_of,
    strings_of,
    texts_of,
)
from nixbk.schema.problems import Problem
from nixbk.schema.substitute_reader import read_substitute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nixbk.schema.problems import KeyPath

T = TypeVar("T")

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


def read_document(document: dict[str, Any]) -> tuple[Lock | None, list[Problem]]:
    """The lock that *document* is, or what is wrong with it."""
    reader = _Reader()
    lock = reader.lock(document)
    return (None if reader.problems else lock), reader.problems


class _Reader:
    """Reads entry by entry, and keeps the problems it meets."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def lock(self, document: dict[str, Any]) -> Lock | None:
        """Everything in *document*; the version is looked at before all else."""
        version = document.get("version")
        if version != VERSION or isinstance(version, bool):
            newer = isinstance(version, int) and version > VERSION
            hint = "a newer nixbk wrote it: upgrade nixbk" if newer else "run 'nixbk lock'"
            self.problems.append(
                Problem(("version",), f"expected version {VERSION}, found {version!r}", hint)
            )
            return None
        if self._one(lambda: check_keys(document, "lock"), ()) is False:
            return None
        images = self._table(document, "images", _image)
        derivations = self._table(document, "derivations", _derivation)
        sources = self._table(document, "sources", _source)
        inputs = self._table(document, "inputs", _input)
        sandbox = self._one(lambda: dict_of(document, "sandbox", {}), ("sandbox",)) or {}
        shell = self._one(lambda: _shell(sandbox), ("sandbox",))
        features = self._one(lambda: strings_of(sandbox, "system-features"), ("sandbox",)) or []
        recipes = dict(derivations.values())
        substituted = self._one(lambda: _by_output(document, "substituted"), ("substituted",)) or {}
        substitutes = self._table(document, "substitutes", read_substitute)
        paths = self._table(
            sandbox,
            "paths",
            lambda _, table: _sandbox_path(table, recipes, substituted),
            ("sandbox",),
        )
        fallback = self._one(lambda: bool_of(document, "fallback", default=False), ())
        return Lock(
            images,
            recipes,
            {source.path: source for source in sources.values()},
            inputs,
            shell,
            paths,
            tuple(features),
            self._one(lambda: _by_output(document, "made"), ("made",)) or {},
            {substitute.path: substitute for substitute in substitutes.values()},
            substituted,
            bool(fallback),
        )

    def _table(
        self,
        document: dict[str, Any],
        key: str,
        read: Callable[[str, dict[str, Any]], T],
        above: KeyPath = (),
    ) -> dict[str, T]:
        table = self._one(lambda: dict_of(document, key, default={}), (*above, key)) or {}
        found: dict[str, T] = {}
        for name in table:
            try:
                found[name] = read(name, dict_of(table, name))
            except Refused as error:
                self.problems.append(Problem((*above, key, name, *error.path), error.message))
            except NixbkError as error:
                self.problems.append(Problem((*above, key, name), error.message, error.hint))
        return found

    def _one(self, read: Callable[[], T], path: KeyPath) -> T | None:
        try:
            return read()
        except Refused as error:
            self.problems.append(Problem((*path, *error.path), error.message))
        except NixbkError as error:
            self.problems.append(Problem(path, error.message, error.hint))
        return None


# Entries ----------------------------------------------------------------------------------


def _shell(table: dict[str, Any]) -> LockedShell | None:
    check_keys(table, "sandbox")
    if "shell" not in table and "source" not in table:
        return None
    name = str_of(table, "source")
    return LockedShell(str_of(table, "shell"), at(lambda: StorePath.from_basename(name), "source"))


def _sandbox_path(
    table: dict[str, Any],
    derivations: Mapping[StorePath, Derivation],
    substituted: Mapping[tuple[StorePath, str], StorePath],
) -> LockedPath:
    check_keys(table, "sandbox-path")
    text = str_of(table, "text")
    subpath = relative_of(table, "path") if "path" in table else ""
    kinds = [key for key in ("source", "substitute", "derivation") if key in table]
    if len(kinds) > 1:
        raise Refused(f"{kinds[0]!r} and {kinds[1]!r} exclude each other")
    if kinds in (["source"], ["substitute"]):
        name = str_of(table, kinds[0])
        path = at(lambda: StorePath.from_basename(name), kinds[0])
        return LockedPath(text, path, subpath)
    name, output = str_of(table, "derivation"), str_of(table, "output")
    drv_path = at(lambda: StorePath.from_basename(name), "derivation")
    if (drv_path, output) in substituted:
        return LockedPath(text, substituted[drv_path, output], subpath, drv_path, output)
    derivation = derivations.get(drv_path)
    if derivation is None:
        raise Refused(f"{name!r} is not in the lock", "derivation")
    made = derivation.outputs.get(output)
    if made is None or not made.path:
        raise Refused(f"the derivation has no output {output!r} whose path is known", "output")
    return LockedPath(text, StorePath.parse(made.path), subpath, drv_path, output)


def _input(name: str, table: dict[str, Any]) -> LockedInput:
    check_keys(table, "input")
    return LockedInput(
        name,
        str_of(table, "url"),
        bool_of(table, "flake", default=True),
        str_of(table, "locked"),
        str_of(table, "rev") if "rev" in table else None,
        sha256_of(table, "nar-hash"),
        int_of(table, "last-modified") if "last-modified" in table else None,
    )


def _image(_key: str, table: dict[str, Any]) -> LockedImage:
    check_keys(table, "image")
    rows = field_of(table, "installables", list, "an array of tables", None)
    return LockedImage(
        tuple(strings_of(table, "platforms")),
        tuple(_installable(number, row) for number, row in enumerate(rows)),
    )


def _installable(number: int, table: Any) -> LockedInstallable:
    here = ("installables", number)
    if type(table) is not dict:
        raise Refused("expected a table", *here)
    try:
        check_keys(table, "installable")
        outputs = texts_of(table, "outputs")
        require(bool(outputs), "expected at least one output", "outputs")
        return LockedInstallable(
            str_of(table, "text"),
            _maker(table, outputs),
            tuple(outputs),
            at(lambda: {n: StorePath.parse(p) for n, p in outputs.items() if p}, "outputs"),
        )
    except Refused as error:
        raise Refused(error.message, *here, *error.path) from error


def _maker(table: dict[str, Any], outputs: Mapping[str, str]) -> StorePath | None:
    """The derivation of an installable that is not a store path itself."""
    if "derivation" in table:
        name = str_of(table, "derivation")
        return at(lambda: StorePath.from_basename(name), "derivation")
    if list(outputs) != ["out"] or not outputs["out"]:
        raise Refused("expected the path of 'out' alone where there is no derivation", "outputs")
    return None


def _derivation(name: str, table: dict[str, Any]) -> tuple[StorePath, Derivation]:
    path = StorePath.from_basename(name)
    if not path.is_derivation:
        raise Refused("expected the name of a derivation")
    check_keys(table, "derivation")
    drv_name = path.name.removesuffix(".drv")
    if "aterm" in table:
        if len(table) > 1:
            raise Refused("a recipe in base 64 has no other key", "aterm")
        return path, Derivation.from_bytes(drv_name, _base64(str_of(table, "aterm")))
    outputs = {key: _output(key, value) for key, value in dict_of(table, "outputs").items()}
    system, builder = str_of(table, "system"), str_of(table, "builder")
    env = texts_of(table, "env")
    if bool_of(table, "implied-env", default=True):
        implied = {"name": drv_name, "system": system, "builder": builder}
        env = {**env, **implied, **implied_paths(outputs)}
    derivation = Derivation(
        drv_name,
        outputs,
        dict(_input_drv(n, text) for n, text in enumerate(strings_of(table, "inputs"))),
        paths_of(table, "sources"),
        system,
        builder,
        tuple(strings_of(table, "args")),
        env,
    )
    return path, derivation


def _by_output(document: dict[str, Any], key: str) -> dict[tuple[StorePath, str], StorePath]:
    """The table *key*: paths by derivations and outputs."""
    found: dict[tuple[StorePath, str], StorePath] = {}
    for place, value in texts_of(document, key).items():
        name, caret, output = place.partition("^")
        require(bool(caret), "expected '<derivation>^<output>'", place)
        maker = at(partial(StorePath.from_basename, name), place)
        found[maker, output] = at(partial(StorePath.from_basename, value), place)
    return found


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused("expected base 64", "aterm") from error


def _output(name: str, value: Any) -> DerivationOutput:
    if type(value) is str:
        return at(lambda: DerivationOutput(value), "outputs", name)
    if type(value) is not dict:
        raise Refused("expected a store path or a table", "outputs", name)
    try:
        check_keys(value, "output")
        fields = [str_of(value, key) for key in ("path", "method", "hash")]
    except Refused as error:
        raise Refused(error.message, "outputs", name, *error.path) from error
    return at(lambda: DerivationOutput(*fields), "outputs", name)


def _input_drv(number: int, text: str) -> tuple[StorePath, tuple[str, ...]]:
    name, caret, outputs = text.partition("^")
    if not caret:
        raise Refused("expected '<derivation>^<outputs>'", "inputs", number)
    path = at(lambda: StorePath.from_basename(name), "inputs", number)
    return path, tuple(outputs.split(","))


def _source(name: str, table: dict[str, Any]) -> LockedSource:
    path = StorePath.from_basename(name)
    check_keys(table, "source")
    file_type = choice_of(table, "type", FileType, None)
    if (file_type == "symlink") != ("target" in table):
        raise Refused("a symlink, and nothing else, has a target", "type")
    method = choice_of(table, "content", ContentMethod, "nar")
    content_hash = None
    if "content-hash" in table:
        text = str_of(table, "content-hash")
        content_hash = at(lambda: Hash.parse(text), "content-hash")
    return LockedSource(
        path,
        sha256_of(table, "nar-hash"),
        int_of(table, "nar-size"),
        paths_of(table, "references"),
        _origin(table),
        cast("FileType", file_type),
        str_of(table, "target", ""),
        cast("ContentMethod", method),
        content_hash,
    )


def _origin(table: dict[str, Any]) -> Origin:
    kinds = [key for key in ("file", "input", "bundle") if key in table]
    if len(kinds) != 1:
        raise Refused("expected one of the keys 'file', 'input' and 'bundle'")
    if ("path" in table) != (kinds == ["input"]):
        raise Refused("'input' and 'path' go together")
    if kinds == ["input"]:
        return InputOrigin(str_of(table, "input"), relative_of(table, "path", empty=True))
    if kinds == ["file"]:
        return FileOrigin(relative_of(table, "file"))
    digest = str_of(table, "bundle")
    if not _SHA256_HEX.fullmatch(digest):
        raise Refused("expected 64 hexadecimal digits", "bundle")
    return BundleOrigin(digest)
