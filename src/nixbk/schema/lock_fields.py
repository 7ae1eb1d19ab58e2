"""The fields of a lock's tables, each with its type checked by hand. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, get_args

from nixbk.errors import NixbkError
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.store_path import StorePath
from nixbk.schema.lock_document import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixbk.schema.problems import KeyPath

T = TypeVar("T")


class Refused(Exception):  # noqa: N818 - control flow of the reader
    """An entry is not what the format asks for."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.path: KeyPath = path


def check_keys(table: dict[str, Any], kind: str) -> bool:
    """See that a table has no other keys than those of its kind."""
    if not table.keys() <= KEYS[kind]:
        unknown = next(key for key in table if key not in KEYS[kind])
        raise Refused("unknown key", unknown)
    return True


def field_of(table: dict[str, Any], key: str, kind: type[T], words: str, default: T | None) -> T:
    """The value of a key, of the type that it must have."""
    value = table.get(key, default)
    if value is None:
        raise Refused(f"missing key {key!r}")
    if type(value) is not kind:
        raise Refused(f"expected {words}", key)
    return value


def str_of(table: dict[str, Any], key: str, default: str | None = None) -> str:
    """The text of a key."""
    return field_of(table, key, str, "a string", default)


def int_of(table: dict[str, Any], key: str) -> int:
    """The number of a key."""
    value = field_of(table, key, int, "a number", None)
    if value < 0:
        raise Refused("expected a number that is not negative", key)
    return value


def bool_of(table: dict[str, Any], key: str, *, default: bool) -> bool:
    """The truth of a key."""
    return field_of(table, key, bool, "true or false", default)


def dict_of(
    table: dict[str, Any], key: str, default: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The table of a key."""
    return field_of(table, key, dict, "a table", default)


def strings_of(table: dict[str, Any], key: str) -> list[str]:
    """The texts of a key."""
    values = field_of(table, key, list, "an array", [])
    for number, value in enumerate(values):
        if type(value) is not str:
            raise Refused("expected a string", key, number)
    return values


def texts_of(table: dict[str, Any], key: str) -> dict[str, str]:
    """The table of texts of a key."""
    values = dict_of(table, key, {})
    for name, value in values.items():
        if type(value) is not str:
            raise Refused("expected a string", key, name)
    return values


def at(read: Callable[[], T], *path: str | int) -> T:
    """What *read* gives; an error of it is one of the field at *path*."""
    try:
        return read()
    except NixbkError as error:
        raise Refused(error.message, *path) from error


def require(holds: bool, message: str, *path: str | int) -> None:  # noqa: FBT001 - a condition
    """See that a condition holds."""
    if not holds:
        raise Refused(message, *path)


def paths_of(table: dict[str, Any], key: str) -> tuple[StorePath, ...]:
    """The store paths of a key, which has their base names."""
    names = strings_of(table, key)
    try:
        return tuple(map(StorePath.from_basename, names))
    except NixbkError as error:
        raise Refused(error.message, key) from error


def sha256_of(table: dict[str, Any], key: str) -> Hash:
    """The hash of a key."""
    text = str_of(table, key)
    return at(lambda: Hash.parse(text, HashAlgorithm.SHA256), key)


def choice_of(table: dict[str, Any], key: str, kind: Any, default: str | None) -> str:
    """The text of a key that is one of a few: of a literal type, or of a tuple."""
    choices = kind if isinstance(kind, tuple) else get_args(kind)
    value = str_of(table, key, default)
    if value not in choices:
        raise Refused(f"expected one of {', '.join(choices)}, found {value!r}", key)
    return value


def relative_of(table: dict[str, Any], key: str, *, empty: bool = False) -> str:
    """A path that stays below the folder it is relative to."""
    value = str_of(table, key)
    steps = value.split("/")
    if empty and not value:
        return value
    if value == "." and not empty:
        return value
    if any(step in ("", ".", "..") for step in steps) or "\0" in value:
        raise Refused(f"expected a relative path without '.' and '..', found {value!r}", key)
    return value
