"""Manifests as their models have them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from nixbk.schema import manifest, manifest_model


def read_by_models(document: dict[str, Any]) -> manifest.Manifest | None:
    """The manifest that *document* is; None if it is none."""
    try:
        found = manifest_model.Manifest.model_validate(document, by_alias=True, by_name=False)
    except ValidationError:
        return None
    value: manifest.Manifest = _value(found)
    return value


def shown(found: manifest.Manifest | None) -> str:
    """All of a manifest, which tells 1 from True and the orders of keys apart, as `==` does not."""
    return repr(found).replace(repr(MappingProxyType({})), "{}")


def _value(found: Any) -> Any:
    """*found* with the classes of values for those of models."""
    match found:
        case manifest_model.Model():
            fields = {name: _value(getattr(found, name)) for name in type(found).model_fields}
            return getattr(manifest, type(found).__name__)(**fields)
        case dict():
            return {key: _value(item) for key, item in found.items()}
        case tuple():
            return tuple(map(_value, found))
    return found
