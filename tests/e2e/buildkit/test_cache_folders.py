"""Cache of a builder's, kept in a folder of the client's and taken from there."""

from __future__ import annotations

import json
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit.content_folder import ContentFolder
from nixbk.buildkit.errors import BuilderError
from nixbk.buildkit.protocols import CacheOption, Result
from nixbk.buildkit.session import Attachables

if TYPE_CHECKING:
    from pathlib import Path

    from buildkit_steps import Steps

    from nixbk.buildkit.client import Client


def test_a_folder_takes_the_cache(client: Client, steps: Steps, tmp_path: Path) -> None:
    """Every blob is there under its hash, and the answer describes what leads to all of them."""
    if client.is_docker and not client.docker.info().containerd_store:
        pytest.skip("Docker keeps cache with its containerd image store only")
    folder = ContentFolder(tmp_path)
    definition = steps.definition(f"echo {secrets.token_hex(4)} > out/x")
    export = CacheOption("local", {"dest": "here", "mode": "max"})
    attachables = Attachables(uploads=steps.uploads, stores={"local:here": folder})
    for _ in range(2):  # the second time all is there
        with (
            client.session(attachables) as session,
            client.build(session, cache_exports=[export]) as build,
        ):
            answer = build.finish(Result(build.solve(definition)))
        manifest = json.loads(answer["cache.manifest"])
        assert folder.find(manifest["digest"]).size == manifest["size"]
        for blob in folder.blobs():
            with folder.open(blob.digest) as file:
                assert f"sha256:{sha256(file.read()).hexdigest()}" == blob.digest
    assert list((tmp_path / "ingest").iterdir()) == []
    source = CacheOption("local", {"src": "here", "digest": manifest["digest"]})
    with (
        client.session(attachables) as session,
        client.build(session, cache_imports=[source]) as build,
    ):
        assert build.solve(definition) is not None
        build.finish(Result())


def test_a_builder_says_what_it_cannot_keep(client: Client, steps: Steps) -> None:
    """A kind of cache that it does not know ends the build before it begins."""
    with (
        client.session(Attachables(uploads=steps.uploads)) as session,
        pytest.raises(BuilderError, match="unknown cache exporter"),
        client.build(session, cache_exports=[CacheOption("absent")]),
    ):
        pass
