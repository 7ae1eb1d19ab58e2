"""Locks of which a part is fetched: their text, what proves them, and whom they trust."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import pytest
import tomli
from fetched import GLIBC, KEY, OTHER, PART, STRANGER, WHOLE, archive, entry, fetched, store_path
from proven import SETUP

from nixbk.nix.content_address import content_address
from nixbk.nix.hashes import Hash
from nixbk.nix.nar import file_nar, nar_hash
from nixbk.nix.store_path import StorePath, source_path
from nixbk.schema.freshness import changed_keys
from nixbk.schema.lock import Lock, LockedImage, LockedInstallable, LockedPath
from nixbk.schema.lock_document import to_bytes
from nixbk.schema.lock_file import parse_lock
from nixbk.schema.lock_graph import proven_outputs
from nixbk.schema.lock_model import LockModel
from nixbk.schema.manifest import Image, Manifest, Substituter
from nixbk.schema.problems import LockError
from nixbk.schema.substitutes import UntrustedError, require_trusted, verify_substitutes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.nix.signatures import SecretKey
    from nixbk.schema.lock import LockedSubstitute

TEXT = to_bytes(PART).decode()
HELLO = PART.roots[0]
ZLIB_DRV, ZLIB = next((drv, path) for (drv, _), path in PART.substituted.items())


def _plain(path: StorePath, found: LockedSubstitute, **more: object) -> Lock:
    """A lock of one store path, without a derivation."""
    row = LockedInstallable(str(path), None, ("out",), {"out": path})
    images = {"demo": LockedImage(("linux/amd64",), (row,))}
    whole = Lock(images, {}, {}, substitutes={found.path: found})
    return dataclasses.replace(whole, **more)  # type: ignore[arg-type]


def test_the_text() -> None:
    """What is fetched reads like this."""
    zlib = PART.substitutes[ZLIB]
    start = TEXT.index("[substitutes.")
    assert (
        TEXT[start:]
        == f"""\
[substitutes.{GLIBC.path.basename}]
type = "symlink"
target = "/nix/store"
nar-hash = "{GLIBC.nar_hash.sri()}"
nar-size = 128
signatures = [
    "{GLIBC.signatures[0]}",
]

[[substitutes.{GLIBC.path.basename}.archives]]
substituter = "main"
url = "nar/glibc.nar.xz"
file-hash = "{GLIBC.archives[0].file_hash.sri()}"
file-size = 90
compression = "xz"

[substitutes.{ZLIB.basename}]
nar-hash = "{zlib.nar_hash.sri()}"
nar-size = 120
references = [
    "{GLIBC.path.basename}",
]
signatures = [
    "{zlib.signatures[0]}",
]

[[substitutes.{ZLIB.basename}.archives]]
substituter = "main"
url = "nar/zlib.nar.xz"
file-hash = "{zlib.archives[0].file_hash.sri()}"
file-size = 90
compression = "xz"
"""
    )
    assert f'[substituted]\n"{ZLIB_DRV.basename}^out" = "{ZLIB.basename}"\n' in TEXT
    assert "fallback" not in TEXT


FIXED = source_path("fixed", nar_hash([file_nar(b"fixed")])[0].digest)
LOCKS = {
    "part": PART,
    "all": fetched(WHOLE, ["hello"], [GLIBC]),
    "fallback": fetched(dataclasses.replace(WHOLE, fallback=True), ["zlib"], [GLIBC]),
    "store path": _plain(GLIBC.path, GLIBC),
    "sandbox": _plain(
        GLIBC.path, GLIBC, locked_paths={"/bin/sh": LockedPath(str(GLIBC.path), GLIBC.path, "sh")}
    ),
    "sandbox of a derivation": dataclasses.replace(
        PART, locked_paths={"/bin/sh": LockedPath(".#zlib/sh", ZLIB, "sh", ZLIB_DRV, "out")}
    ),
    "two archives": _plain(
        GLIBC.path,
        GLIBC._replace(
            archives=(
                GLIBC.archives[0]._replace(file_size=None, compression="zstd"),
                archive(GLIBC.path, "team")._replace(url="https://h/x.nar?a=b"),
            ),
        ),
    ),
    "content": _plain(
        FIXED,
        entry(FIXED, key=None)._replace(
            content_address=content_address("nar", entry(FIXED).nar_hash)
        ),
    ),
    "itself": _plain(ZLIB, entry(ZLIB, [ZLIB])),
}


@pytest.mark.parametrize("held", LOCKS.values(), ids=LOCKS)
def test_reading_is_the_inverse_of_writing(held: Lock) -> None:
    """What is written is read as it was, and the schema's models take it."""
    text = to_bytes(held)
    assert parse_lock(text) == held
    assert to_bytes(parse_lock(text)) == text
    LockModel.model_validate(tomli.loads(text.decode()))


