"""Full logs of steps, kept on this machine. Effect: files of one folder.

A log is written, compressed, while its step runs, and takes the place of the step's last one when
it ends, however it ends. The folder is bounded: the oldest logs go first. A log that cannot be
written is given up, since nothing is built of it.
"""

from __future__ import annotations

import gzip
import os
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from nixbk.apply.failures import REPORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.nix.store_path import StorePath

SUFFIX: Final = ".log.gz"
PARTIAL: Final = ".partial"
LOG_BYTES: Final = 256 * 1024 * 1024
"""The longest log, not compressed."""
FOLDER_BYTES: Final = 512 * 1024 * 1024
"""All logs together."""
FOLDER_FILES: Final = 20_000
ABANDONED_S: Final = 24 * 60 * 60
_CHUNK_BYTES: Final = 64 * 1024
_LEVEL: Final = 5
_REPORT: Final = REPORT.encode()
# Source: streamWriter, BuildKit util/progress/logs/logs.go
_CLIPPED: Final = re.compile(rb"^\[output clipped, log limit (\S+) reached\]\r?$", re.MULTILINE)


@dataclass(slots=True)
class _Writing:
    """A log that is being written.

    Attributes:
        temporary: where it is written.
        raw: that file.
        packed: compresses into it.
        size_bytes: so much was written.
        line: the last line, as long as it has no end.
        report: what may be the helper's report: the last line that begins as one, and what
            followed it.
    """

    temporary: str
    raw: BinaryIO
    packed: gzip.GzipFile
    size_bytes: int = 0
    line: bytes = b""
    report: bytes = b""


@dataclass(slots=True)
class StepLogs:
    """The logs of all steps; a context that ends those that are being written.

    Attributes:
        folder: where they are.
    """

    folder: Path
    _writing: dict[StorePath, _Writing] = field(default_factory=dict)
    _limits: dict[StorePath, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, step: StorePath) -> None:
        """A step begins to run."""
        with self._lock, suppress(OSError):
            self._limits.pop(step, None)
            self._abandon(step)
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(PARTIAL, ".", self.folder)
            raw = os.fdopen(descriptor, "wb")
            packed = gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0)
            self._writing[step] = _Writing(temporary, raw, packed)

    def add(self, step: StorePath, data: bytes) -> None:
        """The step printed *data*, whose last line may go on."""
        with self._lock:
            log = self._writing.get(step)
            if log is None:
                return
            limit = clip_limit(data)
            if limit:
                self._limits[step] = limit
            *lines, log.line = (log.line + data).splitlines(keepends=True) or [b""]
            if log.line.endswith(b"\n"):
                lines.append(log.line)
                log.line = b""
            try:
                for line in lines:
                    _take(log, line)
            except OSError:
                self._abandon(step)

    def end(self, step: StorePath, *, failed: bool) -> None:
        """The step ended; what its helper said of a failure is no part of the log."""
        with self._lock:
            self._end(step, failed=failed)

    def drop(self, step: StorePath) -> None:
        """The step did not run after all."""
        with self._lock:
            self._abandon(step)

    def limit(self, step: StorePath) -> str:
        """The limit over which the builder left out parts of a log; empty when it did not."""
        with self._lock:
            return self._limits.get(step, "")

    def close(self) -> None:
        """End every log, and remove the oldest ones when there are too many."""
        with self._lock:
            wrote = bool(self._writing) or self.folder.exists()
            for step in list(self._writing):
                self._end(step, failed=True)
            if wrote:
                with suppress(OSError):
                    _tidy(self.folder)

    def read(self, step: StorePath) -> Iterator[bytes] | None:
        """The last log of a step, in pieces; None when there is none."""
        place = self._place(step)
        return _pieces(place) if place.exists() else None

    def _place(self, step: StorePath) -> Path:
        return self.folder / f"{step.basename}{SUFFIX}"

    def _end(self, step: StorePath, *, failed: bool) -> None:
        log = self._writing.get(step)
        if log is None:
            return
        try:
            if log.line:
                _take(log, log.line)
            if not failed:
                _write(log, log.report)
            log.packed.close()
            log.raw.close()
            Path(log.temporary).replace(self._place(step))
            del self._writing[step]
        except OSError:
            self._abandon(step)

    def _abandon(self, step: StorePath) -> None:
        log = self._writing.pop(step, None)
        if log is not None:
            with suppress(OSError):
                log.raw.close()
            with suppress(OSError):
                Path(log.temporary).unlink()


def clip_limit(piece: bytes) -> str:
    """The limit that BuildKit says it kept, where it left out parts of a log; else empty."""
    found = _CLIPPED.search(piece)
    return found[1].decode("utf-8", "replace") if found else ""


def _take(log: _Writing, line: bytes) -> None:
    if line.startswith(_REPORT):
        _write(log, log.report)
        log.report = line
    elif log.report and len(log.report) < _CHUNK_BYTES:
        log.report += line
    else:
        _write(log, log.report + line)
        log.report = b""


def _write(log: _Writing, data: bytes) -> None:
    room = LOG_BYTES - log.size_bytes
    log.size_bytes += len(data)
    if data and room > 0:
        log.packed.write(data[:room])


def _pieces(place: Path) -> Iterator[bytes]:
    with gzip.open(place, "rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


def _tidy(folder: Path) -> None:
    """Keep the newest logs within the bounds, and nothing that was left half written."""
    now_s = time.time()
    logs: list[tuple[float, int, str]] = []
    for entry in os.scandir(folder):
        status = entry.stat()
        if entry.name.endswith(SUFFIX):
            logs.append((status.st_mtime, status.st_size, entry.path))
        elif entry.name.endswith(PARTIAL) and now_s - status.st_mtime > ABANDONED_S:
            Path(entry.path).unlink(missing_ok=True)
    size_bytes = 0
    for count, (_, size, path) in enumerate(sorted(logs, reverse=True), start=1):
        size_bytes += size
        if size_bytes > FOLDER_BYTES or count > FOLDER_FILES:
            Path(path).unlink(missing_ok=True)
