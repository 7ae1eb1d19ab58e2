"""A second, empty BuildKit builds nothing: it takes the first one's cache from between them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from actions_cache import ActionsCache, job_token
from engines import start
from far_engines import tcp_buildkitd
from projects import applied

from nixbk.apply.archive import archive_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Engines, MakeProject, Project

ALIKE_DOCKER: Final = 28
EVERYTHING: Final = (
    "above-float", "app", "data", "fixed", "float", "floating", "lib", "settings", "summary",
    "tool", "words",
)  # fmt: skip


@pytest.fixture(scope="session")
def registry() -> str:
    """A registry on loopback."""
    return start("registry")["NIXBK_TEST_REGISTRY"]


@pytest.fixture(scope="session")
def alike(engines: Engines) -> None:
    """Skips engines whose BuildKit is so old that it has other keys than the second one."""
    if engines.is_docker:
        asked = engines.docker("version", "--format", "{{.Server.Version}}").out
        if int(asked.partition(".")[0]) < ALIKE_DOCKER:
            pytest.skip("BuildKit 0.13 and 0.32 have different keys for the same step")


@pytest.fixture
def empty_builder(alike: None, tmp_path: Path) -> Iterator[str]:
    """An empty BuildKit that can run no exec: its runtime is a program that fails."""
    folder = tmp_path / "second"
    folder.mkdir()
    with tcp_buildkitd(folder, None, options=["--oci-worker-binary=false"]) as port:
        yield f"tcp://127.0.0.1:{port}"


@pytest.fixture
def shared(make_project: MakeProject, exporting: None) -> Project:
    """A project whose image goes to an archive on every engine."""
    extra = '[[images.app.outputs]]\ntype = "oci"\npath = "app.tar"'
    project = make_project({"app": ["app", "floating"]}, extra)
    project.lock()
    return project


def _elsewhere(project: Project, builder: str, home: Path) -> Project:
    """The same project in the hands of another, who knows nothing yet."""
    return replace(
        project,
        home=home,
        engines=replace(project.engines, builder=builder),
        variables={"HOME": str(home)},
    )


@pytest.mark.parametrize("kind", ["registry", "local"])
def test_an_empty_builder_runs_nothing(
    shared: Project, registry: str, empty_builder: str, tmp_path: Path, kind: str
) -> None:
    """With the cache alone the plan has nothing to build, and the image is the same."""
    there = f"{registry}/nixbk-cache-{secrets.token_hex(4)}:latest"
    taken, kept = {
        "registry": (f"type=registry,ref={there}", f"type=registry,ref={there}"),
        "local": (f"type=local,src={tmp_path}/cache", f"type=local,dest={tmp_path}/cache"),
    }[kind]
    first = shared.apply("--cache-to", kept)
    assert first.built == EVERYTHING
    image = archive_config(shared.archive("app"))
    shared.archive("app").unlink()

    second = _elsewhere(shared, empty_builder, tmp_path / "nobody")
    plan = second.run("plan", "--json", "--cache-from", taken)
    assert (plan.err, plan.document["images"]["app"]["build"]) == ("", [])
    done = applied(second.run("apply", "--json", "--cache-from", taken))
    assert (done.built, done.planned) == ((), ())
    # not the digest of the manifest: another BuildKit may compress a layer otherwise
    assert archive_config(shared.archive("app")) == image
    # what was read is known from now on, and is held against the cache without running anything
    again = second.run("apply", "--json", "--cache-from", taken)
    assert (applied(again).built, applied(again).digests) == ((), {})


@pytest.mark.parametrize("version", ["1", "2"])
def test_jobs_of_github_actions_share(
    shared: Project, empty_builder: str, tmp_path: Path, version: str
) -> None:
    """Address and token come from the environment, and nobody is told the token."""
    token = job_token(secrets.token_urlsafe(24))
    with ActionsCache(token) as service:
        variables = dict(service.environ)
        if version == "1":
            variables = {
                "ACTIONS_CACHE_SERVICE_V2": "",
                "ACTIONS_CACHE_URL": f"{service.url}/",
                "ACTIONS_RUNTIME_TOKEN": token,
            }
        job = replace(shared, variables={**shared.variables, **variables})
        place = "type=gha,scope=test"
        first = job.run("apply", "--json", "--cache-to", place)
        assert applied(first).built == EVERYTHING
        assert f"cache kept in {place}" in first.err
        protocol = {"1": "/_apis/artifactcache/", "2": "/twirp/"}[version]
        assert service.asked(protocol)
        assert {key.partition("-")[0] for key, _ in service.entries} == {"buildkit", "index"}
        image = archive_config(shared.archive("app"))
        shared.archive("app").unlink()
        again = job.run("apply", "--json", "--cache-to", place)
        assert applied(again).built == ()

        other = _elsewhere(shared, empty_builder, tmp_path / "nobody")
        second = replace(other, variables={**other.variables, **variables})
        plan = second.run("plan", "--json", "--cache-from", place)
        assert (plan.err, plan.document["images"]["app"]["build"]) == ("", [])
        done = second.run("apply", "--json", "--cache-from", place)
        assert (applied(done).built, applied(done).planned) == ((), ())
        assert archive_config(shared.archive("app")) == image
        nowhere = second.run("plan", "--cache-from", "type=gha,scope=another")
        assert "Plan: " in nowhere.out
    said = [done.out + done.err for done in (first, again, plan, done, nowhere)]
    written = [file for file in tmp_path.rglob("*") if file.is_file() and not file.is_symlink()]
    assert not any(token in text for text in said)
    assert not any(token.encode() in file.read_bytes() for file in written)


def test_a_job_that_is_not_let_in(shared: Project) -> None:
    """A token that the service does not know ends the apply before it builds; none is noted."""
    wrong, right = job_token("wrong"), job_token("right")
    with ActionsCache(right) as service:
        variables = {**service.environ, "ACTIONS_RUNTIME_TOKEN": wrong}
        job = replace(shared, variables={**shared.variables, **variables})
        taken = job.run("plan", "--cache-from", "type=gha")
        assert "no cache is taken from " in taken.err
        kept = job.run("apply", "--cache-to", "type=gha", code=1)
        assert "cache-to type=gha: " in kept.err
        assert wrong not in taken.out + taken.err + kept.out + kept.err
    nobody = replace(shared, variables={**shared.variables, "ACTIONS_RUNTIME_TOKEN": ""})
    noted = nobody.run("plan", "--cache-from", "type=gha")
    assert "no cache is taken from type=gha: ACTIONS_RUNTIME_TOKEN" in noted.err


def test_a_folder_that_is_reset(shared: Project, tmp_path: Path) -> None:
    """What the folder had before, and needs no more, is gone; what another tag has stays."""
    folder = tmp_path / "cache"
    place = f"type=local,dest={folder}"
    shared.apply("--cache-to", f"{place},tag=other")
    first = {file.name for file in (folder / "blobs/sha256").iterdir()}
    counts = []
    for number, reset in enumerate(["true", "true", "true", "false"]):
        shared.set(words=f"words {number}")
        shared.lock()
        shared.apply("--cache-to", f"{place},reset={reset}")
        names = {file.name for file in (folder / "blobs/sha256").iterdir()}
        assert first <= names
        counts.append(len(names))
    assert counts[0] == counts[1] == counts[2] < counts[3]


def test_the_manifest_says_where(
    shared: Project, registry: str, empty_builder: str, tmp_path: Path
) -> None:
    """Places of the manifest count for every command, and options take their place."""
    there = f"{registry}/nixbk-cache-{secrets.token_hex(4)}"
    manifest = shared.folder / "nixbk.toml"
    text = manifest.read_text()
    cache = f'[cache]\nfrom = ["{there}"]\nto = ["type=registry,ref={there}"]\n'
    manifest.write_text(cache + text)
    # it is not there yet, which is no reason to stop
    first = shared.run("apply")
    assert f"nixbk: note: no cache is taken from {there}: there is none yet" in first.err
    assert f"cache kept in type=registry,ref={there}" in first.out.splitlines()

    second = _elsewhere(shared, empty_builder, tmp_path / "nobody")
    assert second.planned() == ()


def test_what_changed_is_built_and_nothing_else(
    shared: Project, alike: None, registry: str, tmp_path: Path
) -> None:
    """A second BuildKit takes what is the same from the cache and builds the rest."""
    there = f"type=registry,ref={registry}/nixbk-cache-{secrets.token_hex(4)}"
    shared.apply("--cache-to", there)
    shared.set(words="other words")
    shared.lock()
    folder = tmp_path / "second"
    folder.mkdir()
    with tcp_buildkitd(folder, None) as port:
        second = _elsewhere(shared, f"tcp://127.0.0.1:{port}", tmp_path / "nobody")
        assert second.apply("--cache-from", there).built == ("app", "words")


def test_builds_share_their_cache(shared: Project, empty_builder: str, tmp_path: Path) -> None:
    """Installables without an image are taken from a cache as well."""
    asked = ["build", "--json", "./default.nix#summary"]
    built = shared.run(*asked, "--cache-to", f"type=local,dest={tmp_path}/cache")
    second = _elsewhere(shared, empty_builder, tmp_path / "nobody")
    taken = second.run(*asked, "--cache-from", f"type=local,src={tmp_path}/cache")
    assert taken.document == built.document


def test_images_carry_cache(shared: Project, registry: str) -> None:
    """An image that carries cache of its own is the same image otherwise."""
    name = f"{registry}/nixbk-cache-{secrets.token_hex(4)}:inline"
    manifest = shared.folder / "nixbk.toml"
    manifest.write_text(
        manifest.read_text().replace(
            'type = "oci"\npath = "app.tar"', f'type = "registry"\nname = "{name}"'
        )
    )
    first = shared.apply("--cache-to", "type=inline")
    assert shared.apply("--cache-to", "type=inline").digests == {}
    assert shared.apply().digests == {}
    assert list(first.digests) == ["app"]


def test_what_cannot_be_kept_is_said_before_anything_is_built(shared: Project) -> None:
    """A place that takes nothing is an error, with the place and what to do."""
    place = "type=gha,url=http://127.0.0.1:1/,token=hidden,version=1"
    done = shared.run("apply", "--cache-to", place, code=1)
    assert "cache-to type=gha,url=http://127.0.0.1:1/,token=***,version=1: " in done.err
    assert "hidden" not in done.err + done.out
    assert "building" not in done.out


def test_an_engine_says_what_it_cannot_keep(project: Project, registry: str) -> None:
    """Docker without its containerd image store keeps no cache elsewhere; it says what to do."""
    if project.engines.exports:
        pytest.skip("this engine keeps cache anywhere")
    project.lock()
    place = f"type=registry,ref={registry}/nixbk-cache-{secrets.token_hex(4)}"
    done = project.run("apply", "--cache-to", place, code=1)
    assert done.err.startswith(f"nixbk: cache-to {place}: the builder ")
    assert " keeps no cache of type registry\n  hint: Docker does this with its" in done.err
    assert project.apply("--cache-to", "type=inline").built != ()
