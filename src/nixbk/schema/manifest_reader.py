"""From a manifest's TOML document to its values, every field's type checked by hand.

This is on the way of each command, so it works without pydantic. It takes what the models of
`nixbk.schema.manifest_model` take, and does not say what is wrong with all else: that is left to
`nixbk.schema.manifest_problems`. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast, get_args

from nixbk.errors import NixbkError
from nixbk.nix.signatures import PublicKey
from nixbk.schema import manifest
from nixbk.schema.cache import CacheEntry
from nixbk.schema.cache_url import check_cache_url
from nixbk.schema.installable import Installable
from nixbk.schema.manifest import (
    Cache,
    DockerOutput,
    Image,
    Input,
    Layers,
    Manifest,
    OciOutput,
    Output,
    RegistryOutput,
    Sandbox,
    Substituter,
)
from nixbk.schema.sandbox import SandboxSource, check_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Reader: TypeAlias = Callable[[Any], "T"]

T = TypeVar("T")
TableT = TypeVar("TableT", bound=NamedTuple)


def read_document(document: dict[str, Any]) -> Manifest | None:
    """The manifest that *document* is; None if it is none."""
    try:
        return _table_of(Manifest)(document)
    except (NixbkError, ValueError):  # of a parser, too, as pydantic has it
        return None


def _require(holds: bool) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise ValueError("a value is not what its key asks for")


# Texts, numbers and truths ----------------------------------------------------------------


def _a(kind: type[T]) -> Reader[T]:
    """Values of this very type: True is no number."""

    def read(value: Any) -> T:
        _require(type(value) is kind)
        return cast("T", value)

    return read


_string, _number, _boolean = _a(str), _a(int), _a(bool)


def _some_string(value: Any) -> str:
    """A string that is not empty."""
    text = _string(value)
    _require(bool(text))
    return text


def _layers(value: Any) -> int:
    """How many layers an image can have."""
    number = _number(value)
    _require(1 <= number <= manifest.MAX_LAYERS)
    return number


def _matching(pattern: str) -> Reader[str]:
    """Strings of a pattern, which is compiled for the first of them."""

    def read(value: Any) -> str:
        text = _string(value)
        _require(len(text) <= manifest.MAX_TEXT and re.fullmatch(pattern, text) is not None)
        return text

    return read


def _parsed(parse: Callable[[str], object]) -> Reader[str]:
    """Strings that *parse* takes, as they are."""

    def read(value: Any) -> str:
        text = _string(value)
        parse(text)
        return text

    return read


def _one_of(kind: Any) -> Reader[str]:
    """The strings of a literal type."""

    def read(value: Any) -> str:
        text = _string(value)
        _require(text in get_args(kind))
        return text

    return read


# Arrays and tables ------------------------------------------------------------------------


_array: Reader[list[Any]] = _a(list)
_table: Reader[dict[str, Any]] = _a(dict)


def _tuple_of(item: Reader[T], *, least: int = 0) -> Reader[tuple[T, ...]]:
    """Arrays of at least so many items."""

    def read(value: Any) -> tuple[T, ...]:
        array = _array(value)
        _require(len(array) >= least)
        return tuple(map(item, array))

    return read


def _dict_of(name: Reader[str], item: Reader[T], *, least: int = 0) -> Reader[dict[str, T]]:
    """Tables whose keys are the user's, of at least so many entries."""

    def read(value: Any) -> dict[str, T]:
        table = _table(value)
        _require(len(table) >= least)
        return {name(key): item(below) for key, below in table.items()}

    return read


def _table_of(kind: type[TableT]) -> Reader[TableT]:
    """Tables with the keys of *kind*: all that have no default, and no others."""

    def read(value: Any) -> TableT:
        table, readers = _table(value), FIELDS[kind]
        _require(table.keys() <= readers.keys())
        found = {_field(key): readers[key](below) for key, below in table.items()}
        _require(_needed(kind) <= found.keys())
        return cast("Callable[..., TableT]", kind)(**found)

    return read


def _field(key: str) -> str:
    """The name that a key has as a field."""
    return "from_" if key == "from" else key.replace("-", "_")  # "from" is a word of Python's


def _needed(kind: type[NamedTuple]) -> set[str]:
    """The fields that have no default."""
    return set(kind._fields) - kind._field_defaults.keys()


def _input(value: Any) -> Input:
    """An input; a string is short for the table with this ``url``."""
    return _table_of(Input)({"url": value} if type(value) is str else value)


def _output(value: Any) -> Output:
    """An output, by its ``type``."""
    name = _string(_table(value).get("type"))
    _require(name in OUTPUTS)
    return _table_of(OUTPUTS[name])(value)


OUTPUTS: Final[Mapping[str, type[Output]]] = {
    "docker": DockerOutput,
    "oci": OciOutput,
    "registry": RegistryOutput,
}
FIELDS: Final[Mapping[type, Mapping[str, Reader[Any]]]] = {
    Input: {"url": _some_string, "flake": _boolean},
    Sandbox: {
        "shell": _parsed(SandboxSource.parse),
        "paths": _dict_of(_parsed(check_target), _parsed(SandboxSource.parse)),
        "system-features": _tuple_of(_matching(manifest.FEATURE)),
    },
    Substituter: {
        "url": _parsed(check_cache_url),
        "public-keys": _tuple_of(_parsed(PublicKey.parse)),
        "trust": _boolean,
        "ca-file": _some_string,
        "token-env": _matching(manifest.ENVIRONMENT_VARIABLE),
    },
    Cache: {
        "from": _tuple_of(_parsed(lambda text: CacheEntry.parse(text, "from"))),
        "to": _tuple_of(_parsed(lambda text: CacheEntry.parse(text, "to"))),
    },
    Layers: {"max": _layers},
    DockerOutput: {"type": _string, "compression": _one_of(manifest.DockerCompression)},
    OciOutput: {"type": _string, "path": _some_string},
    RegistryOutput: {
        "type": _string,
        "name": _matching(manifest.REFERENCE),
        "insecure": _boolean,
    },
    Image: {
        "installables": _tuple_of(_parsed(Installable.parse), least=1),
        "name": _matching(manifest.REFERENCE),
        "platforms": _tuple_of(_one_of(manifest.Platform)),
        "entrypoint": _tuple_of(_string),
        "cmd": _tuple_of(_string),
        "env": _dict_of(_matching(manifest.VARIABLE), _string),
        "workdir": _matching(manifest.FOLDER),
        "user": _some_string,
        "labels": _dict_of(_string, _string),
        "ports": _tuple_of(_matching(manifest.PORT)),
        "volumes": _tuple_of(_matching(manifest.ABSOLUTE)),
        "stop-signal": _matching(manifest.SIGNAL),
        "layers": _table_of(Layers),
        "outputs": _tuple_of(_output),
    },
    Manifest: {
        "inputs": _dict_of(_matching(manifest.INPUT_NAME), _input),
        "sandbox": _table_of(Sandbox),
        "substituters": _dict_of(_matching(manifest.SUBSTITUTER_NAME), _table_of(Substituter)),
        "fallback": _boolean,
        "cache": _table_of(Cache),
        "images": _dict_of(_matching(manifest.IMAGE_KEY), _table_of(Image), least=1),
    },
}
"""What each key of each table holds."""
