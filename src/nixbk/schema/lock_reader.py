"""From a lock's TOML document to its values, every field's type checked by hand.

This is on the way of each ``plan`` and ``apply``, so it works without pydantic. An entry at
fault is reported with its key; the others are read all the same. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from nixbk.errors import NixbkError
from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.hashes import Hash, HashAlgorithm
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
from nixbk.schema.lock_document import KEYS, implied_paths
from nixbk.schema.problems import KeyPath, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


class Refused(Exception):  # noqa: N818 - control flow within this module
    """An entry is not what the format asks for."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.path: KeyPath = path


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
        if self._one(lambda: _keys(document, "lock"), ()) is False:
            return None
        images = self._table(document, "images", _image)
        derivations = self._table(document, "derivations", _derivation)
        sources = self._table(document, "sources", _source)
        inputs = self._table(document, "inputs", _input)
        sandbox = self._one(lambda: _dict(document, "sandbox", {}), ("sandbox",)) or {}
        shell = self._one(lambda: _shell(sandbox), ("sandbox",))
        features = self._one(lambda: _strings(sandbox, "system-features"), ("sandbox",)) or []
        recipes = dict(derivations.values())
        paths = self._table(
            sandbox, "paths", lambda _, table: _sandbox_path(table, recipes), ("sandbox",)
        )
        return Lock(
            images,
            recipes,
            {source.path: source for source in sources.values()},
            inputs,
            shell,
            paths,
            tuple(features),
            self._one(lambda: _made(document), ("made",)) or {},
        )

    def _table(
        self,
        document: dict[str, Any],
        key: str,
        read: Callable[[str, dict[str, Any]], T],
        above: KeyPath = (),
    ) -> dict[str, T]:
        table = self._one(lambda: _dict(document, key, default={}), (*above, key)) or {}
        found: dict[str, T] = {}
        for name in table:
            try:
                found[name] = read(name, _dict(table, name))
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


# Fields -----------------------------------------------------------------------------------


def _keys(table: dict[str, Any], kind: str) -> bool:
    if not table.keys() <= KEYS[kind]:
        unknown = next(key for key in table if key not in KEYS[kind])
        raise Refused("unknown key", unknown)
    return True


def _field(table: dict[str, Any], key: str, kind: type[T], words: str, default: T | None) -> T:
    value = table.get(key, default)
    if value is None:
        raise Refused(f"missing key {key!r}")
    if type(value) is not kind:
        raise Refused(f"expected {words}", key)
    return value


def _str(table: dict[str, Any], key: str, default: str | None = None) -> str:
    return _field(table, key, str, "a string", default)


def _int(table: dict[str, Any], key: str) -> int:
    value = _field(table, key, int, "a number", None)
    if value < 0:
        raise Refused("expected a number that is not negative", key)
    return value


def _bool(table: dict[str, Any], key: str, *, default: bool) -> bool:
    return _field(table, key, bool, "true or false", default)


