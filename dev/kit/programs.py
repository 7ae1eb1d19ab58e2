"""Programs the project is developed and tested with, put into one folder for PATH.

Effect: network, package managers, processes, files below the cache.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dev.kit.places import BIN, CACHE, REPOSITORY, KitError, key, made, write_atomically
from dev.kit.shell import apt_get, need, note, run
from dev.kit.trees import FORKY, wrapper

BUILDKIT_MODULE = "github.com/moby/buildkit"
BUILDKIT_VERSION = "v0.32.2"
S3_MODULE = "github.com/versity/versitygw"
S3_VERSION = "v1.8.0"
EXAMPLE = REPOSITORY / "examples" / "minipkgs"
MINIPKGS = CACHE / "minipkgs"
OLDEST_NIX = (2, 34)  # nixbk itself takes 2.18; as an oracle Nix has to say more
NIX_NAMES = (
    "nix",
    "nix-build",
    "nix-collect-garbage",
    "nix-env",
    "nix-hash",
    "nix-instantiate",
    "nix-shell",
    "nix-store",
)
# the sandbox is Nix's own; what it must not do is ask a binary cache or another machine
NIX_CONF = """\
build-users-group =
experimental-features = nix-command flakes ca-derivations
substituters =
flake-registry =
sandbox = true
sandbox-fallback = false
sandbox-paths = /bin/sh={shell}
builders =
build-hook =
max-jobs = 2
"""


def _other_path() -> list[str]:
    """PATH without the wrappers."""
    return [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p != str(BIN)]


def tools() -> None:
    """Wrappers for crane, skopeo and the docker client with buildx."""
    FORKY.make()
    wrapper("crane", FORKY.loader("usr/bin/crane"))
    policy = FORKY.folder / "etc/containers/policy.json"
    wrapper("skopeo", [*FORKY.loader("usr/bin/skopeo"), "--policy", str(policy)])
    config = CACHE / "docker-config"
    buildx = FORKY.loader("usr/libexec/docker/cli-plugins/docker-buildx", "docker-buildx")
    own_config = f'export DOCKER_CONFIG="${{DOCKER_CONFIG-{config}}}"'
    wrapper("docker-buildx", buildx, lines=(own_config,))
    wrapper("docker-buildx", buildx, folder=config / "cli-plugins")
    wrapper("docker", FORKY.loader("usr/bin/docker", "docker"), lines=(own_config,))


def buildkit() -> Path:
    """The folder with buildkitd and buildctl, compiled first if they are not there.

    The module is compiled from its own folder, as its makers do: its go.mod has
    an ``exclude``, for which ``go install module@version`` refuses it.
    """
    name = f"buildkit-{BUILDKIT_VERSION}-{key(BUILDKIT_VERSION)}"
    folder = made(CACHE / "tools" / name, _compile_buildkit)
    for program in ("buildctl", "buildkitd"):
        wrapper(program, [str(folder / program)])
    return folder


def _compile_buildkit(folder: Path) -> None:
    if shutil.which("go") is None:
        raise KitError("buildkitd is compiled: install Go first")
    note(f"compiling buildkitd {BUILDKIT_VERSION} (once, two to three minutes)")
    query = ["go", "mod", "download", "-json", f"{BUILDKIT_MODULE}@{BUILDKIT_VERSION}"]
    module = json.loads(run(query, cwd=Path("/")))["Dir"]
    stamp = f"-X {BUILDKIT_MODULE}/version.Version={BUILDKIT_VERSION}"
    build = ["go", "build", "-trimpath", "-ldflags", f"-s -w {stamp}", "-o", f"{folder}/"]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    folder.mkdir(parents=True)
    run([*build, "./cmd/buildkitd", "./cmd/buildctl"], cwd=Path(module), env=environment)


def s3_server() -> Path:
    """A server of S3 that checks signatures, compiled first if it is not there."""
    name = f"versitygw-{S3_VERSION}-{key(S3_VERSION)}"
    return made(CACHE / "tools" / name, _compile_s3_server) / "versitygw"


def _compile_s3_server(folder: Path) -> None:
    if shutil.which("go") is None:
        raise KitError("versitygw is compiled: install Go first")
    note(f"compiling versitygw {S3_VERSION} (once, a minute)")
    folder.mkdir(parents=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder), "GOFLAGS": ""}
    install = ["go", "install", "-trimpath", "-ldflags", "-s -w"]
    module = f"{S3_MODULE}/cmd/versitygw@{S3_VERSION}"
    run([*install, module], cwd=Path("/"), env=environment)


def prepare_minipkgs(*options: str) -> Path:
    """The folder of minipkgs' sources and seed, fetched first if they are not there."""
    run([sys.executable, EXAMPLE / "prepare.py", MINIPKGS, *options])
    return MINIPKGS


def system_nix() -> Path | None:
    """A nix of the machine's own that is new enough, or None."""
    found = shutil.which("nix", path=os.pathsep.join(_other_path()))
    if found is None:
        return None
    with contextlib.suppress(OSError):
        said = subprocess.run([found, "--version"], check=False, capture_output=True, text=True)
        version = re.search(r"(\d+)\.(\d+)", said.stdout)
        if version and tuple(map(int, version.groups())) >= OLDEST_NIX:
            return Path(found)
    return None


def nix() -> None:
    """A nix command that works on the machine's own /nix, unless it has one.

    The newest Debian's programs are run on the machine's own root: Nix's
    sandbox needs user namespaces, which no process in a chroot may have.
    """
    if system_nix() is not None:
        for name in NIX_NAMES:
            (BIN / name).unlink(missing_ok=True)
        return
    FORKY.make()
    shell = prepare_minipkgs("--seed-only") / "seed/bin/busybox"
    config = CACHE / "nix"
    write_atomically(config / "nix.conf", NIX_CONF.format(shell=shell))
    own_config = f'export NIX_CONF_DIR="${{NIX_CONF_DIR-{config}}}"'
    for name in NIX_NAMES:
        wrapper(name, FORKY.loader("usr/bin/nix", name), lines=(own_config,))


def qemu() -> Path:
    """A static emulator for aarch64 programs, from the machine's own Debian release."""
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        found = shutil.which(name)
        if found:
            return Path(found)
    folder = made(CACHE / "tools" / f"qemu-{key('user-static')}", _unpack_qemu)
    return folder / "qemu-aarch64-static"


def _unpack_qemu(folder: Path) -> None:
    """Unpack the package without installing it, which would register it with the kernel."""
    need("dpkg-deb")
    note("fetching qemu-user-static")
    download = folder.with_name(f"{folder.name}.download")
    download.mkdir(parents=True, exist_ok=True)
    apt_get("update")
    apt_get("download", "qemu-user-static", cwd=download)
    (package,) = download.glob("qemu-user-static_*.deb")
    run(["dpkg-deb", "-x", package, download])
    folder.mkdir()
    shutil.move(download / "usr/bin/qemu-aarch64-static", folder)
    shutil.rmtree(download)
