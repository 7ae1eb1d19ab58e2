"""What steps are compiled from and what comes of it: values alone. Pure."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from nixbk.errors import NixbkError
from nixbk.llb.exec import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nixbk.llb.mounts import Sharing
    from nixbk.llb.platforms import Platform
    from nixbk.llb.vertex import Output
    from nixbk.nix.derivation import Derivation
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.realisation import RealisedOutput
    from nixbk.schema.lock import LockedArchive

PROBE_IP: Final = "no build: this is a probe"
RUN_IP: Final = "127.0.0.1"
NO_PROXY: Final = Proxy()

Again = Literal["keep-failed", "check", "download"]
"""Why a step runs once more: to bring its build folder out, to compare what comes out, or to tell
why a download failed, which Nix's own downloader knows better than BuildKit's."""


def _no_offer(data: bytes) -> str:
    raise NixbkError(f"there is no session to send {len(data):,} bytes through")


def _no_archive(archive: LockedArchive) -> str:
    raise NixbkError("no binary cache is known", where=archive.substituter)


def _from_its_server(url: str, _sha256: str) -> str:
    return url


class Flavour(Enum):
    """What an operation is for; the cache cannot tell them apart."""

    RUN = RUN_IP
    PROBE = PROBE_IP

    @property
    def sharing(self) -> Sharing:
        """How the mount is shared that BuildKit prepares first, and refuses in a probe."""
        return "shared" if self is Flavour.RUN else "refused"


class HelperFile(NamedTuple):
    """A helper program as BuildKit is to fetch it.

    Attributes:
        url: where the client's session serves it.
        sha256: 64 hexadecimal digits.
    """

    url: str
    sha256: str


class Workshop(NamedTuple):
    """What is common to all steps of one platform.

    Attributes:
        platform: what builders run on.
        build_helper: runs builders and fetches.
        builtin_helper: runs the builders that are part of Nix.
        unpack_helper: unpacks NARs, collects results, assembles layers.
        upload_url: where the session serves the bytes with a SHA-256, given in hexadecimal.
        cores: what ``NIX_BUILD_CORES`` is to be; None for all there are.
        proxy: proxy variables for builds with network.
        offer: has the session serve these bytes, and returns where.
        timeout_s: how long a build may take; None for ever.
        max_silent_s: how long a build may print nothing; None for ever.
        nonce: fresh for each command; keys the steps that are built each time.
        features: system features granted beside Nix's usual ones.
        archive_url: where the builder gets a file of a binary cache.
        download_url: where the builder gets a download, by its URL and SHA-256.
        probes_have_helpers: whether the helpers are sent for probes, too.
    """

    platform: Platform
    build_helper: HelperFile
    builtin_helper: HelperFile
    unpack_helper: HelperFile
    upload_url: Callable[[str], str]
    cores: int | None = None
    proxy: Proxy = NO_PROXY
    offer: Callable[[bytes], str] = _no_offer
    timeout_s: int | None = None
    max_silent_s: int | None = None
    nonce: str = ""
    features: frozenset[str] = frozenset()
    archive_url: Callable[[LockedArchive], str] = _no_archive
    download_url: Callable[[str, str], str] = _from_its_server
    probes_have_helpers: bool = False


class StoreObject(NamedTuple):
    """A store path, where it lies, and what is known of it.

    Attributes:
        info: path, references and type; size and hash where they are known.
        root: the file system that has it at its own path.
        members: all store paths in that file system, sorted; empty for this one alone.
        by_content: whether its content, not only its recipe, is to key what uses it.
        content_address: how its path follows from its content (``fixed:r:sha256:…``), or empty.
        outputs: of a ``.drv`` file, the outputs that it names; None when it does not know them.
    """

    info: RealisedOutput
    root: Output
    members: tuple[StorePath, ...] = ()
    by_content: bool = False
    content_address: str = ""
    outputs: tuple[StorePath, ...] | None = ()


class Recipe(NamedTuple):
    """What is built: a derivation with all paths of its inputs in their places.

    Attributes:
        path: its own, which is that of no file when inputs were resolved.
        derivation: it.
        outputs: where its outputs are while it is built, by name.
    """

    path: StorePath
    derivation: Derivation
    outputs: Mapping[str, StorePath]


class Place(NamedTuple):
    """A file or folder in a store object.

    Attributes:
        found: the store object.
        subpath: where in there; empty for all of it.
    """

    found: StoreObject
    subpath: str = ""

    @property
    def path(self) -> str:
        """Where it is."""
        path = str(self.found.info.path)
        return f"{path}/{self.subpath}" if self.subpath else path

    @property
    def in_key(self) -> bool:
        """Whether a cache key has to be told of it, as not all of its file system is meant."""
        return bool(self.subpath) or len(self.found.members) > 1


NO_SANDBOX: Final[Mapping[str, Place]] = MappingProxyType({})
NO_PLACES: Final[Mapping[str, str]] = MappingProxyType({})


class Step(NamedTuple):
    """One compiled exec.

    Attributes:
        root: the file system with the outputs and the result file.
        archives: the files that it unpacks, of what binary caches have.
        others: further file systems with what it unpacks.
    """

    root: Output
    archives: tuple[Output, ...] = ()
    others: tuple[Output, ...] = ()

    @property
    def roots(self) -> tuple[Output, ...]:
        """All file systems that it leaves."""
        return (self.root, *self.others)

    @property
    def digest(self) -> str:
        """Digest of the operation, ``sha256:…``."""
        return self.root.vertex.digest
