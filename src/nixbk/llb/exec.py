"""Exec operations: run a program over mounted file systems. Pure.

Left out of the cache key by BuildKit: the proxy, the address of every extra host, and
selectors as written. So an operation and its *probe*, which cannot run because an
address does not parse, find the same cached result.

Source: ``ExecOp.Marshal`` of BuildKit's ``client/llb/exec.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from nixbk.llb.errors import LlbError
from nixbk.llb.mounts import is_clean
from nixbk.llb.vertex import About, Inputs, Output, Vertex, seal
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixbk.llb.mounts import Mount
    from nixbk.llb.origin import Origin
    from nixbk.llb.platforms import Platform

Network = Literal["none", "sandbox", "host"]
Security = Literal["sandbox", "insecure"]

_NETWORK: Final[dict[str, pb.NetMode.ValueType]] = {
    "sandbox": pb.UNSET,
    "host": pb.HOST,
    "none": pb.NONE,
}
_SECURITY: Final[dict[str, pb.SecurityMode.ValueType]] = {
    "sandbox": pb.SANDBOX,
    "insecure": pb.INSECURE,
}


class Proxy(NamedTuple):
    """Proxy variables a program gets without their being in its cache key."""

    http: str = ""
    https: str = ""
    ftp: str = ""
    no: str = ""
    all: str = ""


class ExtraHost(NamedTuple):
    """A line of ``/etc/hosts``; an address that does not parse stops the step."""

    name: str
    address: str


class Ulimit(NamedTuple):
    """A limit of resources, ``nofile`` for instance."""

    name: str
    soft: int
    hard: int


class SecretEnv(NamedTuple):
    """A secret of the session as an environment variable."""

    id: str
    variable: str
    optional: bool = False


class Exec(NamedTuple):
    """A program's run and what it leaves.

    Attributes:
        vertex: the operation.
        outputs: mount point and output of each, in the order of their indices.
    """

    vertex: Vertex
    outputs: tuple[tuple[str, Output], ...]

    def output(self, dest: str) -> Output:
        """What the program leaves at the mount *dest*.

        Raises:
            LlbError: that mount is no output.
        """
        for path, output in self.outputs:
            if path == dest:
                return output
        raise LlbError(f"{dest!r} is no output", where=self.vertex.name)

    @property
    def root(self) -> Output:
        """What the program leaves in its root file system."""
        return self.output("/")


def exec_(  # noqa: PLR0913  # an exec has as many fields
    args: Sequence[str],
    *,
    mounts: Iterable[Mount],
    env: Sequence[str] = (),
    cwd: str = "/",
    user: str = "",
    network: Network = "none",
    security: Security = "sandbox",
    extra_hosts: Sequence[ExtraHost] = (),
    proxy: Proxy | None = None,
    hostname: str = "",
    ulimits: Sequence[Ulimit] = (),
    secret_env: Sequence[SecretEnv] = (),
    cgroup_parent: str = "",
    valid_exit_codes: Sequence[int] = (),
    remove_mount_stubs_recursive: bool = True,
    ignore_cache: bool = False,
    platform: Platform,
    name: str,
    origin: Origin | None = None,
) -> Exec:
    """Run a program; the order of *mounts* says nothing.

    Args:
        args: program and arguments.
        mounts: one of them ``/``.
        env: ``NAME=value``, in their order; BuildKit adds PATH when there is none.
        cwd: absolute.
        user: ``uid``, ``uid:gid`` or a name of the root's ``/etc/passwd``.
        network: none, one of its own, or the builder's.
        security: ``insecure`` needs an entitlement.
        extra_hosts: lines of ``/etc/hosts``.
        proxy: variables outside the cache key.
        hostname: of the container.
        ulimits: limits of resources.
        secret_env: secrets as variables.
        cgroup_parent: of the container.
        valid_exit_codes: which end it well; 0 alone when empty.
        remove_mount_stubs_recursive: whether parents of mount points go as well.
        ignore_cache: run it although it is cached.
        platform: what it runs on.
        name: what people call it.
        origin: where the user asked for it.

    Raises:
        LlbError: no program, no root, a mount point twice, a folder that is not absolute.
    """
    ordered = sorted(mounts, key=_place)
    _check(args, ordered, cwd, name)
    meta = pb.Meta(
        args=args,
        env=env,
        cwd=cwd,
        user=user,
        hostname=hostname,
        cgroupParent=cgroup_parent,
        removeMountStubsRecursive=remove_mount_stubs_recursive,
        validExitCodes=valid_exit_codes,
        extraHosts=[pb.HostIP(Host=h.name, IP=h.address) for h in extra_hosts],
        ulimit=[pb.Ulimit(Name=u.name, Soft=u.soft, Hard=u.hard) for u in ulimits],
    )
    if proxy is not None:
        meta.proxy_env.CopyFrom(
            pb.ProxyEnv(
                http_proxy=proxy.http,
                https_proxy=proxy.https,
                ftp_proxy=proxy.ftp,
                no_proxy=proxy.no,
                all_proxy=proxy.all,
            )
        )
    inputs = Inputs()
    outputs: list[str] = []
    messages = []
    for mount in ordered:
        messages.append(mount.to_proto(inputs.add(mount.source), len(outputs)))
        if mount.output:
            outputs.append(mount.dest)
    op = pb.ExecOp(
        meta=meta,
        mounts=messages,
        network=_NETWORK[network],
        security=_SECURITY[security],
        secretenv=[pb.SecretEnv(ID=s.id, name=s.variable, optional=s.optional) for s in secret_env],
    )
    conditional = (
        ("exec.meta.network", network != "sandbox"),
        ("exec.meta.security", security != "sandbox"),
        ("exec.meta.proxyenv", proxy is not None),
        ("exec.meta.ulimit", bool(ulimits)),
        ("exec.meta.cgroup.parent", bool(cgroup_parent)),
        ("exec.validexitcode", bool(valid_exit_codes)),
        ("exec.secretenv", bool(secret_env)),
        ("exec.mount.secret", bool(secret_env)),
    )
    caps = {"exec.meta.base"}.union(*(mount.caps() for mount in ordered))
    caps |= {cap for cap, needed in conditional if needed}
    about = About(name, origin, ignore_cache)
    vertex = seal(pb.Op(exec=op), inputs.outputs, caps, about, platform)
    return Exec(vertex, tuple((dest, Output(vertex, i)) for i, dest in enumerate(outputs)))


def _place(mount: Mount) -> tuple[bool, bool, bytes]:
    """What mounts are sorted by."""
    return not mount.first, mount.kind in {"secret", "ssh"}, mount.dest.encode()


def _check(args: Sequence[str], mounts: Sequence[Mount], cwd: str, name: str) -> None:
    if not args:
        raise LlbError("an exec without arguments", where=name)
    if not is_clean(cwd):
        raise LlbError(f"{cwd!r} is no clean absolute path to work in", where=name)
    points = [mount.dest for mount in mounts]
    if "/" not in points:
        raise LlbError("an exec without a root file system", where=name)
    if len(set(points)) != len(points):
        twice = min(point for point in points if points.count(point) > 1)
        raise LlbError(f"two mounts at {twice!r}", where=name)
