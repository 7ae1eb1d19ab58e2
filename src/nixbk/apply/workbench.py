"""Everything one command needs at hand: a builder, a session, a build, what is known. Effects.

Opened once for each command; what is opened is closed in reverse order, and a build that was not
ended is cancelled on the builder, too.
"""

from __future__ import annotations

import io
import os
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from nixbk.apply.archives import Archives
from nixbk.apply.cache_places import ImportWatch
from nixbk.apply.downloads import Downloads
from nixbk.apply.interruptible import Interruption
from nixbk.apply.logins import Logins
from nixbk.apply.realisations import RealisationCache
from nixbk.apply.solver import Definitions, Solver
from nixbk.buildkit.address import resolve_builder
from nixbk.buildkit.client import connect
from nixbk.buildkit.credentials import Credentials
from nixbk.buildkit.protocols import Result
from nixbk.buildkit.session import Attachables
from nixbk.buildkit.shared_cache import SharedCache
from nixbk.buildkit.uploads import URL_PREFIX, Upload, Uploads
from nixbk.errors import NixbkError
from nixbk.helper import HelperKind, helper_binary
from nixbk.llb.exec import Proxy
from nixbk.llb.platforms import Platform
from nixbk.planner.build_graph import BuildGraph
from nixbk.planner.lost import without
from nixbk.planner.workshop import HelperFile, Workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from nixbk.apply.failures import DerivationFailedError
    from nixbk.apply.fetch_failures import LostError
    from nixbk.apply.progress import Progress
    from nixbk.buildkit.build import GatewayBuild
    from nixbk.buildkit.client import Client
    from nixbk.buildkit.protocols import Build, CacheOption, Capabilities, Exporter
    from nixbk.buildkit.session import Session
    from nixbk.buildkit.status import OnStatus
    from nixbk.nix.store_path import StorePath
    from nixbk.proto.control_pb2 import StatusResponse
    from nixbk.resolve.caches.cache import Cache
    from nixbk.schema.lock import Lock, LockedSource
    from nixbk.schema.manifest import Manifest

Opener: TypeAlias = "Callable[[LockedSource], BinaryIO]"
FindCaches: TypeAlias = "Callable[[], Mapping[str, Cache]]"

REALISATIONS_FILE: Final = "realisations.sqlite"
LOGS_FOLDER: Final = "logs"
HTTP_LOGINS: Final = "source.http.auth"
"""What a builder is capable of that asks the session for logins when it downloads."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user decides beside manifest and lock.

    Attributes:
        builder: address of the builder, None for the usual ones.
        max_jobs: derivations built at once, None for one for each CPU of this machine.
        cores: CPUs each builder may use, None for all of them.
        timeout_s: how long a build may take, None for ever.
        max_silent_s: how long a build may print nothing, None for ever.
        keep_going: whether what does not need a failed derivation is built all the same.
        keep_failed: whether the folders of failed builds are kept.
        folder: where they are kept.
        netrc_file: the user's netrc file, None for the usual one.
        environ: the user's environment.
        interruption: what an interrupt cancels.
        cache: where BuildKit's cache is taken from and kept.
        say: takes what the user is to know beside the plan and its progress, a line each.
        meanwhile: called when the builder is waited for, often, and by several threads.
    """

    builder: str | None
    environ: Mapping[str, str]
    max_jobs: int | None = None
    cores: int | None = None
    timeout_s: int | None = None
    max_silent_s: int | None = None
    keep_going: bool = False
    keep_failed: bool = False
    folder: Path = Path()
    netrc_file: Path | None = None
    interruption: Interruption = field(default_factory=Interruption)
    cache: SharedCache = field(default_factory=SharedCache)
    say: Callable[[str], None] = field(default=lambda _: None)
    meanwhile: Callable[[], None] = field(default=lambda: None)

    @property
    def jobs(self) -> int:
        """Derivations built at once."""
        return self.max_jobs or os.cpu_count() or 1

    @property
    def logs_folder(self) -> Path:
        """Where logs of steps are kept."""
        return self.cache_folder / LOGS_FOLDER

    def caches_of(self, manifest: Manifest, folder: Path) -> Mapping[str, Cache]:
        """The binary caches of a manifest that lies in *folder*, by name, with the user's logins.

        Raises:
            NixbkError: a login that the manifest names is not there.
        """
        from nixbk.resolve.substituters import caches_of  # noqa: PLC0415  few commands fetch

        found = caches_of(manifest, folder, self.environ, self.netrc_file)
        return {cache.name: cache for cache in found}

    @property
    def cache_folder(self) -> Path:
        """Where nixbk keeps what it can do without. Source: XDG base directories."""
        base = self.environ.get("XDG_CACHE_HOME", "")
        return Path(base if base.startswith("/") else Path.home() / ".cache") / "nixbk"


