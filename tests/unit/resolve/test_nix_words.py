"""What goes to Nix and what comes from it, as text."""

from __future__ import annotations

import pytest

from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import StorePath
from nixbk.resolve.evaluator import EvaluationError, PathInfo, Wish
from nixbk.resolve.flake_url import FlakeUrlError, flake_url, local_root
from nixbk.resolve.nix_command import attribute_paths, parse_registration
from nixbk.resolve.nix_messages import hint_for, summary, too_old
from nixbk.schema.installable import Installable

SRI = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
QUOTED = "sha256-LPJNul%2Bwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ%3D"

URLS = {
    "github": (
        {
            "type": "github",
            "owner": "NixOS",
            "repo": "nixpkgs",
            "rev": "abc",
            "narHash": SRI,
            "lastModified": 3,
        },
        f"github:NixOS/nixpkgs/abc?narHash={QUOTED}",
        None,
    ),
    "gitlab with groups": (
        {"type": "gitlab", "owner": "a/b", "repo": "c", "rev": "1", "host": "git.example.org"},
        "gitlab:a%2Fb/c/1?host=git.example.org",
        None,
    ),
    "git": (
        {
            "type": "git",
            "url": "https://example.org/r",
            "ref": "refs/heads/main",
            "rev": "1",
            "narHash": SRI,
            "submodules": True,
            "shallow": False,
            "dir": "sub",
        },
        "git+https://example.org/r?dir=sub&ref=refs/heads/main&rev=1&submodules=1",
        None,
    ),
    "git with a query of its own": (
        {"type": "git", "url": "https://example.org/r?a=b", "rev": "1"},
        "git+https://example.org/r?a=b&rev=1",
        None,
    ),
    "local git": (
        {"type": "git", "url": "file:///srv/a%20b", "rev": "1"},
        "git+file:///srv/a%20b?rev=1",
        "/srv/a b",
    ),
    "path": (
        {"type": "path", "path": "/srv/a b", "lastModified": 1, "narHash": SRI},
        f"path:/srv/a%20b?lastModified=1&narHash={QUOTED}",
        "/srv/a b",
    ),
    "tarball": (
        {"type": "tarball", "url": "https://example.org/x.tar.gz", "narHash": SRI},
        f"tarball+https://example.org/x.tar.gz?narHash={QUOTED}",
        None,
    ),
}


@pytest.mark.parametrize(("attributes", "url", "root"), URLS.values(), ids=URLS)
def test_flake_references(attributes: dict[str, object], url: str, root: str | None) -> None:
    """Attributes become the text that Nix reads; what lies in the file system is told."""
    assert flake_url(attributes) == url
    assert local_root(attributes) == root


def test_an_unknown_kind_of_flake_reference() -> None:
    """What Nix may learn later is refused in words."""
    with pytest.raises(FlakeUrlError) as caught:
        flake_url({"type": "indirect", "id": "nixpkgs"})
    assert str(caught.value) == "unknown kind of flake reference 'indirect'"


PATHS = {
    "file": ("./a.nix#a.b", None, [["a", "b"]]),
    "file alone": ("./a.nix", None, [[]]),
    "flake": (".#a", "path:x", [["packages", "S", "a"], ["legacyPackages", "S", "a"], ["a"]]),
    "flake alone": (".", "path:x", [["packages", "S", "default"], ["defaultPackage", "S"]]),
    "absolute": (".#.a.b", "path:x", [["a", "b"]]),
}


@pytest.mark.parametrize(("text", "reference", "paths"), PATHS.values(), ids=PATHS)
def test_where_attributes_are_looked_for(
    text: str, reference: str | None, paths: list[list[str]]
) -> None:
    """Flakes are searched in the order of Nix, files not at all."""
    assert attribute_paths(Wish(Installable.parse(text), "S", reference)) == paths


MESSAGES = {
    "one line": (["error: it broke"], "it broke"),
    "behind warnings": (["warning: dirty", "error: it broke"], "it broke"),
    "colours": (["\x1b[31;1merror:\x1b[0m it broke"], "it broke"),
    "trace": (
        [
            "error:",
            "       … while evaluating the attribute 'x'",
            "         at /srv/a.nix:3:4:",
            "            3| x = y",
            "",
            "       … while calling 'throw'",
            "         at «internal»:1:1:",
            "",
            "       error: it broke",
            "       for two reasons",
            "",
        ],
        "it broke\nfor two reasons\nat /srv/a.nix:3:4",
    ),
    "no error": (["copying", "out of memory"], "copying\nout of memory"),
    "nothing": ([], "it ended with status 3 and said nothing"),
    "long": (
        ["error: it broke", *map(str, range(100))],
        "\n".join(["it broke", *map(str, range(11))]),
    ),
}


@pytest.mark.parametrize(("lines", "text"), MESSAGES.values(), ids=MESSAGES)
def test_messages_of_nix(lines: list[str], text: str) -> None:
    """Nix's own words stay; traces, colours and warnings go."""
    assert summary(tuple(lines), 3) == text


def test_hints() -> None:
    """What is known to be the user's to mend has a hint."""
    assert hint_for("access to absolute path '/x' is forbidden in restricted mode") == (
        "declare what lies outside of the manifest's folder as an input"
    )
    assert hint_for("it broke") is None


VERSIONS = {
    "nix (Nix) 2.8.0\n": "2.8.0",
    "nix-store (Nix) 2.17.1pre20230828_abc\n": "2.17.1pre20230828_abc",
    "nix (Nix) 2.18.0\n": None,
    "nix (Nix) 3.0\n": None,
    "nix (Lix, like Nix) 2.90.0\nSystem type: x86_64-linux\n": None,
    "nix (Determinate Nix 3.6.0) 2.29.0\n": None,
    "what?": None,
    "": None,
}


@pytest.mark.parametrize(("text", "found"), VERSIONS.items())
def test_versions(text: str, found: str | None) -> None:
    """A version that is too old is told, one that cannot be read is not called so."""
    assert too_old(text, (2, 18)) == found


A = "/nix/store/n7zwllx7nz103yzsydjhjifzmr9v7fs4-a"
B = "/nix/store/c5vwdw680pycdz0152jrxxipjf8fzzmq-b"


def test_registrations() -> None:
    """What ``nix-store --dump-db`` prints is read to its end."""
    digest = Hash.of(b"x")
    text = f"{A}\n{digest.base16()}\n120\n\n0\n{B}\n{digest.base16()}\n8\n{A}.drv\n2\n{A}\n{B}\n"
    a, b = StorePath.parse(A), StorePath.parse(B)
    assert list(parse_registration(text)) == [
        PathInfo(a, digest, 120, ()),
        PathInfo(b, digest, 8, (a, b)),
    ]


@pytest.mark.parametrize(
    "text", ["x", f"{A}\n", f"{A}\nzz\n1\n\n0\n", f"{A}\n{'0' * 64}\n1\n\n3\n{B}\n"]
)
def test_registrations_that_are_none(text: str) -> None:
    """Anything else is one clear error."""
    with pytest.raises(EvaluationError) as caught:
        list(parse_registration(text))
    assert str(caught.value) == "cannot read what 'nix-store --dump-db' printed"
