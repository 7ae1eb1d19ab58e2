"""The manifest, ``nixbk.toml``: what the user wants.

Values alone. :mod:`nixbk.schema.manifest_reader` makes them of a document,
:mod:`nixbk.schema.manifest_file` of a file; neither needs pydantic. What each field means is told
by the model of the same name in :mod:`nixbk.schema.manifest_model`. Pure.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from nixbk.schema.cache_url import cache_priority
from nixbk.schema.sandbox import SHELL_TARGET, SandboxSource

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LAYERS = 125
"""The most layers an image can have: Docker runs 127, and two are left for what goes on top."""

MAX_TEXT = 4096
"""The most characters of a text that has a pattern."""

# Patterns of whole texts, for the reader and for the models, which have Rust's dialect: nothing
# but ``[…]``, and ``$`` is the very end.
DOMAIN = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
)
REFERENCE = (
    rf"^(?:(?:{DOMAIN}|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$"
)
"""An image reference without a digest. Source: ``reference/regexp.go`` of distribution."""
ABSOLUTE = r"^/[^\x00]*$"
FOLDER = r"^(/|\$\{)[^\x00]*$"
PORT = r"^[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?$"
SIGNAL = r"^(SIG[A-Z0-9]+([+-][0-9]+)?|[0-9]{1,3})$"
VARIABLE = r"^[^=\x00]+$"
INPUT_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
IMAGE_KEY = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
SUBSTITUTER_NAME = r"^[A-Za-z0-9_-]{1,64}$"
ENVIRONMENT_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
FEATURE = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"

Platform = Literal[
    "linux/386",
    "linux/amd64",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
]
DockerCompression = Literal["uncompressed", "gzip", "zstd"]


class Input(NamedTuple):
    """A source of Nix code, locked with its revision and its NAR hash."""

    url: str
    flake: bool = True


class Sandbox(NamedTuple):
    """What builds find that is no input of theirs."""

    shell: str | None = None
    paths: Mapping[str, str] = MappingProxyType({})
    system_features: tuple[str, ...] = ()

    @property
    def sources(self) -> dict[str, tuple[tuple[str, ...], SandboxSource]]:
        """What builds find, by where, each with its key below ``sandbox``."""
        found: dict[str, tuple[tuple[str, ...], str]] = {}
        if self.shell is not None:
            found[SHELL_TARGET] = (("shell",), self.shell)
        found |= {target: (("paths", target), text) for target, text in self.paths.items()}
        return {target: (key, SandboxSource.parse(text)) for target, (key, text) in found.items()}


class Substituter(NamedTuple):
    """A binary cache that store paths are fetched from instead of being built."""

    url: str
    public_keys: tuple[str, ...] = ()
    trust: bool = True
    ca_file: str | None = None
    token_env: str | None = None

    @property
    def priority(self) -> int:
        """Of two caches, the one with the lower is asked first."""
        return cache_priority(self.url)


class Cache(NamedTuple):
    """Where BuildKit's own cache is shared with other builders."""

    from_: tuple[str, ...] = ()
    to: tuple[str, ...] = ()


class Layers(NamedTuple):
    """How the store paths of an image are put into layers."""

    max: int = 100


class DockerOutput(NamedTuple):
    """The image goes into the Docker daemon that builds it."""

    type: Literal["docker"]
    compression: DockerCompression | None = None


class OciOutput(NamedTuple):
    """The image goes into an archive in the OCI image layout."""

    type: Literal["oci"]
    path: str


class RegistryOutput(NamedTuple):
    """The image goes to a registry."""

    type: Literal["registry"]
    name: str | None = None
    insecure: bool = False


Output = DockerOutput | OciOutput | RegistryOutput


class Image(NamedTuple):
    """An image: what is in it, how it runs, and where it goes."""

    installables: tuple[str, ...]
    name: str | None = None
    platforms: tuple[Platform, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = MappingProxyType({})
    workdir: str | None = None
    user: str | None = None
    labels: Mapping[str, str] = MappingProxyType({})
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str | None = None
    layers: Layers = Layers()
    outputs: tuple[Output, ...] = ()

    def reference(self, key: str) -> str:
        """The image's reference, where *key* is the name of its table."""
        return self.name or f"{key}:latest"


class Manifest(NamedTuple):
    """What the user wants: inputs to evaluate and images to make of them."""

    images: Mapping[str, Image]
    inputs: Mapping[str, Input] = MappingProxyType({})
    sandbox: Sandbox = Sandbox()
    substituters: Mapping[str, Substituter] = MappingProxyType({})
    fallback: bool = False
    cache: Cache = Cache()

    @property
    def caches(self) -> tuple[tuple[str, Substituter], ...]:
        """The substituters with their names, in the order in which they are asked."""
        return tuple(sorted(self.substituters.items(), key=lambda item: item[1].priority))

    @property
    def public_keys(self) -> tuple[str, ...]:
        """The keys whose signatures are believed, whichever cache has them."""
        texts = (key for entry in self.substituters.values() for key in entry.public_keys)
        return tuple(dict.fromkeys(texts))
