"""An in-memory twin of a running build: BuildKit's cache rules without containers.

What it keeps of the real one: results are cached by operation and inputs, with the proxy, the
addresses of extra hosts, selectors, names and sharing of cache mounts and the URLs of checksummed
downloads left out; a cache mount of unknown sharing, and else an address that does not parse, fails
an exec that is not cached before it runs; a download that is refused fails; what was merged goes
with any of what it was merged of; those outputs of an exec are kept that are asked for in the
build in which it ran. Instead of running a builder it asks a function for the result file.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any

from nixbk.buildkit.errors import BuildFailed, Failure
from nixbk.buildkit.protocols import Capabilities, FileStat, Ref, Result
from nixbk.nix.content_address import content_address
from nixbk.nix.hashes import Hash
from nixbk.nix.store_path import StorePath, fixed_output_path
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSED = "http://127.0.0.1:1/"
_SHARINGS = pb.CacheSharingOpt.values()


def result_of(
    references: Mapping[str, tuple[StorePath, ...]] | None = None,
    contents: Mapping[str, str] | None = None,
) -> Any:
    """A runner whose outputs refer to what *references* says, by output path.

    A floating output has the content that *contents* says of its name, or else that name.
    """

    def output(path: str, floating: Mapping[str, str] | None) -> dict[str, Any]:
        fields = {
            "path": path,
            "narHash": "sha256-" + "A" * 43 + "=",
            "narSize": 100,
            "references": sorted(str(ref) for ref in (references or {}).get(path, ())),
            "type": "directory",
        }
        if floating:
            name = StorePath.parse(path).name
            content = Hash.of((contents or {}).get(name, name).encode())
            refers = (references or {}).get(path, ())
            fields["path"] = str(fixed_output_path(name, content, "nar", refers))
            fields["contentAddress"] = content_address("nar", content)
        return fields

    def run(step: dict[str, Any]) -> bytes:
        floating = step.get("floating", {})
        outputs = {name: output(path, floating.get(name)) for name, path in step["outputs"].items()}
        document = {"version": 1, "outputs": outputs}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    return run


@dataclass
class MemoryCache:
    """What a builder remembers from one build to the next.

    Attributes:
        records: what each cached output holds, by cache key and output index.
        ran: names of the execs that ran, in order.
        names: of the execs that ran at any time, by cache key.
        refused: what is said of downloads that fail, by their URL.
        broken: what is said of archives whose unpacking fails, by their SHA-256.
        asked: the URLs that were downloaded from, in order.
        ops: operations by digest, parsed once.
        keys: cache keys by digest, computed once.
        merged: the records that are merged of others.
    """

    records: dict[tuple[str, int], bytes] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ops: dict[str, pb.Op] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    merged: set[tuple[str, int]] = field(default_factory=set)

    def prune(self, name: str | None = None) -> None:
        """Forget everything, or what the exec called *name* left."""
        for record in self.merged if name is None or name in self.names.values() else ():
            self.records.pop(record, None)
        if name is None:
            self.records.clear()
        for key in [key for key, value in self.names.items() if value == name]:
            for record in [record for record in self.records if record[0] == key]:
                del self.records[record]


class MemoryBuild:
    """A :class:`nixbk.buildkit.protocols.Build` in memory."""

    def __init__(self, cache: MemoryCache, run: Any, *, merges: bool = True) -> None:
        self.cache = cache
        able = frozenset({"mergeop"}) if merges else frozenset[str]()
        self.capabilities = Capabilities(able, frozenset())
        self.cancelled = False
        self._run = run
        self._made: dict[str, bytes] = {}
        self._lock = RLock()

    def solve(
        self, definition: pb.Definition, *, evaluate: bool = True, limit_s: float | None = None
    ) -> Ref | None:
        """Evaluate the terminal operation's input."""
        del evaluate, limit_s
        with self._lock:
            evaluation = _Evaluation(definition, self.cache, self._run, self._made)
            key, index = evaluation.terminal()
            return Ref(f"{key}:{index}")

    def read_file(self, ref: Ref, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """The result file, which is all there is."""
        del path, offset, length
        key, _, index = ref.id.rpartition(":")
        return self.cache.records[key, int(index)]

    def read_dir(self, ref: Ref, path: str, pattern: str = "") -> tuple[FileStat, ...]:
        """Not kept."""
        raise NotImplementedError

    def stat_file(self, ref: Ref, path: str) -> FileStat:
        """Not kept."""
        raise NotImplementedError

    def resolve_image_config(self, name: str, platform: str = "") -> dict[str, Any] | None:
        """No registry has anything."""
        del name, platform
        return None

    def finish(self, result: Result) -> dict[str, str]:
        """Nothing is exported."""
        del result
        return {}

    def abandon(self) -> None:
        """See :class:`nixbk.buildkit.protocols.Build`."""
        self.cancel()

    def cancel(self) -> None:
        """Note that the build was given up."""
        self.cancelled = True


class _Evaluation:
    def __init__(
        self, definition: pb.Definition, cache: MemoryCache, run: Any, made: dict[str, bytes]
    ) -> None:
        self._cache = cache
        self._run = run
        self._made = made
        self._ops = cache.ops
        self._names: dict[str, str] = {}
        self._keys = cache.keys
        for data in definition.__getattribute__("def"):
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            if digest not in self._ops:
                self._ops[digest] = pb.Op.FromString(data)
            self._names[digest] = definition.metadata[digest].description.get("llb.customname", "")
            self._last = digest

    def terminal(self) -> tuple[str, int]:
        """Evaluate what the definition is for; its cache key and output index."""
        (wanted,) = self._ops[self._last].inputs
        self._evaluate(wanted.digest, wanted.index)
        return self._key(wanted.digest), wanted.index

    def _evaluate(self, digest: str, index: int) -> None:
        key = self._key(digest)
        if self._is_there(key, index):
            return
        op = self._ops[digest]
        for source in op.inputs:
            self._evaluate(source.digest, source.index)
        if op.HasField("source"):
            self._download(op.source.identifier, digest)
        result = b""
        if op.HasField("exec"):
            for mount in op.exec.mounts:
                if mount.mountType == pb.CACHE and mount.cacheOpt.sharing not in _SHARINGS:
                    message = f"invalid cache sharing option: {mount.cacheOpt.sharing}"
                    raise self._failure(digest, message)
            for host in op.exec.meta.extraHosts:
                try:
                    ipaddress.ip_address(host.IP)
                except ValueError:
                    raise self._failure(digest, f"failed to parse IP {host.IP}") from None
            result = self._exec(op, digest)
            self._cache.ran.append(self._names[digest])
            self._cache.names[key] = self._names[digest]
            self._made[key] = result
        self._cache.records[key, index] = result
        if op.HasField("merge"):
            self._cache.merged.add((key, index))

    def _is_there(self, key: str, index: int) -> bool:
        if key in self._made:
            self._cache.records.setdefault((key, index), self._made[key])
        return (key, index) in self._cache.records

    def _download(self, url: str, digest: str) -> None:
        if REFUSED in url:
            message = f'Get "{url}": dial tcp 127.0.0.1:1: connection refused'
            raise self._failure(digest, message)
        self._cache.asked.append(url)
        if url in self._cache.refused:
            raise self._failure(digest, self._cache.refused[url])

    def _exec(self, op: pb.Op, digest: str) -> bytes:
        text = "".join(
            entry.partition("=")[2] for entry in op.exec.meta.env if entry.startswith("NIXBK_STEP")
        )
        step = json.loads(text)
        if step["kind"] in {"build", "fetch"}:
            try:
                result = self._run(step)
            except RuntimeError as error:
                raise self._failure(digest, str(error)) from error
            assert isinstance(result, bytes)
            return result
        if step["kind"] == "unpack":
            sources = [self._ops[i.digest].source for i in op.inputs]
            for source in sources:
                said = self._cache.broken.get(source.attrs.get("http.checksum", "")[7:])
                if said is not None:
                    failed = self._failure(digest, "exit code: 1")
                    raise failed.with_log(self._names[digest], [f"nixbk: hash-mismatch: {said}"])
        if step["kind"] == "collect":
            results = [m for m in op.exec.mounts if m.dest.startswith("/.nixbk/in/")]
            results.sort(key=lambda m: int(m.dest.rpartition("/")[2]))
            inputs = [op.inputs[m.input] for m in results]
            return b"".join(self._cache.records[self._key(i.digest), i.index] for i in inputs)
        return b""

    def _key(self, digest: str) -> str:
        known = self._keys.get(digest)
        if known is None:
            op = pb.Op()
            op.CopyFrom(self._ops[digest])
            inputs = [f"{self._key(i.digest)}:{i.index}" for i in op.inputs]
            del op.inputs[:]
            if op.HasField("exec"):
                op.exec.meta.ClearField("proxy_env")
                for host in op.exec.meta.extraHosts:
                    host.IP = ""
                for mount in op.exec.mounts:
                    mount.selector = ""
                    if mount.mountType == pb.CACHE:
                        mount.cacheOpt.Clear()
            elif op.HasField("source"):
                op.source.identifier = ""
            data = op.SerializeToString(deterministic=True) + "\n".join(inputs).encode()
            known = self._keys[digest] = hashlib.sha256(data).hexdigest()
        return known

    def _failure(self, digest: str, message: str) -> BuildFailed:
        return BuildFailed(message, failure=Failure(vertex=digest, name=self._names[digest]))
