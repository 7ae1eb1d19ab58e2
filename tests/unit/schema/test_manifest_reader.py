"""The reader of manifests and the models of their JSON schema say the same."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import tomli
from manifests import read_by_models, shown
from pydantic_core import PydanticUndefined

from nixbk.schema import manifest_model
from nixbk.schema.manifest_problems import refuse
from nixbk.schema.manifest_reader import FIELDS, read_document

ROOT = Path(__file__).parents[3]
EXAMPLES = ("nixbk.toml.example", "examples/minipkgs/nixbk.toml")
IMAGE = {"installables": ["./a.nix"]}
KEY = f"k:{'A' * 43}="
SLOW = ("pydantic", "pydantic_core", "typing_extensions", "importlib.metadata", "tree_sitter")


def _model(kind: type) -> type[manifest_model.Model]:
    found: type[manifest_model.Model] = getattr(manifest_model, kind.__name__)
    return found


def test_they_know_the_same_keys() -> None:
    """The JSON schema describes what is read."""
    models = {kind.__name__: _model(kind).model_fields for kind in FIELDS}
    assert {kind.__name__: set(readers) for kind, readers in FIELDS.items()} == {
        name: {field.alias for field in fields.values()} for name, fields in models.items()
    }


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
def test_they_have_the_same_fields(kind: type[NamedTuple]) -> None:
    """In the same order, what is needed first as Python has it, and optional are the same."""
    fields = _model(kind).model_fields
    needed = {name: field.default is PydanticUndefined for name, field in fields.items()}
    assert list(kind._fields) == sorted(fields, key=lambda name: not needed[name])
    assert kind._field_defaults.keys() == {name for name in fields if not needed[name]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_they_read_the_same(name: str) -> None:
    """Every value, in the same order."""
    document = tomli.loads((ROOT / name).read_text())
    assert shown(read_document(document)) == shown(read_by_models(document))


VALUES: dict[str, tuple[str, Any, bool]] = {
    "text": ("user", "me", True),
    "no text": ("user", "", False),
    "number for text": ("user", 1, False),
    "truth for text": ("user", True, False),
    "date for text": ("user", dt.date(2026, 1, 1), False),
    "array for text": ("user", ["me"], False),
    "empty text": ("cmd", [""], True),
    "text for an array": ("cmd", "sh", False),
    "table for an array": ("cmd", {"sh": "sh"}, False),
    "array in an array": ("cmd", [["sh"]], False),
    "empty array": ("cmd", [], True),
    "empty array of installables": ("installables", [], False),
    "no installable": ("installables", ["a b"], False),
    "empty key of a label": ("labels", {"": ""}, True),
    "empty key of a variable": ("env", {"": ""}, False),
    "variable with a line break": ("env", {"a\n": ""}, True),
    "variable with '='": ("env", {"a=": ""}, False),
    "number in a table of texts": ("env", {"a": 1}, False),
    "port": ("ports", ["8080-8081/udp"], True),
    "line break behind a port": ("ports", ["80\n"], False),
    "digits of others": ("ports", ["٨٠"], False),
    "line break behind a signal": ("stop-signal", "SIGINT\n", False),
    "signal with a number": ("stop-signal", "SIGRTMIN+3", True),
    "line break in a path": ("volumes", ["/a\n"], True),
    "zero byte in a path": ("volumes", ["/a\0"], False),
    "relative path": ("volumes", ["a"], False),
    "as long as can be": ("volumes", ["/" + "é" * 4095], True),
    "too long": ("volumes", ["/" + "a" * 4096], False),
    "expansion": ("workdir", "${a", True),
    "reference": ("name", "A.b:80/c/d__e--f:T", True),
    "line break behind a reference": ("name", "a\n", False),
    "platform": ("platforms", ["linux/arm/v7"], True),
    "line break behind a platform": ("platforms", ["linux/386\n"], False),
    "the fewest layers": ("layers", {"max": 1}, True),
    "the most layers": ("layers", {"max": 125}, True),
    "no layers": ("layers", {"max": 0}, False),
    "one layer too many": ("layers", {"max": 126}, False),
    "huge number": ("layers", {"max": 10**30}, False),
    "truth for a number": ("layers", {"max": True}, False),
    "fraction for a number": ("layers", {"max": 1.0}, False),
    "digits for a number": ("layers", {"max": "1"}, False),
    "array for a table": ("layers", [], False),
    "output": ("outputs", [{"type": "docker", "compression": "zstd"}], True),
    "output without type": ("outputs", [{"path": "x"}], False),
    "output of no type": ("outputs", [{"type": "tar"}], False),
    "truth for a type": ("outputs", [{"type": True}], False),
    "array for a type": ("outputs", [{"type": ["docker"]}], False),
    "text for an output": ("outputs", ["docker"], False),
    "key of another output": ("outputs", [{"type": "docker", "path": "x"}], False),
    "output without its key": ("outputs", [{"type": "oci"}], False),
    "number for a truth": ("outputs", [{"type": "registry", "insecure": 1}], False),
    "key with an underscore": ("stop_signal", "SIGINT", False),
}
TABLES: dict[str, tuple[str, Any, bool]] = {
    "short input": ("inputs", {"a": "path:."}, True),
    "empty short input": ("inputs", {"a": ""}, False),
    "array for an input": ("inputs", {"a": ["path:."]}, False),
    "input without url": ("inputs", {"a": {"flake": True}}, False),
    "number for flake": ("inputs", {"a": {"url": "path:.", "flake": 0}}, False),
    "name of an input": ("inputs", {"1a": "path:."}, False),
    "target in the sandbox": ("sandbox", {"paths": {"/usr/bin/env": "env"}}, True),
    "target that is ours": ("sandbox", {"paths": {"/nix/env": "env"}}, False),
    "feature": ("sandbox", {"system-features": ["kvm", "big parallel"]}, False),
    "feature with an underscore": ("sandbox", {"system_features": []}, False),
    "substituter": ("substituters", {"a": {"url": "file:./a", "public-keys": [KEY]}}, True),
    "key that is none": ("substituters", {"a": {"url": "file:./a", "public-keys": ["k"]}}, False),
    "address that is none": ("substituters", {"a": {"url": "http://[a"}}, False),
    "long name of a substituter": ("substituters", {"a" * 65: {"url": "file:./a"}}, False),
    "variable of a token": ("substituters", {"a": {"url": "file:./a", "token-env": "1"}}, False),
    "cache": ("cache", {"from": ["type=gha"], "to": ["type=inline"]}, True),
    "cache from an image's": ("cache", {"from": ["type=inline"]}, False),
    "cache by its field": ("cache", {"from_": []}, False),
    "number for fallback": ("fallback", 1, False),
    "no image": ("images", {}, False),
    "array of images": ("images", [IMAGE], False),
    "image without installables": ("images", {"a": {}}, False),
    "key of an image": ("images", {"a\n": IMAGE}, False),
    "empty key of an image": ("images", {"": IMAGE}, False),
    "unknown table": ("image", {}, False),
}
DOCUMENTS = {
    **{name: ({"images": {"a": {**IMAGE, k: v}}}, ok) for name, (k, v, ok) in VALUES.items()},
    **{name: ({"images": {"a": IMAGE}, k: v}, ok) for name, (k, v, ok) in TABLES.items()},
    "nothing": ({}, False),
}


@pytest.mark.parametrize(("document", "taken"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_they_take_the_same(document: dict[str, Any], taken: bool) -> None:
    """Neither makes one thing of another, nor overlooks a line break at the end."""
    read = read_document(document)
    assert (read is not None) == taken
    assert shown(read) == shown(read_by_models(document))


def test_what_only_the_reader_refuses_is_an_error_of_ours() -> None:
    """It is not taken in silence."""
    with pytest.raises(AssertionError, match="the reader refused what the models take"):
        refuse({"images": {"a": IMAGE}}, b"", "nixbk.toml")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_manifest_is_read_without_what_is_slow_to_import(name: str) -> None:
    """It alone would take longer than all the rest."""
    text = (ROOT / name).read_bytes()
    with patch.dict(sys.modules, dict.fromkeys(SLOW)):
        for module in [name for name in sys.modules if name.partition(".")[0] == "nixbk"]:
            del sys.modules[module]
        fresh = importlib.import_module("nixbk.schema.manifest_file")
        assert fresh.parse_manifest(text).text == text
