r"""The text of a ``.drv`` file: the ATerm that Nix prints, and no other. Pure.

Grammar::

    drv     = ("Derive(" / "DrvWithVersion(" DQUOTE "xp-dyn-drv" DQUOTE ",")
              outputs "," inputs "," sources "," system "," builder "," args "," env ")"
    outputs = "[" *output "]"      ; comma separated, sorted by name
    output  = "(" name "," path "," method-algorithm "," hash ")"
    inputs  = "[" *input "]"       ; comma separated, sorted by path
    input   = "(" path "," wanted ")"
    wanted  = "[" *name "]"        ; at least one, unless something follows
            / "(" "[" *name "]" ",[" 1*( "(" name "," wanted ")" ) "])"
                                   ; "xp-dyn-drv" alone: outputs of what is an output
    sources = "[" *path "]"        ; comma separated, sorted
    system  = DQUOTE *raw DQUOTE   ; printed without escapes
    builder = string
    args    = "[" *string "]"      ; comma separated
    env     = "[" *( "(" string "," string ")" ) "]"    ; sorted by name
    string  = DQUOTE *( raw / "\\" / "\" DQUOTE / "\n" / "\r" / "\t" ) DQUOTE

Only what Nix prints is read: sorted, unique, each character escaped in its one
way. So reading and printing are inverses, and hashes may be made by splicing
the bytes that were read.

The text is scanned as latin-1, one character per byte: positions are byte
offsets and strings sort as bytes. Every loop moves forward and every pattern is
possessive, so time and memory are linear in the input, whatever it holds.

Source: ``parseDerivation`` and ``Derivation::unparse``, Nix
``src/libstore/derivations.cc``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from operator import lt
from sys import intern
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class DerivationError(NixbkError):
    """A derivation that is malformed, inconsistent, or of a kind nixbk cannot use."""


OutputFields = tuple[str, str, str]
"""Path, method and algorithm, hash: the fields of an output, empty when absent."""


DynamicInput = tuple[str, tuple[str, ...], str]
"""An output of a derivation that others make: the path of the first of them, the outputs that lead
from each to the next, and the output of the last."""


class Source(NamedTuple):
    """The bytes of a derivation and where their parts are.

    Attributes:
        data: the whole text.
        outputs_end: offset just behind the ``]`` of the outputs.
        inputs_end: offset just behind the ``]`` of the input derivations.
        env_start: offset of the ``[`` of the environment.
    """

    data: bytes
    outputs_end: int
    inputs_end: int
    env_start: int


class Fields(NamedTuple):
    """The parts of a derivation as plain text, in the order of the file.

    The environment is apart: most of a text is environment, and most of its
    uses do without.
    """

    outputs: dict[str, OutputFields]
    inputs: dict[str, tuple[str, ...]]
    sources: list[str]
    system: str
    builder: str
    args: tuple[str, ...]
    dynamic: tuple[DynamicInput, ...] = ()


_STRING: Final = r'[^"\\\n\r\t]*+(?:\\["\\nrt][^"\\\n\r\t]*+)*+'
_OUTPUT_NAME: Final = r"[0-9A-Za-z+\-._?=]++"
_HEAD: Final = "Derive(["
_DYNAMIC_HEAD: Final = 'DrvWithVersion("xp-dyn-drv",['
_MAX_DYNAMIC_DEPTH: Final = 16
_OUTPUT: Final = re.compile(
    rf'\("({_OUTPUT_NAME})","([^"\\]*+)","([^"\\]*+)","([^"\\]*+)"\)([,\]])'
)
_INPUT: Final = re.compile(rf'\("([^"\\]*+)",\[((?:"{_OUTPUT_NAME}",?)++)\]\)([,\]])')
_INPUT_HEAD: Final = re.compile(r'\("([^"\\]*+)",')
_NAMES: Final = re.compile(rf'\[((?:"{_OUTPUT_NAME}",?)*+)\]')
_SYSTEM_AND_BUILDER: Final = re.compile(rf'\],"([^"\\]*+)","({_STRING})",\[')
_ARG: Final = re.compile(rf'"({_STRING})"([,\]])')
_PAIR: Final = re.compile(rf'\("({_STRING})","({_STRING})"\)(?:,(?=\()|\]\)\Z)')
_VALUE: Final = re.compile(_STRING.encode())
_PAIR_PUNCTUATION: Final = len('("",""),')
_INPUT_PUNCTUATION: Final = len('("",[])]')

_MUST_ESCAPE: Final = re.compile(r'["\\\n\r\t]')
_ESCAPED: Final = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def parse(data: bytes) -> tuple[Fields, Source]:
    """Read the text of a derivation.

    What is checked is the grammar of this module; store paths and hashes are
    left as text, the environment to `read_env`.

    Raises:
        DerivationError: *data* is not what Nix would print.
    """
    text = data.decode("latin-1")
    is_dynamic = text.startswith(_DYNAMIC_HEAD)
    if not is_dynamic and not text.startswith(_HEAD):
        raise _malformed(text, 0, repr(_HEAD))
    outputs, end = _outputs(text, len(_DYNAMIC_HEAD if is_dynamic else _HEAD))
    outputs_end = end
    start = _expect(text, end, ",[")
    dynamic: tuple[DynamicInput, ...] = ()
    if is_dynamic:
        inputs, dynamic, end = _dynamic_inputs(text, start)
    else:
        inputs, end = _inputs(text, start)
    inputs_end = end
    sources, end = _sources(text, _expect(text, end, ",["))
    match = _SYSTEM_AND_BUILDER.match(text, end)
    if not match:
        raise _malformed(text, end, "the system and the builder")
    args, end = _args(text, match.end())
    end = _expect(text, end, ",[")
    _check_env(text, end)
    system, builder = match.groups()
    fields = Fields(
        outputs, inputs, sources, _plain(system), _plain(_unescape(builder)), args, dynamic
    )
    return fields, Source(data, outputs_end, inputs_end, end - 1)


def _outputs(text: str, position: int) -> tuple[dict[str, OutputFields], int]:
    outputs: dict[str, OutputFields] = {}
    previous = ""
    while match := _OUTPUT.match(text, position):
        name, path, algorithm, digest, separator = match.groups()
        if name <= previous:
            raise DerivationError(f"the output {name!r} is not in sorted order")
        outputs[intern(name)] = (path, intern(algorithm), digest)
        previous = name
        position = match.end()
        if separator == "]":
            return outputs, position
    raise _malformed(text, position, "an output")


def _inputs(text: str, position: int) -> tuple[dict[str, tuple[str, ...]], int]:
    if text.startswith("]", position):
        return {}, position + 1
    end = text.find(")],[", position) + 2
    found = _INPUT.findall(text, position, max(end, position))
    if not found:
        raise _malformed(text, position, "an input derivation")
    paths, names, separators = zip(*found, strict=True)
    size = _INPUT_PUNCTUATION * len(paths) + sum(map(len, paths)) + sum(map(len, names))
    if size != end - position or not _ends_once(separators):
        raise _malformed(text, _first_gap(_INPUT, text, position), "an input derivation")
    _check_sorted(paths, "input derivation")
    return dict(zip(paths, map(_output_names, names), strict=True)), end


def _dynamic_inputs(
    text: str, position: int
) -> tuple[dict[str, tuple[str, ...]], tuple[DynamicInput, ...], int]:
    """Inputs of which some are outputs of derivations that others make."""
    inputs: dict[str, tuple[str, ...]] = {}
    dynamic: list[DynamicInput] = []
    while match := _INPUT_HEAD.match(text, position):
        path = match[1]
        inputs[path], found, position = _wanted(text, match.end(), ())
        dynamic += [(path, chain, name) for chain, name in found]
        position = _expect(text, position, ")")
        if text.startswith("]", position):
            break
        position = _expect(text, position, ",")
    _check_sorted(tuple(inputs), "input derivation")
    if not dynamic:
        raise DerivationError("the derivation has a version, and no dynamic input")
    return inputs, tuple(dynamic), _expect(text, position, "]")


def _wanted(
    text: str, position: int, chain: tuple[str, ...]
) -> tuple[tuple[str, ...], list[tuple[tuple[str, ...], str]], int]:
    """Which outputs of an input are wanted, and which of the derivations that those are."""
    has_more = text.startswith("(", position)
    match = _NAMES.match(text, position + has_more)
    if not match or len(chain) > _MAX_DYNAMIC_DEPTH:
        raise _malformed(text, position, "the wanted outputs")
    names = _output_names(match[1]) if match[1] else ()
    position = match.end()
    if not has_more:
        if not names:
            raise _malformed(text, position, "an output name")
        return names, [], position
    found: list[tuple[tuple[str, ...], str]] = []
    position = _expect(text, position, ",[")
    outputs: list[str] = []
    while match := _INPUT_HEAD.match(text, position):
        outputs.append(match[1])
        inner = (*chain, match[1])
        wanted, deeper, position = _wanted(text, match.end(), inner)
        found += [*((inner, name) for name in wanted), *deeper]
        position = _expect(text, position, ")")
        if text.startswith("]", position):
            break
        position = _expect(text, position, ",")
    _check_sorted(outputs, "output name")
    return names, found, _expect(text, position, "])")


def _sources(text: str, position: int) -> tuple[list[str], int]:
    if text.startswith("]", position):
        return [], position
    end = text.find('"]', position)
    if end < 0 or text[position] != '"':
        raise _malformed(text, position, "an input source")
    sources = text[position + 1 : end].split('","')
    _check_sorted(sources, "input source")
    return sources, end + 1


def _args(text: str, position: int) -> tuple[tuple[str, ...], int]:
    if text.startswith("]", position):
        return (), position + 1
    args: list[str] = []
    while match := _ARG.match(text, position):
        arg, separator = match.groups()
        args.append(_plain(_unescape(arg)))
        position = match.end()
        if separator == "]":
            return tuple(args), position
    raise _malformed(text, position, "an argument")


def _check_env(text: str, position: int) -> None:
    """Check the environment without taking it apart for good."""
    if text.startswith("]", position):
        if text[position + 1 :] != ")":
            raise _malformed(text, position + 1, "the end of the derivation")
        return
    found = _PAIR.findall(text, position)
    if not found:
        raise _malformed(text, position, "an environment variable")
    names, values = zip(*found, strict=True)
    size = _PAIR_PUNCTUATION * len(names) + sum(map(len, names)) + sum(map(len, values))
    # Matches do not overlap, so they cover the text when their lengths add up to its own.
    if position + size + 1 != len(text):
        raise _malformed(text, _first_gap(_PAIR, text, position), "an environment variable")
    if "\\" in "".join(names):
        names = tuple(map(_unescape, names))
    _check_sorted(names, "environment variable")


def read_env(source: Source) -> dict[str, str]:
    """The environment in a text that `parse` has read."""
    found = _PAIR.findall(source.data[source.env_start :].decode("latin-1"))
    return {intern(_plain(_unescape(name))): _plain(_unescape(value)) for name, value in found}


def find_variable(source: Source, name: str) -> tuple[int, int] | None:
    """Where the value of an environment variable is in the text, without its quotes.

    Args:
        source: a text that `parse` has read.
        name: one that needs no escape.
    """
    # A quote in a string is escaped, so only a variable can begin like this.
    head = f'("{name}","'.encode()
    start = source.data.find(head, source.env_start) + len(head)
    if start < len(head):
        return None
    match = _VALUE.match(source.data, start)
    return match.span() if match else None


@lru_cache(maxsize=1 << 12)
def _output_names(text: str) -> tuple[str, ...]:
    """The names in ``"a","b"``."""
    names = tuple(intern(name) for name in text.strip('"').split('","'))
    if ",".join(f'"{name}"' for name in names) != text:
        raise DerivationError(f"the output names {text!r} are malformed")
    _check_sorted(names, "output name")
    return names


def _ends_once(separators: Sequence[str]) -> bool:
    """Whether only the last of *separators* closes the list."""
    return separators[-1] == "]" and "]" not in separators[:-1]


def _check_sorted(keys: Sequence[str], what: str) -> None:
    if all(map(lt, keys, islice(keys, 1, None))):
        return
    for before, after in zip(keys, islice(keys, 1, None), strict=False):
        if before == after:
            raise DerivationError(f"the {what} {_plain(after)!r} is there twice")
        if before > after:
            raise DerivationError(f"the {what} {_plain(after)!r} is not in sorted order")


def _expect(text: str, position: int, token: str) -> int:
    if not text.startswith(token, position):
        raise _malformed(text, position, repr(token))
    return position + len(token)


def _first_gap(pattern: re.Pattern[str], text: str, position: int) -> int:
    """The first offset where the items of *pattern* do not follow one another."""
    while match := pattern.match(text, position):
        position = match.end()
    return position


def _malformed(text: str, position: int, expected: str) -> DerivationError:
    if position >= len(text):
        return DerivationError(f"the derivation ends at byte {len(text)}, before {expected}")
    found = text[position : position + 20]
    return DerivationError(f"malformed derivation at byte {position}: {found!r} is not {expected}")


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    # A pair of backslashes is always found at its own place: a run of them begins
    # behind a character that is none.
    return "\\".join(
        [
            part.replace('\\"', '"').replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
            for part in text.split("\\\\")
        ]
    )


def _plain(text: str) -> str:
    """From one character per byte to the text the bytes encode."""
    if text.isascii():
        return text
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes of a Nix string; bytes that are no UTF-8 come back as they were."""
    return text.encode("utf-8", "surrogateescape")


def normal(text: str) -> str:
    """The one spelling of a Nix string in Python.

    Raises:
        DerivationError: *text* has surrogates that stand for no byte.
    """
    if text.isascii():
        return text
    try:
        return to_bytes(text).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise DerivationError(f"{text!r} has characters that are no text") from error


def render(fields: Fields, env: Mapping[str, str]) -> Source:
    """Print a derivation; *fields* and *env* are in order already.

    Source: ``Derivation::unparse``, Nix ``src/libstore/derivations.cc``.
    """
    outputs = ",".join(
        f'("{name}","{path}","{algorithm}","{digest}")'
        for name, (path, algorithm, digest) in fields.outputs.items()
    )
    inputs = ",".join(f'("{path}",{render_names(names)})' for path, names in fields.inputs.items())
    sources = ",".join(f'"{path}"' for path in fields.sources)
    middle = to_bytes(
        f'[{sources}],"{fields.system}",{quote(fields.builder)},'
        f"[{','.join(map(quote, fields.args))}],"
    )
    head = f"Derive([{outputs}]".encode()
    before_sources = head + f",[{inputs}]".encode()
    start = before_sources + b"," + middle
    return Source(
        start + to_bytes(_render_env(env)) + b")",
        len(head),
        len(before_sources),
        len(start),
    )


def _render_env(env: Mapping[str, str]) -> str:
    return "[" + ",".join(f"({quote(name)},{quote(env[name])})" for name in env) + "]"


@lru_cache(maxsize=1 << 12)
def render_names(names: tuple[str, ...]) -> str:
    """Print the list of outputs that is wanted of an input."""
    return "[" + ",".join(f'"{name}"' for name in names) + "]"


def quote(text: str) -> str:
    """Print a string.

    Source: ``printString``, Nix ``src/libstore/derivations.cc``.
    """
    if _MUST_ESCAPE.search(text):
        text = text.translate(_ESCAPED)
    return f'"{text}"'
