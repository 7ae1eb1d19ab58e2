"""Definitions as text, for people and golden tests. Pure.

    dump    = *block, "result #" number ":" index
    block   = "#" number digest kind name ["(" origin ")"], *line
    line    = four spaces, what the operation says; what it leaves at its default is left out

Numbers count in the order of the definition, and digests are cut to twelve digits; a
change below shows in the digest of everything above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.llb.marshal import walk
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nixbk.llb.vertex import Output, Vertex

_LONG: Final = 200
_SHORT_DIGEST: Final = slice(len("sha256:"), len("sha256:") + 12)


def dump(output: Output | None) -> str:
    """The graph of *output*, readable; equal texts mean equal definitions but for long bytes."""
    if output is None:
        return "scratch\n"
    vertices = walk(output)
    numbers = {vertex.digest: i for i, vertex in enumerate(vertices, 1)}
    lines = [line for vertex in vertices for line in _block(vertex, numbers)]
    lines.append(f"result #{numbers[output.vertex.digest]}:{output.index}")
    return "\n".join(lines) + "\n"


def _block(vertex: Vertex, numbers: dict[str, int]) -> Iterator[str]:
    origin = f" ({vertex.origin})" if vertex.origin is not None else ""
    short = vertex.digest[_SHORT_DIGEST]
    yield f"#{numbers[vertex.digest]} {short} {vertex.kind} {vertex.name}{origin}"
    inputs = [f"#{numbers[o.vertex.digest]}:{o.index}" for o in vertex.inputs]
    op = vertex.op
    if op.HasField("platform"):
        parts = (op.platform.OS, op.platform.Architecture, op.platform.Variant)
        yield f"    platform {'/'.join(part for part in parts if part)}"
    yield from (f"    {line}" for line in _DESCRIBE[vertex.kind](op, inputs))


def _source(op: pb.Op, _: Sequence[str]) -> Iterator[str]:
    yield op.source.identifier
    for key, value in sorted(op.source.attrs.items()):
        yield f"{key}={value}"


def _exec(op: pb.Op, inputs: Sequence[str]) -> Iterator[str]:
    meta = op.exec.meta
    yield f"args {_words(meta.args)}"
    yield from (f"env {_cut(variable)!r}" for variable in meta.env)
    facts = {
        "cwd": meta.cwd if meta.cwd != "/" else "",
        "user": meta.user,
        "hostname": meta.hostname,
        "network": pb.NetMode.Name(op.exec.network).lower(),
        "security": "insecure" if op.exec.security == pb.INSECURE else "",
    }
    yield from (f"{key} {text}" for key, text in facts.items() if text)
    yield from (f"host {host.Host}={host.IP}" for host in meta.extraHosts)
    for field, value in meta.proxy_env.ListFields():
        yield f"proxy {field.name}={_cut(value)}"
    yield from (f"ulimit {limit.Name}={limit.Soft}:{limit.Hard}" for limit in meta.ulimit)
    yield from (f"secret {secret.name}={secret.ID}" for secret in op.exec.secretenv)
    yield from (_mount(mount, inputs) for mount in op.exec.mounts)


def _mount(mount: pb.Mount, inputs: Sequence[str]) -> str:
    words = [f"mount {mount.dest}"]
    if mount.mountType == pb.BIND:
        words.append(f"<- {_input(mount.input, inputs)}{mount.selector}")
        words.append("ro" if mount.readonly else "rw")
    else:
        words.append(pb.MountType.Name(mount.mountType).lower())
        words.append(mount.cacheOpt.ID or mount.secretOpt.ID or mount.SSHOpt.ID)
    if mount.mountType == pb.BIND and mount.output >= 0:
        words.append(f"-> :{mount.output}")
    if mount.contentCache != pb.DEFAULT:
        words.append(f"content-cache={pb.MountContentCache.Name(mount.contentCache).lower()}")
    return " ".join(word for word in words if word)


def _file(op: pb.Op, inputs: Sequence[str]) -> Iterator[str]:
    actions = op.file.actions
    yield f"base {_input(actions[0].input, inputs)}"
    for action in actions:
        kind = action.WhichOneof("action") or ""
        match kind:
            case "mkdir":
                words = [action.mkdir.path, f"{action.mkdir.mode:04o}"]
                words += ["parents"] if action.mkdir.makeParents else []
                yield " ".join((kind, *words, *_owned(action.mkdir)))
            case "mkfile":
                words = [action.mkfile.path, f"{action.mkfile.mode:04o}"]
                words += [repr(_cut(action.mkfile.data.decode("latin-1")))]
                yield " ".join((kind, *words, *_owned(action.mkfile)))
            case "symlink":
                words = [action.symlink.newpath, "->", action.symlink.oldpath]
                yield " ".join((kind, *words, *_owned(action.symlink)))
            case "rm":
                yield f"{kind} {action.rm.path}"
            case _:
                yield _copy(action, inputs)


def _copy(action: pb.FileAction, inputs: Sequence[str]) -> str:
    copy = action.copy
    words = [f"copy {_input(action.secondaryInput, inputs)}{copy.src} -> {copy.dest}"]
    words += ["contents"] if copy.dirCopyContents else []
    words += ["parents"] if copy.createDestPath else []
    words += ["follow"] if copy.followSymlink else []
    words += ["wildcard"] if copy.allowWildcard else []
    words += [f"include={pattern}" for pattern in copy.include_patterns]
    words += [f"exclude={pattern}" for pattern in copy.exclude_patterns]
    words += [f"{copy.mode:04o}"] if copy.mode >= 0 else []
    return " ".join((*words, *_owned(copy)))


def _owned(
    action: pb.FileActionMkDir | pb.FileActionMkFile | pb.FileActionSymlink | pb.FileActionCopy,
) -> Iterator[str]:
    if action.HasField("owner"):
        yield f"owner={action.owner.user.byID}:{action.owner.group.byID}"
    if action.timestamp >= 0:
        yield f"mtime={action.timestamp // 1_000_000_000}"


def _merge(op: pb.Op, inputs: Sequence[str]) -> Iterator[str]:
    yield "layers " + " ".join(_input(i.input, inputs) for i in op.merge.inputs)


def _diff(op: pb.Op, inputs: Sequence[str]) -> Iterator[str]:
    yield f"lower {_input(op.diff.lower.input, inputs)}"
    yield f"upper {_input(op.diff.upper.input, inputs)}"


_DESCRIBE: Final[dict[str, Callable[[pb.Op, Sequence[str]], Iterator[str]]]] = {
    "source": _source,
    "exec": _exec,
    "file": _file,
    "merge": _merge,
    "diff": _diff,
}


def _input(index: int, inputs: Sequence[str]) -> str:
    if index < 0:
        return "scratch"
    return inputs[index] if index < len(inputs) else "this"


def _words(words: Sequence[str]) -> str:
    return " ".join(
        word if word.isprintable() and " " not in word else repr(word) for word in words
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}… ({len(text)} characters)"
