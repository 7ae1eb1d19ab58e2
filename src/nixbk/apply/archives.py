"""Files of binary caches, for the builder: where it gets them, or their bytes. Effects: sockets.

A builder fetches by itself what anybody can fetch. What only this client can reach comes through
the session: a folder of this machine, a cache with certificates or a token of its own, a bucket
with credentials, since no builder signs what it asks for, one with a login where the builder takes
none for downloads. So does what the builder tried in vain, since it tells little of why, and since
it may lack the network that this client has.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, cast

from nixbk.apply.pieces import Pieces
from nixbk.buildkit.uploads import URL_PREFIX, Upload
from nixbk.errors import NixbkError
from nixbk.nix.hashes import Hash, HashAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nixbk.buildkit.uploads import Uploads
    from nixbk.resolve.caches.transport import Cache, CacheClient
    from nixbk.schema.lock import Lock as Locked
    from nixbk.schema.lock import LockedArchive


class Archives:
    """The archives of a lock's substitutes.

    Attributes:
        builder_logs_in: whether the builder takes logins for its downloads from the session.
    """

    def __init__(
        self, lock: Locked, caches: Callable[[], Mapping[str, Cache]], environ: Mapping[str, str]
    ) -> None:
        """Know where they are.

        Args:
            lock: what has them.
            caches: the binary caches by name; called when the first is needed.
            environ: the user's environment.
        """
        self.builder_logs_in = False
        self._find = caches
        self._environ = environ
        self._archives = {
            archive.file_hash.digest.hex(): archive
            for found in lock.substitutes.values()
            for archive in reversed(found.archives)
        }
        self._caches: Mapping[str, Cache] | None = None
        self._clients: dict[str, CacheClient] = {}
        self._unreached: set[str] = set()
        self._faults: dict[str, NixbkError] = {}
        self._ends = ExitStack()
        self._lock = Lock()

    def offer(self, uploads: Uploads) -> None:
        """Have a session serve all of them, each fetched when it is asked for."""
        for digest, archive in self._archives.items():
            size = archive.file_size or 0
            uploads.add(Upload(sha256=digest, size=size, open=partial(self._open, digest)))

    def url(self, archive: LockedArchive) -> str:
        """Where the builder gets an archive: from the cache, or through the session."""
        return self._direct(archive) or URL_PREFIX + archive.file_hash.digest.hex()

    def is_direct(self, archive: LockedArchive) -> bool:
        """Whether the builder can fetch an archive by itself."""
        return bool(self._direct(archive))

    def unreached(self, archive: LockedArchive) -> None:
        """Note that the builder itself does not reach the cache of an archive."""
        with self._lock:
            self._unreached.add(archive.substituter)

    def turn(self, archive: LockedArchive) -> None:
        """Have the session serve the bytes of an archive from its cache, and from no other."""
        digest = archive.file_hash.digest.hex()
        with self._lock:
            self._archives[digest] = archive
            self._faults.pop(digest, None)

    def fault(self, archive: LockedArchive) -> NixbkError | None:
        """What went wrong when the session last served an archive."""
        with self._lock:
            return self._faults.get(archive.file_hash.digest.hex())

    def close(self) -> None:
        """End what is under way, from any thread."""
        with self._lock:
            self._ends.close()
            self._clients = {}

    def _direct(self, archive: LockedArchive) -> str:
        from nixbk.resolve.caches.address import AddressError  # noqa: PLC0415  few plans fetch

        cache = self._cache(archive)
        if cache.address.kind == "file" or cache.ca_file is not None or cache.is_private:
            return ""
        if archive.substituter in self._unreached:
            return ""
        with suppress(AddressError):  # which the client then tells
            url = cache.address.join(archive.url)
            return "" if cache.headers(url) and not self.builder_logs_in else url
        return ""

    def _cache(self, archive: LockedArchive) -> Cache:
        with self._lock:
            if self._caches is None:
                self._caches = self._find()
            found = self._caches.get(archive.substituter)
        if found is None:
            raise NixbkError(
                "the manifest has no such binary cache",
                where=f"substituters.{archive.substituter}",
                hint="run 'nixbk lock'",
            )
        return found

    def _client(self, archive: LockedArchive) -> CacheClient:
        from nixbk.resolve.caches.transport import CacheClient  # noqa: PLC0415  loads libcurl

        cache = self._cache(archive)
        with self._lock:
            found = self._clients.get(cache.name)
            if found is None:
                found = CacheClient(cache, environ=self._environ)
                self._clients[cache.name] = self._ends.enter_context(found)
        return found

    def _open(self, digest: str) -> BinaryIO:
        """The bytes of an archive, for the builder, which is told less of faults than the user."""
        archive = self._archives[digest]
        try:
            chunks = self._client(archive).open(archive.url)
        except NixbkError as error:
            self._note(digest, error)
            raise OSError(0, error.message) from error
        return cast("BinaryIO", _Checked(chunks, archive, partial(self._note, digest)))

    def _note(self, digest: str, error: NixbkError) -> None:
        with self._lock:
            self._faults[digest] = error


class _Checked(Pieces):
    """An archive as it comes.

    The builder checks it as well, but cannot say whose fault it is when it is another one.
    """

    def __init__(
        self, chunks: Iterator[bytes], archive: LockedArchive, note: Callable[[NixbkError], None]
    ) -> None:
        super().__init__(chunks)
        self._archive = archive
        self._note = note
        self._hash = sha256()

    def take(self) -> bytes:
        """See `Pieces`; the end is none when the cache gave another file."""
        try:
            piece = super().take()
            self._hash.update(piece)
            if not piece:
                self._check()
        except NixbkError as error:
            self._note(error)
            raise
        return piece

    def _check(self) -> None:
        found = Hash(HashAlgorithm.SHA256, self._hash.digest())
        if found != self._archive.file_hash:
            from nixbk.resolve.caches.faults import told  # noqa: PLC0415  of a failure

            raise NixbkError(
                f"{told(self._archive.url)} is another file than was locked:\n"
                f"  specified: {self._archive.file_hash.sri()}\n"
                f"     got:    {found.sri()}",
                where=self._archive.substituter,
            )
