"""The JSON schemas of the manifest, the lock and the plan, for editors and for programs.

``dev/schemas`` writes them to ``schema/``. Pure.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from nixbk.schema.lock_model import LockModel
from nixbk.schema.manifest_model import Manifest
from nixbk.schema.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.schema.manifest_model import Model

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TITLES = {"manifest": "nixbk.toml", "lock": "nixbk.lock", "plan": "nixbk plan --json"}


def schemas() -> dict[str, bytes]:
    """Every schema by the name of its file; equal code gives equal bytes."""
    found = {"manifest": _described(Manifest), "lock": _described(LockModel), "plan": _plan()}
    return {f"{name}.schema.json": _bytes(name, schema) for name, schema in found.items()}


def _described(model: type[Model]) -> dict[str, Any]:
    """The schema of a model, with the doc strings of its fields.

    pydantic could look for them itself, but does so whenever a program starts.
    """
    schema = model.model_json_schema(by_alias=True)
    texts = _field_texts(inspect.getsource(inspect.getmodule(model) or model))
    for name, table in {model.__name__: schema, **schema.get("$defs", {})}.items():
        variants = [table, *table.get("anyOf", ())]
        for properties in (variant.get("properties", {}) for variant in variants):
            for key, value in properties.items():
                value["description"] = texts[name][key.replace("-", "_")]
    return schema


def _field_texts(source: str) -> dict[str, dict[str, str]]:
    """The text below each field of each class of a module."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            texts = found.setdefault(node.name, {})
            for field, text in pairwise(node.body):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(words))),
                    ):
                        texts[name.removesuffix("_")] = words
    return found


def _plan() -> dict[str, Any]:
    schema = TypeAdapter(Plan).json_schema(mode="serialization")
    schema["properties"]["changes"] = {
        "type": "boolean",
        "description": "Whether an apply would do anything.",
    }
    schema["required"] = [*schema["required"], "changes", "version"]
    return schema


def _bytes(name: str, schema: Mapping[str, Any]) -> bytes:
    document = {"$schema": DIALECT, **_clean(schema), "title": _TITLES[name]}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _clean(value: Any) -> Any:
    """Without what says nothing: titles made of names, and null, which TOML has not."""
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _clean(item) for key, item in value.items()}
    if isinstance(found.get("title"), str):
        del found["title"]
    if isinstance(found.get("description"), str):
        found["description"] = _prose(found["description"])
    choices = found.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        left = [choice for choice in choices if choice != {"type": "null"}]
        del found["anyOf"]
        found |= left[0] if len(left) == 1 else {"anyOf": left}
    if "patternProperties" in found:
        found.pop("propertyNames", None)
        found.setdefault("additionalProperties", False)
    if "default" in found and found["default"] is None:
        del found["default"]
    return found


def _prose(text: str) -> str:
    """A doc string as one paragraph, without the sections that are for programmers."""
    summary = re.split(r"\n\n(?:Attributes|Source):", inspect.cleandoc(text))[0]
    return re.sub(r"\s*\n\s*", " ", summary).replace("``", "`")
