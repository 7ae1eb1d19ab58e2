"""Where images go: what independent programs say of them, and that they are the same everywhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engines import ENGINES, address, start
from projects import execute, planned_actions

if TYPE_CHECKING:
    from pathlib import Path

    from projects import MakeProject

pytestmark = pytest.mark.usefixtures("exporting")
ARCHIVE = '[[images.app.outputs]]\ntype = "oci"\npath = "app.tar"'


def test_an_archive_is_what_others_read(make_project: MakeProject) -> None:
    """Another program finds the digest that was told, and the layers of the closure."""
    project = make_project(extra=ARCHIVE)
    project.lock()
    digest = project.apply().digests["app"]
    archive = f"oci-archive:{project.archive('app')}"
    skopeo = f"{project.engines.tools}/skopeo"
    manifest = json.loads(execute([skopeo, "inspect", archive]).out)
    config = json.loads(execute([skopeo, "inspect", "--config", archive]).out)
    assert manifest["Digest"] == digest
    # the app, the library and the seed, which it refers to
    assert len(manifest["Layers"]) == len(config["rootfs"]["diff_ids"]) == 3
    assert config["config"]["Entrypoint"][0].endswith("-app/bin/app")
    assert not project.plan()["changes"]


def test_a_registry_has_what_was_pushed(make_project: MakeProject) -> None:
    """The registry's digest is the one that was told; nothing is to do until it is gone."""
    registry = start("registry")["NIXBK_TEST_REGISTRY"]
    project = make_project()
    name = f"{registry}/nixbk-test/{project.salt}:1"
    output = f'[[images.app.outputs]]\ntype = "registry"\nname = "{name}"\ninsecure = true'
    project.write_manifest({"app": ["app"]}, output)
    project.lock()
    assert planned_actions(project.plan()) == ["push"]
    done = project.apply()
    crane = [f"{project.engines.tools}/crane", "--insecure"]
    assert execute([*crane, "digest", name]).out.strip() == done.digests["app"]
    assert project.run("plan").out == "Nothing to do.\n"
    assert project.apply().digests == {}
    gone = execute(
        [*crane, "delete", f"{registry}/nixbk-test/{project.salt}@{done.digests['app']}"]
    )
    assert gone.code == 0, gone
    assert planned_actions(project.plan()) == ["push"]
    assert project.apply().digests == done.digests


def test_every_engine_makes_the_same_image(make_project: MakeProject, tmp_path: Path) -> None:
    """One lock, built from nothing on two engines, is one image.

    Its identity is its configuration, which names the content of all layers; their compression
    differs between versions of BuildKit.
    """
    project = make_project(extra=ARCHIVE)
    all_of_them = (replace(project.engines, builder=address(name)) for name in ENGINES)
    first = next(engines for engines in all_of_them if engines.exports)
    if first == project.engines:
        pytest.skip("the others are compared with this one")
    project.lock()
    shutil.copytree(project.folder, tmp_path / "other", symlinks=True)
    other = replace(
        project,
        folder=tmp_path / "other",
        home=tmp_path / "other-home",
        engines=first,
    )
    done = project.apply(), other.apply()
    assert done[0].built == done[1].built != ()
    skopeo = [f"{project.engines.tools}/skopeo", "inspect", "--config", "--raw"]
    configs = [
        execute([*skopeo, f"oci-archive:{one.archive('app')}"]).out for one in (project, other)
    ]
    assert configs[0] == configs[1] != ""


def test_every_destination_gets_the_same_image(make_project: MakeProject) -> None:
    """Docker, an archive and a registry have one digest."""
    registry = start("registry")["NIXBK_TEST_REGISTRY"]
    project = make_project()
    name = f"{registry}/nixbk-test/{project.salt}:1"
    outputs = [
        ARCHIVE,
        f'[[images.app.outputs]]\ntype = "registry"\nname = "{name}"\ninsecure = true',
    ]
    if project.engines.is_docker:
        outputs.append('[[images.app.outputs]]\ntype = "docker"')
    project.write_manifest({"app": ["app"]}, "\n".join(outputs))
    project.lock()
    delivered = project.apply().done.document["delivered"]
    assert len(delivered) == len(outputs)
    assert len({one["digest"] for one in delivered}) == 1