@dataclass(frozen=True, slots=True)
class Workbench:
    """What is open while a command runs.

    Attributes:
        client: the builder.
        session: what the builder may ask of this client.
        known: result files of earlier builds.
        workshop: what all steps have in common.
        lock: what is built.
        faults: what went wrong when the builder asked for a source.
        definitions: marshals what is solved.
        settings: the user's.
        failed: derivations that failed while others went on.
        read: derivations whose results were read from the builder's cache, and noted in *known*.
        archives: what binary caches have.
        downloads: where sources are downloaded from.
        lost: substitutes that cannot be fetched and are built instead.
    """

    client: Client
    session: Session
    known: RealisationCache
    workshop: Workshop
    lock: Lock
    faults: list[NixbkError]
    definitions: Definitions
    settings: Settings
    archives: Archives
    downloads: Downloads
    lost: set[StorePath] = field(default_factory=set)
    failed: dict[StorePath, DerivationFailedError] = field(default_factory=dict)
    read: set[StorePath] = field(default_factory=set)
    _imports: ImportWatch | None = None

    def graph(self) -> BuildGraph:
        """The lock's graph, with nothing known yet."""
        return BuildGraph(without(self.lock, self.lost), self.workshop)

    def lose(self, error: LostError, say: Callable[[str], None]) -> None:
        """Take note of what is built instead of being fetched, and say so."""
        for failure in error.failures:
            say(f"{failure.told}\n  so it is built instead")
        self.lost.update(error.paths)

    def solving(self, progress: Progress | None = None) -> Solver:
        """Begin builds on the builder; when the context is left, nothing of them runs any more.

        Probes and what they stand for never share a build: BuildKit takes both for the same
        operation while one of them is part of it, and a failed probe would fail the other.
        """
        return Solver(partial(self._begin, progress), self.definitions, self.faults)

    @contextmanager
    def _begin(self, progress: Progress | None) -> Iterator[Build]:
        on_status = progress.on_status if progress is not None else None
        internal = progress is None  # a question, and no build of anybody's history
        with self.begin(internal=internal, on_status=on_status) as build:
            self._require_platform(build.capabilities)
            logs_in = HTTP_LOGINS in build.capabilities.llb
            self.archives.builder_logs_in = self.downloads.builder_logs_in = logs_in
            yield build
            build.finish(Result())

    def begin(
        self,
        *,
        exporters: Sequence[Exporter] = (),
        cache_exports: Sequence[CacheOption] = (),
        internal: bool = False,
        on_status: OnStatus | None = None,
    ) -> GatewayBuild:
        """Prepare a build that takes cache from wherever it is to be taken from."""
        watch = self._imports

        def both(status: StatusResponse) -> None:
            if watch is not None:
                watch.on_status(status)
            if on_status is not None:
                on_status(status)

        return self.client.build(
            self.session,
            exporters=exporters,
            cache_imports=self.settings.cache.imports,
            cache_exports=cache_exports,
            internal=internal,
            on_status=both if watch is not None else on_status,
            on_wait=self.settings.meanwhile,
        )

    def _require_platform(self, capabilities: Capabilities) -> None:
        found = {name for worker in capabilities.workers for name in worker.platforms}
        wanted = str(self.workshop.platform)
        if found and wanted not in found:
            raise NixbkError(
                f"the builder {str(self.client.address)!r} builds for {', '.join(sorted(found))} "
                f"and not for {wanted}",
                hint="name a builder of that platform with --builder",
            )


def no_caches() -> Mapping[str, Cache]:
    """No binary cache."""
    return {}


