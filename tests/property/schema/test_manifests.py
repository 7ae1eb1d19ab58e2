"""Laws of the manifest's reader, held against its models."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Final, get_args

import tomli
from hypothesis import given
from hypothesis import strategies as st
from manifests import read_by_models, shown

from nixbk.schema import manifest
from nixbk.schema.manifest_reader import FIELDS, read_document

ROOT: Final = Path(__file__).parents[3]
EXAMPLE: Final = tomli.loads((ROOT / "nixbk.toml.example").read_text())
PUBLIC_KEYS: Final = EXAMPLE["substituters"]["main"]["public-keys"]


def _matching(pattern: str) -> st.SearchStrategy[str]:
    """Texts of a pattern; ``$`` of Python's is also before a line break at the end."""
    return st.from_regex(pattern)


def _arrays(item: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(item, min_size=least, max_size=3)


def _tables(name: st.SearchStrategy[str], item: st.SearchStrategy[Any], least: int = 0) -> Any:
    return st.dictionaries(name, item, min_size=least, max_size=3)


TEXTS: Final = st.text(max_size=5)
SOME_TEXTS: Final = st.text(min_size=1, max_size=5)
NAMES: Final = _matching(manifest.REFERENCE)
INSTALLABLES: Final = st.sampled_from(EXAMPLE["images"]["demo"]["installables"]) | TEXTS
CACHES: Final = st.sampled_from(["a", "type=gha", "type=inline", "type=local,src=a"]) | TEXTS
OUTPUTS: Final = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("docker")},
        optional={"compression": st.sampled_from(get_args(manifest.DockerCompression))},
    ),
    st.fixed_dictionaries({"type": st.just("oci"), "path": SOME_TEXTS}),
    st.fixed_dictionaries(
        {"type": st.just("registry")}, optional={"name": NAMES, "insecure": st.booleans()}
    ),
)
IMAGES: Final = st.fixed_dictionaries(
    {"installables": _arrays(INSTALLABLES, 1)},
    optional={
        "name": NAMES,
        "platforms": _arrays(st.sampled_from(get_args(manifest.Platform))),
        "entrypoint": _arrays(TEXTS),
        "cmd": _arrays(TEXTS),
        "env": _tables(_matching(manifest.VARIABLE), TEXTS),
        "workdir": _matching(manifest.FOLDER),
        "user": SOME_TEXTS,
        "labels": _tables(TEXTS, TEXTS),
        "ports": _arrays(_matching(manifest.PORT)),
        "volumes": _arrays(_matching(manifest.ABSOLUTE)),
        "stop-signal": _matching(manifest.SIGNAL),
        "layers": st.fixed_dictionaries({}, optional={"max": st.integers(0, 126)}),
        "outputs": _arrays(OUTPUTS),
    },
)
INPUTS: Final = SOME_TEXTS | st.fixed_dictionaries(
    {"url": SOME_TEXTS}, optional={"flake": st.booleans()}
)
SUBSTITUTERS: Final = st.fixed_dictionaries(
    {"url": st.sampled_from([entry["url"] for entry in EXAMPLE["substituters"].values()]) | TEXTS},
    optional={
        "public-keys": _arrays(st.sampled_from(PUBLIC_KEYS) | TEXTS),
        "trust": st.booleans(),
        "ca-file": SOME_TEXTS,
        "token-env": _matching(manifest.ENVIRONMENT_VARIABLE),
    },
)
SANDBOXES: Final = st.fixed_dictionaries(
    {},
    optional={
        "shell": INSTALLABLES,
        "paths": _tables(st.sampled_from(["/bin/a", "/usr", "/nix/a"]) | TEXTS, INSTALLABLES),
        "system-features": _arrays(_matching(manifest.FEATURE)),
    },
)
TABLES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "inputs": _tables(_matching(manifest.INPUT_NAME), INPUTS),
    "sandbox": SANDBOXES,
    "substituters": _tables(_matching(manifest.SUBSTITUTER_NAME), SUBSTITUTERS),
    "fallback": st.booleans(),
    "cache": st.fixed_dictionaries({}, optional={"from": _arrays(CACHES), "to": _arrays(CACHES)}),
    "images": _tables(_matching(manifest.IMAGE_KEY), IMAGES, 1),
}
ODD: Final = st.sampled_from(
    ["", "\n", "a\n", "/a\0", True, False, 0, 1, 1.0, 10**30, [], [""], [[]], {}, {"": ""}]
).map(deepcopy)
KEYS: Final = sorted({key for readers in FIELDS.values() for key in readers})
ODD_KEYS: Final = sorted({*KEYS, "", "a\n", "stop_signal", "from_", "ca_file", "x"})


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each table and array in *value* with each key of it, itself aside."""
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, below in steps:
        found.append((value, key))
        if isinstance(below, dict | list):
            found += _places(below)
    return found


@given(st.sampled_from([*TABLES]).flatmap(lambda key: st.tuples(st.just(key), TABLES[key])))
def test_reader_and_models_read_the_same(table: tuple[str, Any]) -> None:
    """A table whose texts are near to what they should be; the order of its keys stays."""
    key, value = table
    document = {"images": {"a": {"installables": ["./a.nix"]}}, key: value}
    assert shown(read_document(document)) == shown(read_by_models(document))


@given(st.data())
def test_reader_and_models_refuse_the_same(data: st.DataObject) -> None:
    """A manifest with every key, in which something is another, gone, or one too many."""
    document = deepcopy(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 2))):
        table, key = data.draw(st.sampled_from(_places(document)))
        match data.draw(st.sampled_from(["other", "gone", "more"])):
            case "other":
                table[key] = data.draw(ODD)
            case "gone":
                del table[key]
            case _ if isinstance(table, dict):
                table[data.draw(st.sampled_from(ODD_KEYS))] = data.draw(ODD)
            case _:
                table.append(data.draw(ODD))
    assert shown(read_document(document)) == shown(read_by_models(document))
