"""Places for a cache: what ``docker buildx build`` takes, and what is wrong with the rest."""

from __future__ import annotations

import pytest

from nixbk.schema.cache import CacheEntry, CacheError, Direction
from nixbk.schema.manifest_file import parse_manifest
from nixbk.schema.problems import ManifestError

ENTRIES: dict[str, tuple[Direction, str, CacheEntry]] = {
    "registry": (
        "from",
        "type=registry,ref=example.org/a:b",
        CacheEntry("registry", {"ref": "example.org/a:b"}),
    ),
    "reference alone": ("from", "example.org/a", CacheEntry("registry", {"ref": "example.org/a"})),
    "names in any case": (
        "to",
        "Type=local,DEST=x,mode=min",
        CacheEntry("local", {"dest": "x", "mode": "min"}),
    ),
    "a comma in quotes": (
        "from",
        'type=local,"src=a,b"',
        CacheEntry("local", {"src": "a,b"}),
    ),
    "an equals sign in a value": (
        "from",
        "type=gha,token=a=b",
        CacheEntry("gha", {"token": "a=b"}),
    ),
    "inline": ("to", "type=inline", CacheEntry("inline")),
    "an attribute of a BuildKit to come": (
        "to",
        "type=registry,ref=a,zygote=1",
        CacheEntry("registry", {"ref": "a", "zygote": "1"}),
    ),
}

SHOWN = {
    "type=gha,scope=a,token=abc": "type=gha,scope=a,token=***",
    "type=s3,bucket=b,secret_access_key=k": "type=s3,bucket=b,secret_access_key=***",
    'type=local,"src=a,b"': 'type=local,"src=a,b"',
    "example.org/a": "type=registry,ref=example.org/a",
}

PROBLEMS: dict[str, tuple[Direction, str, str]] = {
    "nothing": (
        "from",
        "",
        (
            "expected a place for a cache, found nothing\n"
            "  hint: write it as in 'type=registry,ref=registry.example.org/cache'"
        ),
    ),
    "no type": (
        "to",
        "ref=a",
        (
            "expected 'type=…' among the attributes\n"
            "  hint: write it as in 'type=registry,ref=registry.example.org/cache,mode=max'"
        ),
    ),
    "unknown type": (
        "from",
        "type=registri,ref=a",
        (
            "expected a type of azblob, gha, local, registry, s3, found 'registri'\n"
            "  hint: did you mean 'registry'?"
        ),
    ),
    "inline is no source": (
        "from",
        "type=inline",
        (
            "expected a type of azblob, gha, local, registry, s3, found 'inline'\n"
            "  hint: a cache inside an image is taken from "
            "'type=registry,ref=' and the image's name"
        ),
    ),
    "a type alone": (
        "to",
        "inline",
        "'inline' alone is an image reference\n  hint: write 'type=inline'",
    ),
    "mistyped": (
        "to",
        "type=registry,ref=a,mod=max",
        "unknown attribute 'mod' of registry, did you mean 'mode'?",
    ),
    "no reference": ("to", "type=registry", "a cache of type registry needs 'ref=…'"),
    "the other direction": (
        "from",
        "type=local,dest=a",
        "a cache of type local needs 'src=…'\n  hint: 'dest' is for --cache-to",
    ),
    "mode": ("to", "type=registry,ref=a,mode=all", "expected mode=min or mode=max, found 'all'"),
    "reset": (
        "to",
        "type=local,dest=a,reset=maybe",
        "expected reset=true or reset=false, found 'maybe'",
    ),
    "twice": ("to", "type=registry,ref=a,ref=b", "the attribute 'ref' is there twice"),
    "two references": (
        "from",
        "a,b",
        "expected one image reference, found 2\n  hint: write one entry for each place",
    ),
    "no value": (
        "from",
        "type=registry,ref",
        (
            "expected name=value, found 'ref'\n"
            "  hint: write it as in 'type=registry,ref=registry.example.org/cache'"
        ),
    ),
}


@pytest.mark.parametrize(("direction", "text", "entry"), ENTRIES.values(), ids=ENTRIES)
def test_an_entry_is_taken_apart(direction: Direction, text: str, entry: CacheEntry) -> None:
    """Type and attributes are what buildx makes of the same text."""
    assert CacheEntry.parse(text, direction) == entry


@pytest.mark.parametrize(("direction", "text", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_no_place_is_refused(direction: Direction, text: str, message: str) -> None:
    """The message says what is wrong and how it is written."""
    with pytest.raises(CacheError) as caught:
        CacheEntry.parse(text, direction)
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "shown"), SHOWN.items())
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    """An entry is shown as it was written, but for its secrets."""
    entry = CacheEntry.parse(text, "from")
    assert str(entry) == shown
    assert "abc" not in repr(entry)


def test_the_manifest_points_at_the_entry() -> None:
    """A wrong place is an error with line and column."""
    text = b'[cache]\nfrom = ["a", "type=regstry"]\n[images.demo]\ninstallables = ["./a.nix"]\n'
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text)
    assert str(caught.value) == (
        "nixbk.toml:2:14: cache.from[1]: expected a type of azblob, gha, local, registry, s3, "
        "found 'regstry'\n  hint: did you mean 'registry'?"
    )