@contextmanager
def open_workbench(
    lock: Lock, opener: Opener, settings: Settings, caches: FindCaches = no_caches
) -> Iterator[Workbench]:
    """Connect to the builder and offer it what it may need.

    Args:
        lock: what is to be built.
        opener: opens the NAR of a source of the lock.
        settings: the user's.
        caches: finds the binary caches, by name, once one is needed.
    """
    platform = _platform(lock)
    archives = Archives(lock, caches, settings.environ)
    logins = Logins(settings.netrc_file, settings.environ)
    uploads = Uploads()
    downloads = Downloads(logins.netrc, uploads, settings.environ)
    workshop = Workshop(
        platform=platform,
        build_helper=_helper("build", platform, uploads),
        unpack_helper=_helper("unpack", platform, uploads),
        builtin_helper=_helper("builtin", platform, uploads),
        upload_url=URL_PREFIX.__add__,
        cores=settings.cores,
        proxy=_proxy(settings.environ),
        offer=partial(_offer, uploads),
        timeout_s=settings.timeout_s or None,
        max_silent_s=settings.max_silent_s or None,
        nonce=secrets.token_hex(),
        features=frozenset(lock.features),
        probes_have_helpers=bool(settings.cache.imports),
        archive_url=archives.url,
        download_url=downloads.url,
    )
    faults: list[NixbkError] = []
    for source in lock.sources.values():
        uploads.add(
            Upload(
                sha256=source.nar_hash.digest.hex(),
                size=source.nar_size,
                open=partial(_open, opener, source, faults),
            )
        )
    archives.offer(uploads)
    with ExitStack() as stack:
        stack.callback(archives.close)
        stack.callback(downloads.close)
        known = RealisationCache(settings.cache_folder / REALISATIONS_FILE)
        stack.callback(known.close)
        client = stack.enter_context(connect(resolve_builder(settings.builder, settings.environ)))
        settings.interruption.calls(client.cancel)
        settings.interruption.calls(archives.close)
        settings.interruption.calls(downloads.close)
        session = stack.enter_context(
            client.session(
                Attachables(
                    credentials=Credentials(settings.environ),
                    uploads=uploads,
                    secrets=logins,
                    stores=settings.cache.stores,
                )
            )
        )
        for note in settings.cache.notes:
            settings.say(note)
        watch = ImportWatch(settings.say) if settings.cache.imports else None
        yield Workbench(
            client,
            session,
            known,
            workshop,
            lock,
            faults,
            Definitions(),
            settings,
            archives,
            downloads,
            _imports=watch,
        )


def _open(opener: Opener, source: LockedSource, faults: list[NixbkError]) -> BinaryIO:
    """Open a source for the builder, which is told less of what goes wrong than the user."""
    try:
        return opener(source)
    except NixbkError as error:
        faults.append(error)
        raise OSError(0, error.message) from error


def _offer(uploads: Uploads, data: bytes) -> str:
    """Have the session serve *data*, and say where."""
    digest = sha256(data).hexdigest()
    return uploads.add(Upload(sha256=digest, size=len(data), open=lambda: io.BytesIO(data)))


def _platform(lock: Lock) -> Platform:
    """The one platform of all images."""
    names = sorted({name for image in lock.images.values() for name in image.platforms})
    if len(names) != 1:
        raise NixbkError(
            f"the images are for {', '.join(names) or 'no platform'}; one platform for all "
            "images is supported so far"
        )
    return Platform.parse(names[0])


def _helper(kind: HelperKind, platform: Platform, uploads: Uploads) -> HelperFile:
    binary = helper_binary(kind, platform.architecture)
    url = uploads.add(
        Upload(
            sha256=binary.sha256_hex, size=binary.size_bytes, open=lambda: binary.path.open("rb")
        )
    )
    return HelperFile(url, binary.sha256_hex)


def _proxy(environ: Mapping[str, str]) -> Proxy:
    """The proxies of the user's environment, lower case before upper."""

    def value(name: str) -> str:
        return environ.get(name) or environ.get(name.upper()) or ""

    return Proxy(
        http=value("http_proxy"),
        https=value("https_proxy"),
        ftp=value("ftp_proxy"),
        no=value("no_proxy"),
        all=value("all_proxy"),
    )
