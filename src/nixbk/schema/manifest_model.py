"""The manifest's tables as models: what its JSON schema is made of, and its errors.

A manifest is read by `nixbk.schema.manifest_reader`, without pydantic; a test holds the two
together. The doc strings of the fields become the descriptions of the JSON schema, by
`nixbk.schema.json_schema`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nixbk.errors import NixbkError
from nixbk.nix.signatures import PublicKey
from nixbk.schema import manifest as values
from nixbk.schema.cache import CacheEntry
from nixbk.schema.cache_url import check_cache_url
from nixbk.schema.installable import Installable
from nixbk.schema.sandbox import SandboxSource, check_target

if TYPE_CHECKING:
    from collections.abc import Callable


def _kebab(name: str) -> str:
    return name.removesuffix("_").replace("_", "-")  # "from" is a word of Python's


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Text that *parse* takes; what it raises is the problem of the key."""

    def check(text: str) -> str:
        try:
            parse(text)
        except NixbkError as error:
            raise PydanticCustomError(
                "nixbk", "{message}", {"message": error.message, "hint": error.hint}
            ) from error
        return text

    return AfterValidator(check)


def _text(pattern: str, expected: str) -> StringConstraints:
    """Text of a pattern, with the words that errors have for it."""
    EXPECTED[pattern] = expected
    return StringConstraints(pattern=pattern, max_length=values.MAX_TEXT)


EXPECTED: dict[str, str] = {}
"""What each pattern of the models asks for, in words."""

ImageName = Annotated[str, _text(values.REFERENCE, "an image reference such as 'name:tag'")]
Absolute = Annotated[str, _text(values.ABSOLUTE, "an absolute path")]
Folder = Annotated[
    str, _text(values.FOLDER, "an absolute path, or one that starts with an installable")
]
Port = Annotated[str, _text(values.PORT, "a port such as '8080/tcp'")]
Signal = Annotated[str, _text(values.SIGNAL, "a signal such as 'SIGTERM'")]
Variable = Annotated[str, _text(values.VARIABLE, "the name of a variable")]
InputName = Annotated[str, _text(values.INPUT_NAME, "a name of letters, digits, '-' and '_'")]
ImageKey = Annotated[str, _text(values.IMAGE_KEY, "a name of letters, digits, '.', '-' and '_'")]
SubstituterName = Annotated[
    str, _text(values.SUBSTITUTER_NAME, "a name of letters, digits, '-' and '_'")
]
EnvironmentVariable = Annotated[
    str, _text(values.ENVIRONMENT_VARIABLE, "the name of an environment variable")
]
Feature = Annotated[str, _text(values.FEATURE, "the name of a system feature")]
InstallableText = Annotated[str, _checked(Installable.parse)]
SandboxText = Annotated[str, _checked(SandboxSource.parse)]
SandboxTarget = Annotated[str, _checked(check_target)]
SubstituterUrl = Annotated[str, _checked(check_cache_url)]
PublicKeyText = Annotated[str, _checked(PublicKey.parse)]
CacheSource = Annotated[str, _checked(lambda text: CacheEntry.parse(text, "from"))]
CacheTarget = Annotated[str, _checked(lambda text: CacheEntry.parse(text, "to"))]


class Model(BaseModel):
    """A table of the manifest: frozen, with unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_kebab,
        populate_by_name=True,
        defer_build=True,  # a reader builds the one validator that it uses
    )


def _or_text(schema: dict[str, Any]) -> None:
    """Let the schema of an input know its short form as well."""
    table = {key: schema.pop(key) for key in list(schema) if key != "description"}
    schema["anyOf"] = [{"type": "string", "minLength": 1}, table]


class Input(Model):
    """A source of Nix code, locked with its revision and its NAR hash."""

    model_config = ConfigDict(json_schema_extra=_or_text)

    url: Annotated[str, StringConstraints(min_length=1)]
    """A flake reference: ``github:NixOS/nixpkgs/nixos-26.05``, ``path:./dir``, ``git+https:…``."""
    flake: StrictBool = True
    """Whether the source is a flake. False for a plain tree of files."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """Take a string for the table with this ``url``."""
        return {"url": value} if isinstance(value, str) else value


class Sandbox(Model):
    """What builds find that is no input of theirs."""

    shell: SandboxText | None = None
    """A static shell for ``/bin/sh`` in builds: a file, or a path in an installable."""
    paths: dict[SandboxTarget, SandboxText] = {}
    """What else builds find, by where: files and folders, or paths in installables."""
    system_features: tuple[Feature, ...] = ()
    """System features that the builder has, beside those that Nix takes for granted."""


class Substituter(Model):
    """A binary cache that store paths are fetched from instead of being built."""

    url: SubstituterUrl
    """Where it is: ``https://host/path``, ``s3://bucket/prefix``, ``file:///folder``,
    ``file:./folder``; ``?priority=``."""
    public_keys: tuple[PublicKeyText, ...] = ()
    """The keys whose signatures are believed, of this cache and of all others: ``name:base64``."""
    trust: StrictBool = True
    """Whether a path needs a valid signature. False takes what this cache has without one."""
    ca_file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The certificates of a private authority, relative to the manifest's folder."""
    token_env: EnvironmentVariable | None = None
    """The environment variable with a token that logs in to the cache."""


