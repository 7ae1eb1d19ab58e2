"""What is wrong with a manifest's document, in our words, as its models find it.

Imports pydantic, and so is for the way of errors alone. Pure.
"""

from __future__ import annotations

import difflib
import types
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nixbk.schema.manifest_model import EXPECTED, Manifest
from nixbk.schema.problems import KeyPath, ManifestError, Problem, locate_problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails


def refuse(document: dict[str, Any], text: bytes, filename: str) -> NoReturn:
    """Tell what is wrong with *document*, which was read from *text* and is no manifest.

    Raises:
        ManifestError: with a problem for each key at fault.
    """
    try:
        Manifest.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        rows = error.errors(include_url=False)
        # pydantic counts what is at fault as missing
        at_fault = {row["loc"][:-1] for row in rows if row["type"] != "too_short"}
        problems = [_problem(row) for row in rows if row["loc"] not in at_fault]
        raise ManifestError(locate_problems(problems, text, filename)) from error
    raise AssertionError("the reader refused what the models take")


TYPES: dict[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}

MESSAGES: dict[str, str] = {
    "string_type": "expected a string, found {found}",
    "int_type": "expected a whole number, found {found}",
    "bool_type": "expected true or false, found {found}",
    "tuple_type": "expected an array, found {found}",
    "dict_type": "expected a table, found {found}",
    "model_type": "expected a table, found {found}",
    "model_attributes_type": "expected a table, found {found}",
    "string_too_short": "expected text, found none",
    "string_too_long": "text is longer than {max_length} characters",
    "greater_than_equal": "expected at least {ge}, found {value}",
    "less_than_equal": "expected at most {le}, found {value}",
    "union_tag_not_found": "missing key 'type'",
}


def _problem(row: ErrorDetails) -> Problem:
    """One error of pydantic in our words."""
    path, known = _walk(row["loc"])
    kind, value, context = row["type"], row["input"], row.get("ctx", {})
    special = SPECIAL.get(kind)
    if special is not None:
        problem = special(path, value, {**context, "known": known, "msg": row["msg"]})
        return problem._replace(at_key=problem.at_key or row["loc"][-1:] == ("[key]",))
    message = MESSAGES.get(kind)
    if message is None:
        return Problem(path, row["msg"][:1].lower() + row["msg"][1:])
    found = TYPES.get(type(value), "a date or time")
    return Problem(path, message.format(found=found, value=value, **context))


def _unknown(path: KeyPath, _value: object, context: dict[str, Any]) -> Problem:
    near = difflib.get_close_matches(str(path[-1]), context["known"], n=1, cutoff=0)
    return Problem(path, f"unknown key, did you mean {near[0]!r}?", at_key=True)


def _missing(path: KeyPath, _value: object, _context: dict[str, Any]) -> Problem:
    return Problem(path[:-1], f"missing key {path[-1]!r}", at_key=True)


def _short(path: KeyPath, _value: object, _context: dict[str, Any]) -> Problem:
    noun = str(path[-1]).removesuffix("s")
    return Problem(path, f"expected at least one {noun}")


def _choice(path: KeyPath, value: object, context: dict[str, Any]) -> Problem:
    text = str(context.get("expected") or context.get("expected_tags"))
    choices = [c.strip("' ") for c in text.replace(" or ", ", ").split(",")]
    found = value.get("type") if isinstance(value, dict) else value
    near = difflib.get_close_matches(str(found), choices, n=1)
    hint = f"did you mean {near[0]!r}?" if near else None
    return Problem(path, f"expected one of {', '.join(choices)}, found {found!r}", hint)


def _pattern(path: KeyPath, value: object, context: dict[str, Any]) -> Problem:
    expected = EXPECTED.get(str(context.get("pattern")), "other text")
    return Problem(path, f"expected {expected}, found {value!r}", at_key=path[-1] == value)


def _own(path: KeyPath, _value: object, context: dict[str, Any]) -> Problem:
    return Problem(path, context["msg"], context.get("hint"))


SPECIAL: dict[str, Callable[[KeyPath, object, dict[str, Any]], Problem]] = {
    "extra_forbidden": _unknown,
    "literal_error": _choice,
    "missing": _missing,
    "nixbk": _own,
    "string_pattern_mismatch": _pattern,
    "too_short": _short,
    "union_tag_invalid": _choice,
}


def _walk(location: tuple[int | str, ...]) -> tuple[KeyPath, list[str]]:
    """The key path of a location of pydantic, and the keys known in the last table of it.

    pydantic's locations hold the tags of unions and ``[key]`` marks, which are no keys.
    """
    path: list[str | int] = []
    known: list[str] = []
    kind: Any = Manifest
    for step in location:
        if step == "[key]":
            continue
        kind = _bare(kind)
        origin, arguments = get_origin(kind), get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {f.alias or name: f.annotation for name, f in kind.model_fields.items()}
            known = list(fields)
            kind = fields.get(str(step))
        elif origin is dict:
            kind = arguments[1]
        elif origin is tuple:
            kind = arguments[0]
        elif origin in (Union, types.UnionType):
            kind = next((a for a in arguments if _tag(a) == step), None)
            continue
        path.append(step)
    return tuple(path), known


def _bare(kind: Any) -> Any:
    """*kind* without its annotations, and without the None of an option."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        arguments = [a for a in get_args(kind) if a is not type(None)]
        if len(arguments) == 1:
            return _bare(arguments[0])
    return kind


def _tag(model: Any) -> str | None:
    """The value of ``type`` that selects *model* in a union."""
    if isinstance(model, type) and issubclass(model, BaseModel) and "type" in model.model_fields:
        return str(get_args(model.model_fields["type"].annotation)[0])
    return None
