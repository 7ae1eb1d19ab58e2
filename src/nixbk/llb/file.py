"""File operations: several actions, one after the other, in one snapshot. Pure.

Each action works on what the one before left; the last one's result is the operation's,
so all of them together are one layer.

Two traps of BuildKit's: ``mkdir`` does nothing to a folder that is there, and a folder's
time moves on whenever something is put into it. So canonical times of folders come last,
by a copy of a folder tree over what is there (``Copy(…, contents=True, mtime_s=1)``),
which sets times and modes of folders after their children.

Source: ``FileOp.Marshal`` of BuildKit's ``client/llb/fileop.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.llb.errors import LlbError
from nixbk.llb.vertex import SCRATCH, About, Inputs, Output, seal
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.llb.origin import Origin

_NANOSECONDS: Final = 1_000_000_000
_KEEP: Final = -1
_PERMISSIONS: Final = 0o777


class Owner(NamedTuple):
    """Numeric owner and group; names would depend on a file system."""

    uid: int
    gid: int

    def to_proto(self) -> pb.ChownOpt:
        """The message of the protocol."""
        return pb.ChownOpt(user=pb.UserOpt(byID=self.uid), group=pb.UserOpt(byID=self.gid))


ROOT: Final = Owner(0, 0)


class Mkdir(NamedTuple):
    """Make a folder; one that is there already stays as it is.

    Attributes:
        path: absolute.
        mode: permissions; a daemon's umask may cut them.
        parents: make what is missing above it, with the same mode.
        owner: of what is made; root when None.
        mtime_s: of what is made, the present when None.
    """

    path: str
    mode: int = 0o755
    parents: bool = False
    owner: Owner | None = None
    mtime_s: int | None = None


class Mkfile(NamedTuple):
    """Write a file, whose bytes travel in every definition that has the operation."""

    path: str
    data: bytes
    mode: int = 0o644
    owner: Owner | None = None
    mtime_s: int | None = None


class Copy(NamedTuple):
    """Copy a file, symlink or folder with its modes and hard links.

    Attributes:
        source: where from; None for what the actions before left.
        src: absolute path in *source*; the last part is not followed when it is a symlink.
        dest: absolute path; when a folder is there, *src* goes into it.
        contents: copy what is in the folder *src* rather than itself.
        parents: make what is missing above *dest*.
        follow: follow *src* when it is a symlink.
        wildcard: read *src* as a pattern.
        empty_wildcard: a pattern may match nothing.
        unpack: unpack archives, as Docker's ADD does.
        include: patterns of what is copied.
        exclude: patterns of what is not.
        replace: let a file replace a folder and the other way round.
        mode: permissions of everything copied, its own when None.
        owner: of everything copied, its own when None.
        mtime_s: of everything copied or made, its own when None.
    """

    source: Output | None
    src: str
    dest: str
    contents: bool = False
    parents: bool = False
    follow: bool = False
    wildcard: bool = False
    empty_wildcard: bool = False
    unpack: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    replace: bool = False
    mode: int | None = None
    owner: Owner | None = None
    mtime_s: int | None = None


class Symlink(NamedTuple):
    """Make a symlink at *path* that says *target*."""

    target: str
    path: str
    owner: Owner | None = None
    mtime_s: int | None = None


class Remove(NamedTuple):
    """Remove a file or a folder with what is in it."""

    path: str
    missing_ok: bool = False
    wildcard: bool = False


Action = Mkdir | Mkfile | Copy | Symlink | Remove


def file(
    base: Output | None,
    actions: Sequence[Action],
    *,
    name: str,
    origin: Origin | None = None,
) -> Output:
    """What *base* (None: nothing) becomes by *actions*, as one snapshot.

    Raises:
        LlbError: no action, or a path that is not absolute.
    """
    if not actions:
        raise LlbError("a file operation without actions", where=name)
    inputs = Inputs()
    first = inputs.add(base)
    for action in actions:
        if isinstance(action, Copy):
            inputs.add(action.source)
    caps = {"file.base"}
    messages = []
    for i, action in enumerate(actions):
        before = first if i == 0 else len(inputs.outputs) + i - 1
        message = _message(action, name, caps)
        message.input = before
        message.secondaryInput = SCRATCH
        if isinstance(action, Copy):
            message.secondaryInput = before if action.source is None else inputs.add(action.source)
        message.output = 0 if i == len(actions) - 1 else SCRATCH
        messages.append(message)
    op = pb.Op(file=pb.FileOp(actions=messages))
    return Output(seal(op, inputs.outputs, caps, About(name, origin)))


def _message(action: Action, where: str, caps: set[str]) -> pb.FileAction:
    match action:
        case Mkdir():
            mkdir = pb.FileActionMkDir(
                path=_path(action.path, where),
                mode=action.mode & _PERMISSIONS,
                makeParents=action.parents,
                owner=_owner(action.owner),
                timestamp=_timestamp(action.mtime_s),
            )
            return pb.FileAction(mkdir=mkdir)
        case Mkfile():
            mkfile = pb.FileActionMkFile(
                path=_path(action.path, where),
                mode=action.mode & _PERMISSIONS,
                data=action.data,
                owner=_owner(action.owner),
                timestamp=_timestamp(action.mtime_s),
            )
            return pb.FileAction(mkfile=mkfile)
        case Symlink():
            caps.add("file.symlink.create")
            symlink = pb.FileActionSymlink(
                oldpath=action.target,
                newpath=_path(action.path, where),
                owner=_owner(action.owner),
                timestamp=_timestamp(action.mtime_s),
            )
            return pb.FileAction(symlink=symlink)
        case Remove():
            if action.wildcard:
                caps.add("file.rm.wildcard")
            remove = pb.FileActionRm(
                path=_path(action.path, where),
                allowNotFound=action.missing_ok,
                allowWildcard=action.wildcard,
            )
            return pb.FileAction(rm=remove)
        case Copy():
            return pb.FileAction(copy=_copy(action, where, caps))


def _copy(action: Copy, where: str, caps: set[str]) -> pb.FileActionCopy:
    if action.include or action.exclude:
        caps.add("file.copy.includeexcludepatterns")
    if action.replace:
        caps.add("file.copy.alwaysreplaceexistingdestpaths")
    return pb.FileActionCopy(
        src=_path(action.src, where),
        dest=_path(action.dest, where),
        owner=_owner(action.owner),
        mode=_KEEP if action.mode is None else action.mode,
        followSymlink=action.follow,
        dirCopyContents=action.contents,
        attemptUnpackDockerCompatibility=action.unpack,
        createDestPath=action.parents,
        allowWildcard=action.wildcard,
        allowEmptyWildcard=action.empty_wildcard,
        timestamp=_timestamp(action.mtime_s),
        include_patterns=action.include,
        exclude_patterns=action.exclude,
        alwaysReplaceExistingDestPaths=action.replace,
    )


def _path(path: str, where: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise LlbError(f"{path!r} is no absolute path", where=where)
    return path


def _owner(owner: Owner | None) -> pb.ChownOpt | None:
    return None if owner is None else owner.to_proto()


def _timestamp(mtime_s: int | None) -> int:
    return _KEEP if mtime_s is None else mtime_s * _NANOSECONDS
