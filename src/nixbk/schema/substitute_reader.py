"""The entries of a lock that are fetched, from its TOML document. Pure."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from nixbk.nix.content_address import parse_content_address
from nixbk.nix.signatures import Signature
from nixbk.nix.store_path import StorePath
from nixbk.schema.cache_url import check_archive_url
from nixbk.schema.lock import Compression, LockedArchive, LockedSubstitute
from nixbk.schema.lock_fields import (
    Refused,
    at,
    check_keys,
    choice_of,
    field_of,
    int_of,
    paths_of,
    require,
    sha256_of,
    str_of,
    strings_of,
)

if TYPE_CHECKING:
    from typing import Final

MAX_NAR_BYTES: Final = (1 << 63) - 1
"""The longest archive that Nix keeps a size of."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def read_substitute(name: str, table: dict[str, Any]) -> LockedSubstitute:
    """The entry of the store path *name*.

    Raises:
        Refused: with the key that is wrong.
    """
    path = StorePath.from_basename(name)
    check_keys(table, "substitute")
    file_type = choice_of(table, "type", ("symlink", "directory"), "directory")
    is_link = file_type == "symlink"
    require(is_link == ("target" in table), "a symlink, and nothing else, has a target", "type")
    nar_size = int_of(table, "nar-size")
    require(0 < nar_size <= MAX_NAR_BYTES, "expected the size of an archive", "nar-size")
    address = str_of(table, "content-address", "")
    if address:
        at(lambda: parse_content_address(address), "content-address")
    rows = field_of(table, "archives", list, "an array of tables", None)
    require(bool(rows), "expected at least one archive", "archives")
    return LockedSubstitute(
        path,
        sha256_of(table, "nar-hash"),
        nar_size,
        tuple(sorted(set(paths_of(table, "references")))),
        tuple(_archive(number, row) for number, row in enumerate(rows)),
        _signatures(table),
        address,
        "symlink" if is_link else "directory",
        str_of(table, "target", ""),
    )


def _signatures(table: dict[str, Any]) -> tuple[str, ...]:
    texts = strings_of(table, "signatures")
    for number, text in enumerate(texts):
        at(partial(Signature.parse, text), "signatures", number)
    return tuple(sorted(set(texts)))


def _archive(number: int, table: Any) -> LockedArchive:
    here = ("archives", number)
    if type(table) is not dict:
        raise Refused("expected a table", *here)
    try:
        check_keys(table, "archive")
        substituter, url = str_of(table, "substituter"), str_of(table, "url")
        require(bool(_NAME.fullmatch(substituter)), "expected a substituter's name", "substituter")
        at(lambda: check_archive_url(url), "url")
        return LockedArchive(
            substituter,
            url,
            sha256_of(table, "file-hash"),
            int_of(table, "file-size") if "file-size" in table else None,
            cast("Compression", choice_of(table, "compression", Compression, None)),
        )
    except Refused as error:
        raise Refused(error.message, *here, *error.path) from error