def _other(change: Mapping[str, object], path: StorePath = GLIBC.path) -> Lock:
    """PART, with another entry of a substitute."""
    new = PART.substitutes[path]._replace(**change)  # type: ignore[arg-type]
    return dataclasses.replace(PART, substitutes={**PART.substitutes, path: new})


LOST = dict(PART.substitutes)
del LOST[GLIBC.path]
MORE = entry(store_path("more"))
ONE, TWO = store_path("one"), store_path("two")
EDITED = "the lock was edited by hand or merged; run 'nixbk lock'"
WRONG = {
    "lost reference": (
        dataclasses.replace(PART, substitutes=LOST),
        f"substitutes.{ZLIB.basename}.references: '{GLIBC.path.basename}' is not in the lock",
    ),
    "needless": (
        dataclasses.replace(PART, substitutes={**PART.substitutes, MORE.path: MORE}),
        f"substitutes.{MORE.path.basename}: nothing needs this substitute",
    ),
    "needless output": (
        dataclasses.replace(
            PART, substituted={**PART.substituted, (store_path("x.drv"), "out"): ZLIB}
        ),
        'out": nothing needs this output',
    ),
    "output of another name": (
        dataclasses.replace(PART, substituted={(ZLIB_DRV, "out"): GLIBC.path}),
        "the output cannot have the name 'glibc'",
    ),
    "other output than the recipe's": (
        dataclasses.replace(LOCKS["fallback"], substituted={(ZLIB_DRV, "out"): GLIBC.path}),
        f"the derivation has '{ZLIB}'",
    ),
    "neither recipe nor substitute": (
        dataclasses.replace(PART, substituted={}, substitutes={}),
        f"derivations.\"{HELLO.basename}\".inputs: '{ZLIB_DRV.basename}' is not in the lock",
    ),
    "fetched and built": (
        dataclasses.replace(
            WHOLE,
            substitutes={ZLIB: entry(ZLIB)},
            locked_paths={"/x": LockedPath(str(ZLIB), ZLIB)},
        ),
        f"derivations.\"{ZLIB_DRV.basename}\": its output 'out' is fetched, too",
    ),
    "fallback without recipes": (
        dataclasses.replace(PART, fallback=True),
        f"'{ZLIB_DRV.basename}' is not in the lock",
    ),
    "source, too": (
        dataclasses.replace(PART, substitutes={**PART.substitutes, SETUP.path: entry(SETUP.path)}),
        "it is one of the sources, too",
    ),
    "link that leads elsewhere": (
        _other({"target": "/nix/other"}),
        "the archive of a link with this target has another hash",
    ),
    "no link": (
        _other({"file_type": "symlink", "target": "/x"}, ZLIB),
        "the archive of a link with this target has another hash",
    ),
    "content of another path": (
        _other({"content_address": content_address("nar", Hash.of(b"x"))}),
        "content-address: the path does not follow from this content",
    ),
    "circle": (
        _plain(
            ONE, entry(ONE, [TWO]), substitutes={ONE: entry(ONE, [TWO]), TWO: entry(TWO, [ONE])}
        ),
        "it refers to itself through others",
    ),
    "no store path of the lock": (
        _plain(ONE, MORE),
        f"images.demo.installables[0].outputs.out: '{ONE.basename}' is not in the lock",
    ),
    "installable of another path": (
        dataclasses.replace(
            LOCKS["all"],
            images={
                "demo": LockedImage(
                    ("linux/amd64",), (LockedInstallable("x", HELLO, ("out",), {"out": ZLIB}),)
                )
            },
        ),
        "hello' is fetched for it",
    ),
}


