"""Mounts of an exec, one constructor per kind. Pure.

Source: ``pb.Mount``; ``AddMount`` and ``MountOption`` of BuildKit's ``client/llb/exec.go``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from nixbk.llb.errors import LlbError
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from nixbk.llb.vertex import Output

ContentCache = Literal["default", "on", "off"]
Kind = Literal["bind", "tmpfs", "cache", "secret", "ssh"]
Sharing = Literal["shared", "private", "locked", "refused"]

_CONTENT_CACHE: Final[dict[str, pb.MountContentCache.ValueType]] = {
    "default": pb.DEFAULT,
    "on": pb.ON,
    "off": pb.OFF,
}
REFUSED_SHARING: Final = 99
"""A number that means nothing to BuildKit."""

_SHARING: Final[dict[str, int]] = {
    "shared": pb.SHARED,
    "private": pb.PRIVATE,
    "locked": pb.LOCKED,
    "refused": REFUSED_SHARING,
}
_SKIP_OUTPUT: Final = -1


@dataclass(frozen=True, slots=True)
class Mount:
    """Something the program finds at a path of its own.

    Attributes:
        dest: absolute, without ``.``, ``..`` or a slash at the end; ``/`` is the root.
        source: what is there before; None for an empty folder. Binds only.
        selector: path within *source* that is mounted, all of it when empty.
        readonly: whether the program may not write there.
        output: whether what it writes is an output of the exec; then it may write.
        content_cache: whether the cache key has the content of *source* beside its recipe.
        kind: ``bind``, or one of the kinds that outlive no step or every one.
        size_bytes: of a tmpfs; 0 for no limit.
        id: of a cache folder, secret or SSH agent.
        sharing: of a cache folder, between steps that run at once; ``refused`` stops the step.
        uid: owner of a secret or an agent's socket.
        gid: its group.
        mode: its permissions.
        optional: whether a session without the secret or agent is well.
        first: whether BuildKit prepares it before the mounts that are not, whatever its path.

    Raises:
        LlbError: the path is not clean, or the kind cannot have what was asked for.
    """

    dest: str
    source: Output | None = None
    selector: str = ""
    readonly: bool = True
    output: bool = False
    content_cache: ContentCache = "default"
    kind: Kind = "bind"
    size_bytes: int = 0
    id: str = ""
    sharing: Sharing = "shared"
    uid: int = 0
    gid: int = 0
    mode: int = 0o400
    optional: bool = False
    first: bool = False

    def __post_init__(self) -> None:
        if not is_clean(self.dest):
            raise LlbError(f"{self.dest!r} is no clean absolute path to mount at")
        if self.kind != "bind" and (self.source or self.selector or self.output):
            raise LlbError(f"a {self.kind} mount has no source and no output", where=self.dest)
        if self.kind in {"cache", "secret", "ssh"} and not self.id:
            raise LlbError(f"a {self.kind} mount needs an id", where=self.dest)
        if self.selector and self.source is None:
            raise LlbError("an empty folder has nothing to select", where=self.dest)

    @property
    def writable(self) -> bool:
        """Whether the program may write there."""
        return self.output or not self.readonly

    def caps(self) -> set[str]:
        """Capabilities that BuildKit must have for it."""
        if self.kind == "cache":
            return {"exec.mount.cache", "exec.mount.cache.sharing"}
        if self.kind == "tmpfs":
            return {"exec.mount.tmpfs"} | ({"exec.mount.tmpfs.size"} if self.size_bytes else set())
        if self.kind in {"secret", "ssh"}:
            return {f"exec.mount.{self.kind}"}
        return {
            cap
            for cap, needed in (
                ("exec.mount.bind", self.source is not None),
                ("exec.mount.selector", bool(self.selector)),
                ("exec.mount.cache.content", self.content_cache != "default"),
            )
            if needed
        }

    def to_proto(self, source: int, output: int) -> pb.Mount:
        """The message of the protocol.

        Args:
            source: index of its input, or -1.
            output: index among the outputs; unused when it is none.
        """
        if self.kind in {"secret", "ssh"}:
            return self._session_mount()
        mount = pb.Mount(
            input=source,
            dest=self.dest,
            selector=self.selector,
            output=output if self.output else _SKIP_OUTPUT,
            readonly=not self.writable and self.kind == "bind",
            contentCache=_CONTENT_CACHE[self.content_cache],
        )
        if self.kind == "cache":
            mount.mountType = pb.CACHE
            mount.cacheOpt.ID = self.id
            mount.cacheOpt.sharing = cast("pb.CacheSharingOpt.ValueType", _SHARING[self.sharing])
        elif self.kind == "tmpfs":
            mount.mountType = pb.TMPFS
            mount.TmpfsOpt.size = self.size_bytes
        return mount

    def _session_mount(self) -> pb.Mount:
        if self.kind == "secret":
            secret = pb.SecretOpt(
                ID=self.id, uid=self.uid, gid=self.gid, mode=self.mode, optional=self.optional
            )
            return pb.Mount(input=-1, dest=self.dest, mountType=pb.SECRET, secretOpt=secret)
        ssh = pb.SSHOpt(
            ID=self.id, uid=self.uid, gid=self.gid, mode=self.mode, optional=self.optional
        )
        return pb.Mount(input=-1, dest=self.dest, mountType=pb.SSH, SSHOpt=ssh)


def is_clean(path: str) -> bool:
    """Whether *path* is absolute and spelled in the one way BuildKit spells it."""
    parts = path.split("/")
    if path == "/":
        return True
    return parts[0] == "" and len(parts) > 1 and not {"", ".", ".."} & set(parts[1:])
