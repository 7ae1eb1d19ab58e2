"""Closures told to a builder: ``exportReferencesGraph`` in both its forms. Pure.

The classic form is a text per graph, for every path of the closure in order::

    registration = *( path LF LF count LF *( path LF ) )    ; count references

The structured form is a JSON list of objects with ``ca`` (if any),
``closureSize``, ``narHash``, ``narSize``, ``path``, ``references``, ``valid``.

Source: ``Store::exportReferences`` and ``Store::makeValidityRegistration``, Nix
``src/libstore/store-api.cc``; ``pathInfoToJSON``, Nix
``src/libstore/parsed-derivations.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from nixbk.nix.hashes import Hash
    from nixbk.nix.store_path import StorePath


class ReferenceInfo(NamedTuple):
    """What the store knows of one valid path.

    Attributes:
        path: the path.
        nar_hash: SHA-256 of its NAR.
        nar_size: its NAR's size in bytes.
        references: the paths it refers to, itself included if it does.
        ca: how its content was addressed, such as ``fixed:r:sha256:…``, or empty;
            only the structured form tells it.
        outputs: of a ``.drv`` path, the outputs, whose closures are told as well.
    """

    path: StorePath
    nar_hash: Hash
    nar_size: int
    references: tuple[StorePath, ...]
    ca: str = ""
    outputs: tuple[StorePath, ...] = ()


Lookup = Callable[["StorePath"], ReferenceInfo]


def exported(roots: Iterable[StorePath], lookup: Lookup) -> dict[StorePath, ReferenceInfo]:
    """The closure of *roots*, and of the outputs of each derivation in it, sorted.

    Args:
        roots: where to begin.
        lookup: what is known of a path; raises for one that the build may not see.

    Source: ``Store::exportReferences``.
    """
    found = _closure(roots, lookup, {})
    outputs = [output for info in tuple(found.values()) for output in info.outputs]
    found = _closure(outputs, lookup, found)
    return {path: found[path] for path in sorted(found)}


def validity_registration(infos: dict[StorePath, ReferenceInfo]) -> str:
    """The classic form.

    Source: ``Store::makeValidityRegistration``, without derivers and hashes.
    """
    lines: list[str] = []
    for path, info in infos.items():
        references = sorted(set(info.references))
        lines += [str(path), "", str(len(references)), *map(str, references)]
    return "".join(f"{line}\n" for line in lines)


def graph_json(infos: dict[StorePath, ReferenceInfo]) -> list[dict[str, Any]]:
    """The structured form.

    Source: ``pathInfoToJSON``.
    """
    closure_sizes = _closure_sizes(infos)
    return [
        {
            **({"ca": info.ca} if info.ca else {}),
            "closureSize": closure_sizes[path],
            "narHash": f"{info.nar_hash.algorithm}:{info.nar_hash.base32()}",
            "narSize": info.nar_size,
            "path": str(path),
            "references": list(map(str, sorted(set(info.references)))),
            "valid": True,
        }
        for path, info in infos.items()
    ]


def _closure(
    roots: Iterable[StorePath], lookup: Lookup, known: dict[StorePath, ReferenceInfo]
) -> dict[StorePath, ReferenceInfo]:
    """Add the closure of *roots* to *known*."""
    found = dict(known)
    stack = list(roots)
    while stack:
        path = stack.pop()
        if path not in found:
            found[path] = lookup(path)
            stack += found[path].references
    return found


def _closure_sizes(infos: dict[StorePath, ReferenceInfo]) -> dict[StorePath, int]:
    """For each path the NAR sizes of its closure together; closures as bit sets."""
    numbers = {path: number for number, path in enumerate(infos)}
    sizes = [info.nar_size for info in infos.values()]
    closures: dict[StorePath, int] = {}
    totals: dict[StorePath, int] = {}
    stack = list(infos)
    entered: set[StorePath] = set()
    while stack:
        path = stack[-1]
        if path in closures:
            stack.pop()
            continue
        references = [other for other in infos[path].references if other != path]
        if path not in entered:
            entered.add(path)
            stack += [other for other in references if other not in entered]
            continue
        members = 1 << numbers[path]
        for other in references:
            members |= closures.get(other, 0)
        closures[path] = members
        bits = f"{members:b}"[::-1]
        totals[path] = sum(size for size, bit in zip(sizes, bits, strict=False) if bit == "1")
        stack.pop()
    return totals
