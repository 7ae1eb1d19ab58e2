"""Projects for end-to-end tests, and what users do with them. Effects: files and processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
TEMPLATE: Final = ROOT / "tests" / "e2e" / "pipeline" / "project" / "default.nix"
SEED: Final = ROOT / "examples" / "minipkgs" / "seed"
NIXBK: Final = (sys.executable, "-m", "nixbk")
# what decides where nixbk and Docker's client look, and is not to come from outside
_OURS: Final = ("BUILDKIT_HOST", "DOCKER_CONTEXT", "DOCKER_HOST", "NIXBK_BUILDER")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended.

    Attributes:
        code: exit code.
        out: what it printed.
        err: what it complained of.
    """

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Applied:
    """What ``nixbk apply --json`` told.

    Attributes:
        planned: names of the derivations in the plan.
        built: names of those that ran.
        digests: of the images that were delivered, by key.
        done: the command itself.
    """

    planned: tuple[str, ...]
    built: tuple[str, ...]
    digests: Mapping[str, str]
    done: Done


@dataclass(frozen=True, slots=True)
class Engines:
    """What commands of a test talk to.

    Attributes:
        builder: BuildKit's address.
        docker_host: a Docker, to run images with.
        tools: folder of nix, docker, crane, skopeo.
    """

    builder: str
    docker_host: str
    tools: str

    @property
    def is_docker(self) -> bool:
        """Whether the builder is Docker's, so that images are loaded there."""
        return self.builder.startswith("docker")

    @property
    def exports(self) -> bool:
        """Whether it also writes and pushes: Docker needs its containerd image store for it."""
        if not self.is_docker:
            return True
        asked = ["--host", self.builder.removeprefix("docker+"), "info"]
        status = execute([f"{self.tools}/docker", *asked, "--format", "{{json .DriverStatus}}"])
        return "io.containerd.snapshotter" in status.out

    def docker(self, *arguments: str) -> Done:
        """Run Docker's client."""
        return execute([f"{self.tools}/docker", "--host", self.docker_host, *arguments])


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a manifest and an expression whose values can be changed.

    Attributes:
        folder: where it lies.
        home: the user's cache and temporary files.
        engines: what it is built on.
        salt: makes its derivations new.
        variables: further ones of the environment.
        launcher: a command that runs commands.
    """

    folder: Path
    home: Path
    engines: Engines
    salt: str
    variables: Mapping[str, str] = field(default_factory=dict)
    launcher: Sequence[str] = ()

    # Files

    @property
    def lock_file(self) -> Path:
        """The lock."""
        return self.folder / "nixbk.lock"

    def archive(self, key: str) -> Path:
        """Where the image *key* is written when the builder is not Docker's."""
        return self.folder / f"{key}.tar"

    def image(self, key: str) -> str:
        """The reference of the image *key*."""
        return f"nixbk-test-{self.salt}-{key}:latest"

    def set(self, **values: object) -> None:
        """Change values of the expression."""
        file = self.folder / "values.json"
        old = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**old, **values}, indent=1))

    def write_manifest(self, images: Mapping[str, Sequence[str]], extra: str = "") -> None:
        """Write a manifest of images with their attributes; *extra* ends each image's table."""
        lines = ['[sandbox]\nshell = "seed/bin/busybox"']
        for key, attributes in images.items():
            installables = json.dumps([f"./default.nix#{name}" for name in attributes])
            lines += [
                f"[images.{key}]",
                f'name = "{self.image(key)}"',
                f"installables = {installables}",
                f'entrypoint = ["${{./default.nix#{attributes[0]}}}/bin/{attributes[0]}"]',
                extra,
            ]
            if not self.engines.is_docker and "outputs" not in extra:
                path = self.archive(key).name
                lines.append(f'[[images.{key}.outputs]]\ntype = "oci"\npath = "{path}"')
        (self.folder / "nixbk.toml").write_text("\n".join(lines) + "\n")

    # Commands

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its commands."""
        return {
            **{name: value for name, value in os.environ.items() if name not in _OURS},
            "PATH": f"{self.engines.tools}:{os.environ['PATH']}",
            "NIXBK_BUILDER": self.engines.builder,
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "TMPDIR": str(self.home / "tmp"),
            **self.variables,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start nixbk and leave it running."""
        (self.home / "tmp").mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [*self.launcher, *NIXBK, *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> Done:
        """Run nixbk, which has to end with *code*."""
        with self.start(*arguments) as process:
            out, err = process.communicate()
        assert process.returncode == code, f"nixbk {' '.join(arguments)}:\n{out}{err}"
        return Done(process.returncode, out, err)

    def lock(self) -> None:
        """Lock the project."""
        self.run("lock", "--quiet")

    def plan(self) -> Any:
        """The document of the plan."""
        return self.run("plan", "--json").document

    def planned(self) -> tuple[str, ...]:
        """Names of the derivations that an apply would build, sorted."""
        return planned_names(self.plan())

    def apply(self, *arguments: str) -> Applied:
        """Apply the lock."""
        return applied(self.run("apply", "--json", *arguments))

    def remove_image(self, key: str) -> None:
        """Take an image away that was delivered."""
        if self.engines.is_docker:
            removed = self.engines.docker("rmi", "--force", self.image(key))
            assert removed.code == 0, removed
        else:
            self.archive(key).unlink()

    def printed(self, key: str) -> str:
        """What a container of the image *key* prints."""
        if not self.engines.is_docker:
            loaded = self.engines.docker("load", "--quiet", "--input", str(self.archive(key)))
            assert loaded.code == 0, loaded
        ran = self.engines.docker("run", "--rm", "--network", "none", self.image(key))
        assert ran.code == 0, ran
        return ran.out.strip()


class MakeProject(Protocol):
    """Makes a project of images and their attributes, and sets values of its expression."""

    def __call__(
        self, images: Mapping[str, Sequence[str]] | None = None, extra: str = "", **values: object
    ) -> Project:
        """Make one, with an image ``app`` unless told otherwise."""


def execute(command: Sequence[str], **options: Any) -> Done:
    """Run a program to its end, whatever that is."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    return Done(done.returncode, done.stdout, done.stderr)


def applied(done: Done) -> Applied:
    """Read what ``nixbk apply --json`` printed."""
    document = done.document
    return Applied(
        planned_names(document["plan"]),
        tuple(sorted(derivation_name(path) for path in document["built"])),
        {found["image"]: found["digest"] for found in document["delivered"]},
        done,
    )


def planned_names(plan: Any) -> tuple[str, ...]:
    """Names of the derivations a plan would build, each once, sorted."""
    builds = [build for image in plan["images"].values() for build in image["build"]]
    return tuple(sorted({derivation_name(build["derivation"]) for build in builds}))


def planned_actions(plan: Any) -> list[str]:
    """What a plan would do with the targets of its images."""
    return [target["action"] for image in plan["images"].values() for target in image["targets"]]


def derivation_name(path: str) -> str:
    """The name in a derivation path."""
    return Path(path).name.partition("-")[2].removesuffix(".drv")
