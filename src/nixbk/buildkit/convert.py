"""Messages of the builder's API to and from nixbk's own values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.buildkit.protocols import Capabilities, FileStat, Result, Worker
from nixbk.proto import gateway_pb2, ops_pb2

if TYPE_CHECKING:
    from nixbk.proto import fsutil_pb2, worker_pb2


def platform_name(platform: ops_pb2.Platform) -> str:
    """Spell a platform ``os/architecture[/variant]``."""
    parts = (platform.OS, platform.Architecture, platform.Variant)
    return "/".join(part for part in parts if part)


def platform_message(name: str) -> ops_pb2.Platform:
    """Convert ``os/architecture[/variant]``."""
    system, _, rest = name.partition("/")
    architecture, _, variant = rest.partition("/")
    return ops_pb2.Platform(OS=system, Architecture=architecture, Variant=variant)


def worker_of(record: worker_pb2.WorkerRecord) -> Worker:
    """Convert a worker's record."""
    return Worker(
        id=record.ID,
        labels=dict(record.Labels),
        platforms=tuple(platform_name(platform) for platform in record.platforms),
    )


def capabilities_of(pong: gateway_pb2.PongResponse) -> Capabilities:
    """Convert what a bridge announces."""
    return Capabilities(
        llb=frozenset(cap.ID for cap in pong.LLBCaps if cap.Enabled),
        frontend=frozenset(cap.ID for cap in pong.FrontendAPICaps if cap.Enabled),
        workers=tuple(worker_of(record) for record in pong.Workers),
    )


def file_stat(stat: fsutil_pb2.Stat) -> FileStat:
    """Convert one file's description."""
    return FileStat(
        path=stat.path,
        mode=stat.mode,
        uid=stat.uid,
        gid=stat.gid,
        size_bytes=stat.size,
        mtime_ns=stat.modTime,
        target=stat.linkname,
    )


def result_message(result: Result) -> gateway_pb2.Result:
    """Convert a result; the message says which of its two forms it has even when it is empty."""
    message = gateway_pb2.Result(metadata=dict(result.metadata))
    if result.refs:
        for platform, ref in result.refs.items():
            message.refs.refs[platform].id = ref.id if ref else ""
    else:
        message.ref.CopyFrom(gateway_pb2.Ref(id=result.ref.id if result.ref else ""))
    return message
