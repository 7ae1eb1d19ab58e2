"""Where a command takes BuildKit's cache from: its options, or else the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.apply.cache_places import ImportWatch, cache_settings
from nixbk.buildkit.protocols import CacheOption
from nixbk.errors import NixbkError
from nixbk.proto import control_pb2

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = '[images.demo]\ninstallables = ["./a.nix"]\n'
MANIFEST = (
    '[cache]\nfrom = ["example.org/a"]\nto = ["type=registry,ref=example.org/b", '
    f'"type=local,dest=c"]\n{IMAGE}'
)


def _option(reference: str, **more: str) -> CacheOption:
    return CacheOption("registry", {**more, "ref": reference})


def test_the_manifest_counts_without_options(tmp_path: Path) -> None:
    """Its folders are relative to it, and those of options to where the user is."""
    manifest = tmp_path / "nixbk.toml"
    manifest.write_text(MANIFEST)
    elsewhere = tmp_path / "elsewhere"
    found = cache_settings(manifest, None, None, {}, elsewhere)
    assert found.imports == (_option("example.org/a"),)
    assert [target.option for target in found.targets] == [
        _option("example.org/b", mode="max"),
        CacheOption("local", {"mode": "max", "dest": str(tmp_path / "c")}),
    ]
    found = cache_settings(manifest, None, ["type=local,dest=d"], {}, elsewhere)
    assert found.imports == (_option("example.org/a"),)
    assert [target.option.attrs["dest"] for target in found.targets] == [str(elsewhere / "d")]
    found = cache_settings(manifest, ["example.org/x"], None, {}, elsewhere)
    assert (found.imports, len(found.targets)) == ((_option("example.org/x"),), 2)


def test_no_manifest_is_needed(tmp_path: Path) -> None:
    """What is built without a manifest has the places of its options."""
    found = cache_settings(tmp_path / "nixbk.toml", ["example.org/x"], None, {}, tmp_path)
    assert (found.imports, found.targets, found.is_shared) == (
        (_option("example.org/x"),),
        (),
        True,
    )


PROBLEMS = {
    "option": (IMAGE, ["type=x"], "--cache-from: expected a type of "),
    "entry": (f'[cache]\nfrom = ["type=x"]\n{IMAGE}', None, "nixbk.toml:2:9: cache.from[0]: "),
    "no list": (f"[cache]\nfrom = 3\n{IMAGE}", None, "nixbk.toml:2:8: cache.from: expected an "),
    "no table": (f"cache = 3\n{IMAGE}", None, "nixbk.toml:1:9: cache: expected a table, "),
    "syntax": ("[cache\n", None, "nixbk.toml:1:7: expected ']'"),
}


@pytest.mark.parametrize(("text", "sources", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_errors_have_their_place(
    tmp_path: Path, text: str, sources: list[str] | None, message: str
) -> None:
    """What is wrong is told with the option, or with line and column of the manifest."""
    manifest = tmp_path / "nixbk.toml"
    manifest.write_text(text)
    with pytest.raises(NixbkError) as caught:
        cache_settings(manifest, sources, None, {}, tmp_path)
    assert str(caught.value).startswith(message)


def test_each_import_that_fails_is_said_once() -> None:
    """BuildKit goes on without; the user is told, without what may be secret."""
    said: list[str] = []
    watch = ImportWatch(said.append)
    errors = {
        "importing cache manifest from example.org/a": "example.org/a: not found",
        "importing cache manifest from gha:1": 'Get "http://h/x?sig=secret": refused\nstack',
        "something else": "failed",
        "importing cache manifest from fine": "",
    }
    status = control_pb2.StatusResponse(
        vertexes=[control_pb2.Vertex(name=name, error=error) for name, error in errors.items()]
    )
    watch.on_status(status)
    watch.on_status(status)
    assert said == [
        "no cache is taken from example.org/a: there is none yet",
        'no cache is taken from gha:1: Get "http://h/x?…": refused',
    ]
