"""What the tests against real Nix share."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from binary_caches import CacheServer
from cached_projects import CachedProject
from small_cache import SmallCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Run = "Callable[..., str]"


@pytest.fixture(scope="session", autouse=True)
def _nix() -> None:
    """Without Nix there is no oracle."""
    if shutil.which("nix") is None:
        pytest.skip("there is no nix command", allow_module_level=True)


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Run a program and return what it prints."""

    def call(*command: str, folder: Path | None = None, code: int = 0) -> str:
        environment = {
            **os.environ,
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallCache:
    """Small store paths, and a cache of them."""
    return SmallCache.make(tmp_path_factory.mktemp("small"), ["data", "other"])


@pytest.fixture
def cached(tmp_path: Path) -> CachedProject:
    """A project of a user without Nix, for paths from caches."""
    return CachedProject.make(tmp_path / "cached")


@pytest.fixture
def server(small: SmallCache) -> Iterator[CacheServer]:
    """A server of the cache of small paths."""
    with CacheServer(small.folder) as started:
        yield started


FLAKE = """
{ outputs = { self }:
  let make = name: more: derivation ({
    inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ ./setup.sh ];
  } // more);
  in {
    packages.x86_64-linux = {
      default = make "default" { outputs = [ "bin" "out" ]; };
      web = make "web" { src = ./src; note = builtins.toFile "note" "hello"; };
      picked = make "picked" { outputs = [ "out" "dev" "man" ]; } // {
        meta.outputsToInstall = [ "out" "man" ]; };
      dev = (make "split" { outputs = [ "out" "dev" ]; }).dev // { outputSpecified = true; };
    };
    legacyPackages.x86_64-linux.deep."dotted.name" = make "dotted" { };
    whole = make "whole" { src = self; me = ./.; rev = self.rev or "none"; };
    top.level = make "top" { };
    broken = throw "this one is broken";
    number = 3;
  };
}
"""
FILE = """
{ tree ? null, system ? builtins.currentSystem, ... }:
let make = name: more: derivation ({
  inherit name system; builder = "/bin/sh"; args = [ ./setup.sh ];
} // more);
in {
  plain = make "plain" {
    outputs = [ "lib" "out" ]; renamed = builtins.path { path = ./src; name = "r"; }; };
  called = { system }: { inner = make "inner" { inherit system; }; };
  list = [ (make "first" { }) ];
  imports = make "imports" { v = builtins.readFile (derivation {
    name = "imported"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; }); };
  takes = make "takes" { from = tree + "/a"; };
  leaves = import /etc/passwd;
  fetches = builtins.fetchTarball "http://127.0.0.1:1/x.tar.gz";
  searches = import <nixpkgs> { };
  lines = make "lines" { text = "a\\r\\nb"; };
}
"""


@pytest.fixture
def project(tmp_path: Path, run: Callable[..., str]) -> Path:
    """A git repository with a flake, a plain Nix file, and files they use."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "tree").mkdir()
    (folder / "flake.nix").write_text(FLAKE)
    (folder / "default.nix").write_text(FILE)
    (folder / "setup.sh").write_text("echo > $out\n")
    (folder / "src" / "a").write_text("a\n")
    (folder / "tree" / "a").write_text("tree\n")
    (folder / ".gitignore").write_text("ignored\n")
    run("git", "init", "--quiet", folder=folder)
    run("git", "add", ".", folder=folder)
    run("git", "commit", "--quiet", "-m", "start", folder=folder)
    return folder