@pytest.mark.parametrize(("held", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together(held: Lock, message: str) -> None:
    """A lock that was put together by somebody else is refused at the entry at fault."""
    with pytest.raises(LockError) as caught:
        parse_lock(to_bytes(held))
    assert message in str(caught.value)


FIELDS = {
    "no archive": ("archives = []", "archives: expected at least one archive"),
    "scheme": ('url = "file:///etc/passwd"', "url: expected an address relative to the cache"),
    "above": ('url = "nar/../../x"', "url: expected a path without '.' and '..'"),
    "above, in code": ('url = "nar/%2e%2e/x"', "url: expected a path without '.' and '..'"),
    "root": ('url = "/etc/x"', "url: expected a path without '.' and '..'"),
    "other host": ('url = "//host/x"', "url: expected a path without '.' and '..'"),
    "login": ('url = "http://u:p@h/x"', "url: expected an address relative"),
    "control": ('url = "nar/\\u0007"', "url: expected the address of a file"),
    "cache": ('substituter = "a b"', "substituter: expected a substituter's name"),
    "hash": ('file-hash = "sha1-AAAA"', "file-hash: "),
    "size": ("file-size = -1", "file-size: expected a number that is not negative"),
    "compression": ('compression = "lzip"', "compression: expected one of none, gzip"),
    "empty archive": ("nar-size = 0", "nar-size: expected the size of an archive"),
    "huge archive": (f"nar-size = {1 << 63}", "nar-size: expected the size of an archive"),
    "signature": ('signatures = ["x"]', "signatures[0]: 'x' is no signature"),
    "content": ('content-address = "x"', "content-address: 'x' is no content address"),
    "target": ('target = "/x"', "type: a symlink, and nothing else, has a target"),
    "type": ('type = "regular"', "type: expected one of symlink, directory"),
    "unknown": ("speed = 3", "speed: unknown key"),
}


@pytest.mark.parametrize(("line", "message"), FIELDS.values(), ids=FIELDS)
def test_fields_are_checked(line: str, message: str) -> None:
    """Nothing of an entry is believed unseen."""
    key, _, value = line.partition(" = ")
    document = tomli.loads(TEXT)
    table = document["substitutes"][ZLIB.basename]
    place = table["archives"][0] if key in table["archives"][0] else table
    place[key] = tomli.loads(line)[key]
    import tomli_w

    with pytest.raises(LockError) as caught:
        parse_lock(tomli_w.dumps(document).encode())
    assert value
    assert message in str(caught.value)


def test_what_is_built_and_what_is_fetched() -> None:
    """A derivation is built from derivations and substitutes."""
    assert PART.inputs_of(HELLO) == {}
    assert PART.substituted_inputs(HELLO) == (ZLIB,)
    assert WHOLE.substituted_inputs(HELLO) == ()
    whole = LOCKS["all"]
    assert whole.roots == ()
    assert whole.fetched(whole.images["demo"].installables[0]) == tuple(whole.substituted.values())
    plain = LOCKS["store path"]
    assert plain.roots == ()
    assert plain.fetched(plain.images["demo"].installables[0]) == (GLIBC.path,)
    for held in (PART, whole, plain):
        assert held.origins(GLIBC.path) == (("demo", 0),)
    sandbox = LOCKS["sandbox of a derivation"]
    assert sandbox.sandbox_drvs == ()
    assert set(sandbox.sandbox_of(HELLO)) == {"/bin/sh"}


def test_what_recipes_prove() -> None:
    """What is built from something fetched is not proven, unless the recipes are there."""
    hello = WHOLE.outputs(HELLO)["out"]
    everything = {path for drv in WHOLE.derivations for path in WHOLE.outputs(drv).values()}
    assert proven_outputs(WHOLE) == everything
    assert proven_outputs(LOCKS["fallback"]) == everything
    assert hello in everything
    assert proven_outputs(PART) == frozenset()
    assert proven_outputs(LOCKS["store path"]) == frozenset()


# Trust ------------------------------------------------------------------------------------


def _manifest(*keys: SecretKey, trust: bool = True, fallback: bool = False) -> Manifest:
    texts = tuple(str(key.public) for key in keys)
    main = Substituter(url="https://cache.test", public_keys=texts, trust=trust)
    images = {"demo": Image(installables=("./default.nix#hello",))}
    return Manifest(substituters={"main": main}, images=images, fallback=fallback)


UNSIGNED = entry(GLIBC.path, target="/nix/store", key=None)
STRANGE = entry(GLIBC.path, target="/nix/store", key=STRANGER)
TRUST: dict[str, tuple[Lock, Manifest, str | None]] = {
    "signed": (PART, _manifest(KEY), None),
    "one of several keys": (PART, _manifest(OTHER, KEY), None),
    "nothing fetched": (WHOLE, _manifest(), None),
    "no key": (
        _plain(GLIBC.path, GLIBC),
        _manifest(),
        "it is signed by 'cache.test-1', whose key the manifest does not have",
    ),
    "another key of that name": (
        _plain(GLIBC.path, STRANGE),
        _manifest(KEY),
        "the signature by 'cache.test-1' is not one of this entry",
    ),
    "other facts": (
        _plain(GLIBC.path, GLIBC._replace(nar_size=GLIBC.nar_size + 8)),
        _manifest(KEY),
        "the signature by 'cache.test-1' is not one of this entry",
    ),
    "nobody": (_plain(GLIBC.path, UNSIGNED), _manifest(KEY), "nobody signed it"),
    "a cache that is believed": (_plain(GLIBC.path, UNSIGNED), _manifest(KEY, trust=False), None),
    "one of two that is believed": (
        _plain(
            GLIBC.path,
            UNSIGNED._replace(archives=(*UNSIGNED.archives, archive(ONE, "team"))),
        ),
        _manifest(KEY, trust=False),
        "nobody signed it",
    ),
    "content": (LOCKS["content"], _manifest(KEY), None),
}


@pytest.mark.parametrize(("held", "manifest", "message"), TRUST.values(), ids=TRUST)
def test_trust(held: Lock, manifest: Manifest, message: str | None) -> None:
    """A path is signed, or follows from its content, or comes from who is believed."""
    problems = verify_substitutes(held, manifest)
    assert [problem.message for problem in problems] == ([message] if message else [])


def test_the_refusal() -> None:
    """It names the entry, and what to do."""
    with pytest.raises(UntrustedError) as caught:
        require_trusted(PART, _manifest(OTHER))
    assert str(caught.value).startswith(
        f"nixbk.lock: substitutes.{ZLIB.basename}: it is signed by 'cache.test-1', "
        "whose key the manifest does not have (and 1 more)\n  hint: add the key to 'public-keys'"
    )


def test_a_lock_without_substitutes_needs_no_cryptography(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is slow to load, and on the way of each plan."""
    monkeypatch.setitem(sys.modules, "nacl.exceptions", None)
    assert verify_substitutes(WHOLE, _manifest(KEY)) == []
    with pytest.raises(ImportError):
        verify_substitutes(PART, _manifest(KEY))


# Freshness --------------------------------------------------------------------------------

FRESH = {
    "the same": (_manifest(KEY), ()),
    "another key": (_manifest(OTHER), ()),
    "fallback": (_manifest(KEY, fallback=True), (("fallback",),)),
    "no such cache": (
        Manifest(
            substituters={"team": Substituter(url="https://team.test")},
            images={"demo": Image(installables=("./default.nix#hello",))},
        ),
        (("substituters", "main"),),
    ),
}


@pytest.mark.parametrize(("manifest", "keys"), FRESH.values(), ids=FRESH)
def test_freshness(manifest: Manifest, keys: tuple[object, ...]) -> None:
    """A lock is stale when a cache of it is no longer named, or when recipes come or go."""
    assert changed_keys(manifest, PART) == keys
