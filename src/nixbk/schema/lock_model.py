"""The lock's tables as models: what its JSON schema is made of.

A lock is read by `nixbk.schema.lock_reader`, without pydantic; a test holds the two
together. Pure.
"""

# ruff: noqa: RUF012 - pydantic copies defaults

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StringConstraints

from nixbk.schema.manifest_model import Model

BaseName = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]{1,211}$")
]
Path = Annotated[str, StringConstraints(pattern=r"^(/nix/store/[0-9a-df-np-sv-z]{32}-.+)?$")]
Sri = Annotated[str, StringConstraints(pattern=r"^sha256-[A-Za-z0-9+/]{43}=$")]
Natural = Annotated[StrictInt, Field(ge=0)]


class SandboxPathModel(Model):
    """Something that builds find.

    It has one of ``source``, ``substitute``, and ``derivation`` with ``output``.
    """

    text: str
    """As the manifest names it."""
    source: BaseName | None = None
    """Its entry in ``sources``."""
    substitute: BaseName | None = None
    """Its entry in ``substitutes``, for what the manifest names by its store path."""
    derivation: BaseName | None = None
    """The derivation that makes it: one of ``derivations``, or of ``substituted``."""
    output: str | None = None
    """The output of that derivation."""
    path: str | None = None
    """Where in there it is; all of it without."""


class SandboxModel(Model):
    """What builds find that is no input of theirs."""

    shell: str | None = None
    """The file that is the shell, as the manifest names it."""
    source: BaseName | None = None
    """The shell's entry in ``sources``."""
    system_features: list[str] = []
    """System features that the builder has."""
    paths: dict[str, SandboxPathModel] = {}
    """Everything else that builds find, by where."""


class InputModel(Model):
    """An input, pinned."""

    url: str
    """The flake reference in the manifest."""
    flake: StrictBool = True
    """Whether it is a flake."""
    locked: str
    """The flake reference with its revision; for what lies in the file system, ``url`` itself."""
    rev: str | None = None
    """The revision, where there is one."""
    nar_hash: Sri
    """The hash of the whole tree, without the lock where that lies in it."""
    last_modified: Natural | None = None
    """When it was last modified: seconds since 1970."""


class InstallableModel(Model):
    """An installable of an image."""

    text: str
    """As the manifest has it."""
    derivation: BaseName | None = None
    """What makes it: one of ``derivations``, or of ``substituted``. None for a store path."""
    outputs: Annotated[dict[str, Path], Field(min_length=1)]
    """The selected outputs with their store paths; empty where a build decides the path."""


class ImageModel(Model):
    """An image of the manifest."""

    platforms: list[str]
    """The platforms it is locked for."""
    installables: list[InstallableModel]
    """What is in it."""


class OutputModel(Model):
    """An output that is addressed by its content."""

    path: Path
    """Its store path; empty where a build decides it."""
    method: str
    """How it is hashed: ``sha256``, ``r:sha256``, …"""
    hash: str
    """What it hashes to, in base 16; empty where a build decides it."""


class DerivationModel(Model):
    """A recipe. It has either ``aterm`` alone or ``system``, ``builder``, ``outputs`` and more."""

    aterm: str | None = None
    """The recipe in base 64, where TOML cannot hold it exactly."""
    system: str | None = None
    """The system it builds on."""
    builder: str | None = None
    """The program that builds."""
    args: list[str] = []
    """The builder's arguments."""
    inputs: list[str] = []
    """The derivations it needs, as ``<base name>^<outputs>``; some are in ``substituted``."""
    sources: list[BaseName] = []
    """The sources it needs; one that is fetched is in ``substitutes``."""
    implied_env: Literal[True, False] = True
    """Whether ``name``, ``system``, ``builder`` and the outputs are left out of ``env``."""
    outputs: dict[str, Path | OutputModel] = {}
    """Its outputs: store paths, or how their content is known."""
    env: dict[str, str] = {}
    """The builder's environment."""


class SourceModel(Model):
    """A store object that no derivation of the lock makes; it has one origin."""

    type: Literal["directory", "regular", "symlink"]
    """What it is."""
    target: str | None = None
    """Where a symbolic link leads."""
    nar_hash: Sri
    """The hash of its archive."""
    nar_size: Natural
    """The length of its archive in bytes."""
    references: list[BaseName] = []
    """The sources it refers to."""
    content: Literal["nar", "text", "flat", "none"] = "nar"
    """What its path is made of; ``none`` when it does not follow from its content."""
    content_hash: str | None = None
    """The hash its path is made of, when that is not the hash of its archive."""
    file: str | None = None
    """Origin: a file or folder, relative to the lock's folder."""
    input: str | None = None
    """Origin: an input, of which it is the part at ``path``."""
    path: str | None = None
    """Where in the input it is; empty for all of it."""
    bundle: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Origin: a file of the folder beside the lock, by the hash of its archive in base 16."""


class ArchiveModel(Model):
    """A file of a binary cache that holds an archive."""

    substituter: str
    """The name of the cache in the manifest."""
    url: str
    """Where the file is: relative to the cache, or absolute."""
    file_hash: Sri
    """The hash of the file."""
    file_size: Natural | None = None
    """The length of the file in bytes, where the cache tells it."""
    compression: Literal["none", "gzip", "bzip2", "xz", "zstd"]
    """How the archive in it is compressed."""


class SubstituteModel(Model):
    """A store object that is fetched from a binary cache."""

    type: Literal["symlink", "directory"] = "directory"
    """``symlink``, or ``directory`` for everything else."""
    target: str | None = None
    """Where a symbolic link leads."""
    nar_hash: Sri
    """The hash of its archive."""
    nar_size: Annotated[StrictInt, Field(ge=1)]
    """The length of its archive in bytes."""
    references: list[BaseName] = []
    """The substitutes and sources it refers to."""
    content_address: str | None = None
    """What its path is made of, if it follows from its content."""
    signatures: list[str] = []
    """Who says all this, as ``<name of the key>:<base 64>``."""
    archives: Annotated[list[ArchiveModel], Field(min_length=1)]
    """Where its archive is, in the order in which caches are tried."""


class LockModel(Model):
    """What the images of a manifest stand for, exactly."""

    version: Literal[1]
    """The version of this format."""
    fallback: StrictBool = False
    """Whether the recipes of what is fetched are in it, too."""
    sandbox: SandboxModel | None = None
    """What builds find that is no input of theirs."""
    inputs: dict[str, InputModel] = {}
    """The inputs by name."""
    images: dict[str, ImageModel]
    """The images by name."""
    substituted: dict[str, BaseName] = {}
    """What is fetched instead of being built: store paths by ``<base name>^<output>``."""
    derivations: dict[BaseName, DerivationModel]
    """Every recipe that is built for an image, by the base name of its path."""
    made: dict[str, BaseName] = {}
    """Recipes that are outputs of others, by ``<base name>^<output>``."""
    sources: dict[BaseName, SourceModel] = {}
    """Everything else that builds need, by the base name of its path."""
    substitutes: dict[BaseName, SubstituteModel] = {}
    """Everything that is fetched from binary caches, by the base name of its path."""
