"""A folder of blobs by digest, in the OCI image layout.

::

    blobs/sha256/<64 hex digits>    a blob, under the hash of its bytes
    ingest/nixbk-<random>           a blob that is being written
    index.json                      descriptors by tag; oci-layout beside it

A blob is there whole or not at all, and nothing outside of the folder is reached: blobs are named
by their digest alone, and links are not followed. ``docker buildx`` reads and writes the same.

Source: containerd ``plugins/content/local``, BuildKit ``client/ociindex``. Effect: files.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, NamedTuple, cast

from nixbk.schema.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

Reason = Literal["absent", "busy", "exists", "malformed", "mismatch"]

TAG_ANNOTATION: Final = "org.opencontainers.image.ref.name"
IMAGE_ANNOTATION: Final = "io.containerd.image.name"
DEFAULT_TAG: Final = "latest"
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
_BLOB_MODE: Final = 0o444
_MANIFEST: Final = re.compile(r"[./](index|manifest)\b.*json$")
_MAX_MANIFEST_BYTES: Final = 1 << 26


class ContentError(Exception):
    """A blob cannot be had or written.

    Attributes:
        reason: why, as a word.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Blob(NamedTuple):
    """A blob that is there.

    Attributes:
        digest: ``sha256:<hex>``.
        size: bytes.
        mtime_s: when it was written.
    """

    digest: str
    size: int
    mtime_s: float