class Cache(Model):
    """Where BuildKit's own cache is shared with other builders.

    Each place is written as ``docker buildx build`` takes it: ``type=registry,ref=…``.
    """

    from_: tuple[CacheSource, ...] = ()
    """Places that cache is taken from, beside the builder's own."""
    to: tuple[CacheTarget, ...] = ()
    """Places that cache is kept in after an apply."""


class Layers(Model):
    """How the store paths of an image are put into layers."""

    max: Annotated[StrictInt, Field(ge=1, le=values.MAX_LAYERS)] = 100
    """The most layers the image may have."""


class DockerOutput(Model):
    """The image goes into the Docker daemon that builds it."""

    type: Literal["docker"]
    """Load the image into Docker."""
    compression: values.DockerCompression | None = None
    """How Docker keeps new layers. Default: ``uncompressed``, and ``gzip`` beside other outputs."""


class OciOutput(Model):
    """The image goes into an archive in the OCI image layout."""

    type: Literal["oci"]
    """Write an OCI archive."""
    path: Annotated[str, StringConstraints(min_length=1)]
    """The file to write, relative to the manifest's folder."""


class RegistryOutput(Model):
    """The image goes to a registry."""

    type: Literal["registry"]
    """Push the image to a registry."""
    name: ImageName | None = None
    """The image reference to push to. Default: the image's own name."""
    insecure: StrictBool = False
    """Whether the registry may be spoken to by plain HTTP or with a certificate not verified."""


Output = Annotated[DockerOutput | OciOutput | RegistryOutput, Field(discriminator="type")]


class Image(Model):
    """An image: what is in it, how it runs, and where it goes.

    In the values of ``entrypoint``, ``cmd``, ``env``, ``workdir`` and ``labels`` the text
    ``${installable}``, with an installable exactly as listed, stands for its output path;
    ``$$`` stands for a dollar sign.
    """

    installables: Annotated[tuple[InstallableText, ...], Field(min_length=1)]
    """What is in the image: attributes of flakes and of Nix files, or derivations."""
    name: ImageName | None = None
    """The image reference. Default: the key of the image, with the tag ``latest``."""
    platforms: tuple[values.Platform, ...] = ()
    """The platforms to build for. Default: that of the machine that locks."""
    entrypoint: tuple[str, ...] = ()
    """The program that runs, with its first arguments."""
    cmd: tuple[str, ...] = ()
    """The arguments of the entrypoint when the user gives none."""
    env: dict[Variable, str] = {}
    """The environment. ``PATH`` has the ``bin`` folders of all installables by default."""
    workdir: Folder | None = None
    """The working directory of the container."""
    user: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The user, or user and group with a colon between, names or numbers."""
    labels: dict[str, str] = {}
    """The labels of the image."""
    ports: tuple[Port, ...] = ()
    """The ports the container listens on: ``8080/tcp``; ``tcp`` when no protocol is named."""
    volumes: tuple[Absolute, ...] = ()
    """The folders that hold data beyond the container's life."""
    stop_signal: Signal | None = None
    """The signal that asks the container to stop."""
    layers: Layers = Layers.model_construct()
    """How the store paths of the image are put into layers."""
    outputs: tuple[Output, ...] = ()
    """Where the image goes. Default: the Docker daemon that builds it."""


class Manifest(Model):
    """What the user wants: inputs to evaluate and images to make of them."""

    inputs: dict[InputName, Input] = {}
    """Sources of Nix code by name; installables such as ``nixpkgs#hello`` name them."""
    sandbox: Sandbox = Sandbox.model_construct()
    """What builds find that is no input of theirs."""
    substituters: dict[SubstituterName, Substituter] = {}
    """Binary caches by name; store paths are fetched from them instead of being built."""
    fallback: StrictBool = False
    """Whether the lock also holds how to build what is fetched, for when no cache has it."""
    cache: Cache = Cache.model_construct()
    """Where BuildKit's own cache is shared with other builders."""
    images: Annotated[dict[ImageKey, Image], Field(min_length=1)]
    """The images by name."""