def _dict(table: dict[str, Any], key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    return _field(table, key, dict, "a table", default)


def _strings(table: dict[str, Any], key: str) -> list[str]:
    values = _field(table, key, list, "an array", [])
    for number, value in enumerate(values):
        if type(value) is not str:
            raise Refused("expected a string", key, number)
    return values


def _texts(table: dict[str, Any], key: str) -> dict[str, str]:
    values = _dict(table, key, {})
    for name, value in values.items():
        if type(value) is not str:
            raise Refused("expected a string", key, name)
    return values


def _at(read: Callable[[], T], *path: str | int) -> T:
    """What *read* gives; an error of it is one of the field at *path*."""
    try:
        return read()
    except NixbkError as error:
        raise Refused(error.message, *path) from error


def _require(holds: bool, message: str, *path: str | int) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise Refused(message, *path)


def _paths(table: dict[str, Any], key: str) -> tuple[StorePath, ...]:
    names = _strings(table, key)
    try:
        return tuple(map(StorePath.from_basename, names))
    except NixbkError as error:
        raise Refused(error.message, key) from error


def _sha256(table: dict[str, Any], key: str) -> Hash:
    text = _str(table, key)
    return _at(lambda: Hash.parse(text, HashAlgorithm.SHA256), key)


# Entries ----------------------------------------------------------------------------------


def _shell(table: dict[str, Any]) -> LockedShell | None:
    _keys(table, "sandbox")
    if "shell" not in table and "source" not in table:
        return None
    name = _str(table, "source")
    return LockedShell(_str(table, "shell"), _at(lambda: StorePath.from_basename(name), "source"))


def _sandbox_path(table: dict[str, Any], derivations: Mapping[StorePath, Derivation]) -> LockedPath:
    _keys(table, "sandbox-path")
    text = _str(table, "text")
    subpath = _relative(table, "path") if "path" in table else ""
    if "source" in table:
        _require("derivation" not in table, "'source' and 'derivation' exclude each other")
        source = _str(table, "source")
        path = _at(lambda: StorePath.from_basename(source), "source")
        return LockedPath(text, path, subpath)
    name, output = _str(table, "derivation"), _str(table, "output")
    drv_path = _at(lambda: StorePath.from_basename(name), "derivation")
    derivation = derivations.get(drv_path)
    if derivation is None:
        raise Refused(f"{name!r} is not in the lock", "derivation")
    made = derivation.outputs.get(output)
    if made is None or not made.path:
        raise Refused(f"the derivation has no output {output!r} whose path is known", "output")
    return LockedPath(text, StorePath.parse(made.path), subpath, drv_path, output)


def _input(name: str, table: dict[str, Any]) -> LockedInput:
    _keys(table, "input")
    return LockedInput(
        name,
        _str(table, "url"),
        _bool(table, "flake", default=True),
        _str(table, "locked"),
        _str(table, "rev") if "rev" in table else None,
        _sha256(table, "nar-hash"),
        _int(table, "last-modified") if "last-modified" in table else None,
    )


def _image(_key: str, table: dict[str, Any]) -> LockedImage:
    _keys(table, "image")
    rows = _field(table, "installables", list, "an array of tables", None)
    return LockedImage(
        tuple(_strings(table, "platforms")),
        tuple(_installable(number, row) for number, row in enumerate(rows)),
    )


def _installable(number: int, table: Any) -> LockedInstallable:
    here = ("installables", number)
    if type(table) is not dict:
        raise Refused("expected a table", *here)
    try:
        _keys(table, "installable")
        name = _str(table, "derivation")
        outputs = _texts(table, "outputs")
        _require(bool(outputs), "expected at least one output", "outputs")
        return LockedInstallable(
            _str(table, "text"),
            _at(lambda: StorePath.from_basename(name), "derivation"),
            tuple(outputs),
            _at(lambda: {n: StorePath.parse(p) for n, p in outputs.items() if p}, "outputs"),
        )
    except Refused as error:
        raise Refused(error.message, *here, *error.path) from error


def _derivation(name: str, table: dict[str, Any]) -> tuple[StorePath, Derivation]:
    path = StorePath.from_basename(name)
    if not path.is_derivation:
        raise Refused("expected the name of a derivation")
    _keys(table, "derivation")
    drv_name = path.name.removesuffix(".drv")
    if "aterm" in table:
        if len(table) > 1:
            raise Refused("a recipe in base 64 has no other key", "aterm")
        return path, Derivation.from_bytes(drv_name, _base64(_str(table, "aterm")))
    outputs = {key: _output(key, value) for key, value in _dict(table, "outputs").items()}
    system, builder = _str(table, "system"), _str(table, "builder")
    env = _texts(table, "env")
    if _bool(table, "implied-env", default=True):
        implied = {"name": drv_name, "system": system, "builder": builder}
        env = {**env, **implied, **implied_paths(outputs)}
    derivation = Derivation(
        drv_name,
        outputs,
        dict(_input_drv(n, text) for n, text in enumerate(_strings(table, "inputs"))),
        _paths(table, "sources"),
        system,
        builder,
        tuple(_strings(table, "args")),
        env,
    )
    return path, derivation


def _made(document: dict[str, Any]) -> dict[tuple[StorePath, str], StorePath]:
    found: dict[tuple[StorePath, str], StorePath] = {}
    for key, value in _texts(document, "made").items():
        name, caret, output = key.partition("^")
        _require(bool(caret), "expected '<derivation>^<output>'", key)
        maker = _at(partial(StorePath.from_basename, name), key)
        found[maker, output] = _at(partial(StorePath.from_basename, value), key)
    return found


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused("expected base 64", "aterm") from error


def _output(name: str, value: Any) -> DerivationOutput:
    if type(value) is str:
        return _at(lambda: DerivationOutput(value), "outputs", name)
    if type(value) is not dict:
        raise Refused("expected a store path or a table", "outputs", name)
    try:
        _keys(value, "output")
        fields = [_str(value, key) for key in ("path", "method", "hash")]
    except Refused as error:
        raise Refused(error.message, "outputs", name, *error.path) from error
    return _at(lambda: DerivationOutput(*fields), "outputs", name)


def _input_drv(number: int, text: str) -> tuple[StorePath, tuple[str, ...]]:
    name, caret, outputs = text.partition("^")
    if not caret:
        raise Refused("expected '<derivation>^<outputs>'", "inputs", number)
    path = _at(lambda: StorePath.from_basename(name), "inputs", number)
    return path, tuple(outputs.split(","))


def _source(name: str, table: dict[str, Any]) -> LockedSource:
    path = StorePath.from_basename(name)
    _keys(table, "source")
    file_type = _choice(table, "type", FileType, None)
    if (file_type == "symlink") != ("target" in table):
        raise Refused("a symlink, and nothing else, has a target", "type")
    method = _choice(table, "content", ContentMethod, "nar")
    content_hash = None
    if "content-hash" in table:
        text = _str(table, "content-hash")
        content_hash = _at(lambda: Hash.parse(text), "content-hash")
    return LockedSource(
        path,
        _sha256(table, "nar-hash"),
        _int(table, "nar-size"),
        _paths(table, "references"),
        _origin(table),
        cast("FileType", file_type),
        _str(table, "target", ""),
        cast("ContentMethod", method),
        content_hash,
    )


def _choice(table: dict[str, Any], key: str, kind: Any, default: str | None) -> str:
    choices = get_args(kind)
    value = _str(table, key, default)
    if value not in choices:
        raise Refused(f"expected one of {', '.join(choices)}, found {value!r}", key)
    return value


def _origin(table: dict[str, Any]) -> Origin:
    kinds = [key for key in ("file", "input", "bundle") if key in table]
    if len(kinds) != 1:
        raise Refused("expected one of the keys 'file', 'input' and 'bundle'")
    if ("path" in table) != (kinds == ["input"]):
        raise Refused("'input' and 'path' go together")
    if kinds == ["input"]:
        return InputOrigin(_str(table, "input"), _relative(table, "path", empty=True))
    if kinds == ["file"]:
        return FileOrigin(_relative(table, "file"))
    digest = _str(table, "bundle")
    if not _SHA256_HEX.fullmatch(digest):
        raise Refused("expected 64 hexadecimal digits", "bundle")
    return BundleOrigin(digest)


def _relative(table: dict[str, Any], key: str, *, empty: bool = False) -> str:
    """A path that stays below the folder it is relative to."""
    value = _str(table, key)
    steps = value.split("/")
    if empty and not value:
        return value
    if value == "." and not empty:
        return value
    if any(step in ("", ".", "..") for step in steps) or "\0" in value:
        raise Refused(f"expected a relative path without '.' and '..', found {value!r}", key)
    return value
