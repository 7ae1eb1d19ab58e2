"""What the entries of a lock are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixbk.nix.hashes import Hash
    from nixbk.nix.store_path import StorePath

FileType = Literal["directory", "regular", "symlink"]
ContentMethod = Literal["nar", "text", "flat", "none"]
Compression = Literal["none", "gzip", "bzip2", "xz", "zstd"]


class LockedInput(NamedTuple):
    """An input with what it was when it was locked.

    Attributes:
        name: its key in the manifest, or the flake reference itself for an installable that
            names one directly.
        url: the flake reference as the user wrote it.
        flake: whether it is a flake.
        locked: the flake reference that is evaluated: with its revision, or relative to the
            lock's folder for what lies in it.
        rev: the revision, where there is one.
        nar_hash: of the whole tree.
        last_modified: seconds since 1970, where it is known.
    """

    name: str
    url: str
    flake: bool
    locked: str
    rev: str | None
    nar_hash: Hash
    last_modified: int | None = None


class LockedInstallable(NamedTuple):
    """An installable with the derivation it stands for.

    Attributes:
        text: as the user wrote it.
        drv_path: the derivation; None for what is a store path itself, the path of ``out`` then.
        outputs: names of the selected outputs, in the order to install them.
        paths: their store paths by name; without those that a build decides.
    """

    text: str
    drv_path: StorePath | None
    outputs: tuple[str, ...]
    paths: Mapping[str, StorePath]


class LockedImage(NamedTuple):
    """The installables of an image, for its platforms."""

    platforms: tuple[str, ...]
    installables: tuple[LockedInstallable, ...]


# As named tuples, a file and an archive of the bundle would be equal where their texts are.
@dataclass(frozen=True, slots=True)
class FileOrigin:
    """A file or folder of the repository, relative to the lock's folder."""

    file: str


class InputOrigin(NamedTuple):
    """A part of an input: its name, and a path in it (empty for all of it)."""

    input: str
    path: str


@dataclass(frozen=True, slots=True)
class BundleOrigin:
    """A NAR in the folder beside the lock, by the SHA-256 of it in hexadecimal digits."""

    sha256: str


Origin = FileOrigin | InputOrigin | BundleOrigin


class LockedSource(NamedTuple):
    """A store object that is no output of a derivation of the lock.

    Attributes:
        path: where it is in the store.
        nar_hash: SHA-256 of its NAR.
        nar_size: length of its NAR in bytes.
        references: the store paths it refers to.
        origin: where its bytes are to be had.
        file_type: what it is at its root.
        target: of a symlink; empty for what is none.
        method: how its path follows from its content; ``none`` when it does not.
        content_hash: what its path is made of; None when that is the NAR hash, or nothing.
    """

    path: StorePath
    nar_hash: Hash
    nar_size: int
    references: tuple[StorePath, ...]
    origin: Origin
    file_type: FileType = "directory"
    target: str = ""
    method: ContentMethod = "nar"
    content_hash: Hash | None = None


class LockedArchive(NamedTuple):
    """A file of a binary cache that holds the NAR of a store path.

    Attributes:
        substituter: the name of the cache in the manifest.
        url: as the cache tells it: relative to the cache, or absolute.
        file_hash: SHA-256 of the file.
        file_size: its length in bytes, where the cache tells it.
        compression: of the NAR in it.
    """

    substituter: str
    url: str
    file_hash: Hash
    file_size: int | None
    compression: Compression


class LockedSubstitute(NamedTuple):
    """A store path that is fetched from a binary cache.

    Attributes:
        path: where it is in the store.
        nar_hash: SHA-256 of its NAR.
        nar_size: length of its NAR in bytes.
        references: the store paths it refers to, sorted; itself, too, if it does.
        archives: where its NAR is to be had, in the order they are tried.
        signatures: ``<key name>:<base 64>``, sorted.
        content_address: how its path follows from its content (``fixed:r:sha256:…``), or empty.
        file_type: ``symlink`` if its root is one; else ``directory``, whatever it is.
        target: of a symlink; empty for what is none.
    """

    path: StorePath
    nar_hash: Hash
    nar_size: int
    references: tuple[StorePath, ...]
    archives: tuple[LockedArchive, ...]
    signatures: tuple[str, ...] = ()
    content_address: str = ""
    file_type: FileType = "directory"
    target: str = ""


class LockedShell(NamedTuple):
    """The shell of the builds: its file as the manifest names it, and its source."""

    file: str
    path: StorePath


class LockedPath(NamedTuple):
    """Something that builds find and that is no input of theirs.

    Attributes:
        text: as the manifest names it.
        path: the store object that it is in.
        subpath: where in there; empty for all of it.
        drv_path: the derivation that makes the store object, even if it is substituted; None for
            a source, and for a substitute that the manifest names by its path.
        output: which of its outputs; empty where there is no derivation.
    """

    text: str
    path: StorePath
    subpath: str = ""
    drv_path: StorePath | None = None
    output: str = ""