class Writing:
    """A blob that is being written; not there before ``commit``.

    Attributes:
        ref: the writer's name for it.
        started_s: when the write began.
        updated_s: when it went on last.
        offset: how many bytes there are.
        total: how many there will be, 0 when not known.
        expected: the digest of all of them, empty when not known.
    """

    def __init__(self, ref: str, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(prefix="nixbk-", dir=folder)
        self.ref = ref
        self.started_s = self.updated_s = time.time()
        self.offset = 0
        self.total = 0
        self.expected = ""
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = sha256()

    @property
    def digest(self) -> str:
        """The digest of what is written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Add *data*."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(data)
        self.offset += len(data)
        self.updated_s = time.time()

    def truncate(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = sha256()
        self.offset = 0

    def finish(self) -> None:
        """Have all of it on the disk, to be read only.

        Raises:
            ContentError: it is not what was expected.
        """
        if self.total > 0 and self.offset != self.total:
            raise ContentError("mismatch", f"{self.offset} bytes and not {self.total}")
        if self.expected and self.digest != self.expected:
            raise ContentError("mismatch", f"{self.digest} and not {self.expected}")
        os.fchmod(self._file.fileno(), _BLOB_MODE)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and remove it, unless it was moved to its place."""
        self._file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


class ContentFolder:
    """The blobs below one folder; made when something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._writing: dict[str, Writing] = {}

    def find(self, digest: str) -> Blob:
        """What is known of a blob.

        Raises:
            ContentError: there is none.
        """
        path = self._path(digest)
        try:
            found = path.lstat()
        except OSError as error:
            raise ContentError("absent", f"there is no blob {digest}") from error
        if not stat.S_ISREG(found.st_mode):
            raise ContentError("absent", f"the blob {digest} is no file")
        return Blob(digest, found.st_size, found.st_mtime)

    def open(self, digest: str) -> BinaryIO:
        """Open a blob at its start.

        Raises:
            ContentError: there is none.
        """
        self.find(digest)
        try:
            descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise ContentError("absent", f"cannot open the blob {digest}") from error
        return os.fdopen(descriptor, "rb")

    def blobs(self) -> Iterator[Blob]:
        """Every blob, by digest."""
        try:
            names = sorted(path.name for path in self._blobs.iterdir())
        except OSError:
            return
        for name in names:
            with contextlib.suppress(ContentError):
                yield self.find(f"sha256:{name}")

    @contextlib.contextmanager
    def writing(self, ref: str) -> Iterator[Writing]:
        """Begin to write a blob; what is not committed is gone when the block is left.

        Raises:
            ContentError: another write has the same name.
        """
        with self._lock:
            if ref in self._writing:
                raise ContentError("busy", f"{ref} is being written")
            ingest = self.folder / "ingest"
            ingest.mkdir(parents=True, exist_ok=True)
            current = self._writing[ref] = Writing(ref, ingest)
        try:
            yield current
        finally:
            current.close()
            with self._lock:
                del self._writing[ref]

    def commit(self, writing: Writing) -> None:
        """Put a blob in its place.

        Raises:
            ContentError: it is not what was expected, or it is there.
        """
        writing.finish()
        target = self._path(writing.digest)
        if target.exists():
            raise ContentError("exists", f"the blob {writing.digest} is there")
        target.parent.mkdir(parents=True, exist_ok=True)
        writing.path.rename(target)

    def written(self, ref: str) -> Writing:
        """The write under way with that name.

        Raises:
            ContentError: there is none.
        """
        with self._lock:
            if ref not in self._writing:
                raise ContentError("absent", f"nothing is written as {ref}")
            return self._writing[ref]

    def all_written(self) -> tuple[Writing, ...]:
        """All writes under way."""
        with self._lock:
            return tuple(self._writing.values())

    # The index ----------------------------------------------------------------------------

    def tagged(self, tag: str) -> str | None:
        """The digest of what has the *tag*, None when nothing has.

        Raises:
            ContentError: the index is malformed.
        """
        for name in (IMAGE_ANNOTATION, TAG_ANNOTATION):
            for entry in self._index()["manifests"]:
                if (entry.get("annotations") or {}).get(name) == tag:
                    digest = str(entry.get("digest"))
                    self._path(digest)
                    return digest
        return None

    def tag(self, descriptor: dict[str, Any], tag: str) -> None:
        """Give the *tag* to what *descriptor* describes, and take it from what had it.

        Raises:
            ContentError: the index is malformed.
            FileError: it cannot be written.
        """
        with self._locked():
            index = self._index()
            notes = {**(descriptor.get("annotations") or {}), TAG_ANNOTATION: tag}
            entries = [
                entry
                for entry in index["manifests"]
                if (entry.get("annotations") or {}).get(TAG_ANNOTATION) != tag
                or IMAGE_ANNOTATION in entry["annotations"]
            ]
            index["manifests"] = [*entries, {**descriptor, "annotations": notes}]
            write_atomically(self.folder / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            write_atomically(self.folder / "index.json", json.dumps(index).encode())

    def sweep(self, before_s: float) -> None:
        """Remove all blobs that nothing in the index needs.

        Args:
            before_s: what was written since then stays: it may be of somebody who goes on to name
                it in the index.

        Raises:
            ContentError: what the index needs cannot be told; nothing was removed.

        Source: ``resetCacheStore``, BuildKit ``client/solve.go``.
        """
        with self._locked():
            needed: set[str] = set()
            left = list(self._index()["manifests"])
            while left:
                descriptor = left.pop()
                if str(descriptor.get("digest")) not in needed:
                    needed.add(str(descriptor.get("digest")))
                    left += self._children(descriptor)
            for blob in self.blobs():
                if blob.digest not in needed and blob.mtime_s < before_s:
                    with contextlib.suppress(OSError):  # it is there for the next time
                        self._path(blob.digest).unlink()

    def _children(self, descriptor: dict[str, Any]) -> list[dict[str, Any]]:
        """What a manifest or an index refers to; nothing for other blobs."""
        digest = str(descriptor.get("digest"))
        if not _MANIFEST.search(str(descriptor.get("mediaType"))):
            return []
        with self.open(digest) as file:
            data = file.read(_MAX_MANIFEST_BYTES)
        try:
            found = json.loads(data)
            listed = [*(found.get("manifests") or []), *(found.get("layers") or [])]
            listed += [found["config"]] if found.get("config") else []
            return [dict(entry) for entry in listed]
        except (ValueError, TypeError, AttributeError) as error:
            raise ContentError("malformed", f"the blob {digest} is no manifest") from error

    def _index(self) -> dict[str, Any]:
        path = self.folder / "index.json"
        try:
            index = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": []}
        except (OSError, ValueError) as error:
            raise ContentError("malformed", f"cannot read {path}: {error}") from error
        if not isinstance(index, dict):
            raise ContentError("malformed", f"{path} is no object")
        index["manifests"] = index.get("manifests") or []
        entries = index["manifests"]
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            raise ContentError("malformed", f"{path} has no list of manifests")
        return cast("dict[str, Any]", index)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from changing the index, those that go by the same lock file."""
        descriptor = os.open(self.folder / "index.json.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @property
    def _blobs(self) -> Path:
        return self.folder / "blobs" / "sha256"

    def _path(self, digest: str) -> Path:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise ContentError("malformed", f"{digest!r} is no SHA-256 digest")
        return self._blobs / match[1]
