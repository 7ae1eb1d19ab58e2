"""Source operations: bytes from outside the graph. Pure.

An identifier is ``scheme://rest``; everything else is an attribute of text.

Source: ``HTTP``, ``Image``, ``OCILayout``, ``Local`` and ``Git`` of BuildKit's
``client/llb/source.go``; attribute names of ``solver/pb/attr.go``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from nixbk.llb.errors import LlbError
from nixbk.llb.vertex import About, Output, seal
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixbk.llb.origin import Origin
    from nixbk.llb.platforms import Platform

_CHECKSUM: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_MODE: Final = 0o7777


def source(
    identifier: str,
    attrs: Mapping[str, str],
    *,
    caps: Iterable[str],
    about: About,
    platform: Platform | None = None,
) -> Output:
    """A source of any scheme; the functions below know their schemes' attributes."""
    op = pb.Op(source=pb.SourceOp(identifier=identifier, attrs=attrs))
    return Output(seal(op, (), caps, about, platform))


def http(  # noqa: PLR0913  # a source has as many attributes
    url: str,
    *,
    checksum: str,
    filename: str = "",
    mode: int | None = None,
    uid: int = 0,
    gid: int = 0,
    auth_header_secret: str = "",
    name: str,
    origin: Origin | None = None,
) -> Output:
    """One file, at the root of an otherwise empty file system.

    Its cache key has *checksum*, *filename*, *mode* and owner, and not *url*.

    Args:
        url: ``http``, ``https``, or ``http://buildkit-session/<id>`` for an upload.
        checksum: ``sha256:`` and 64 hexadecimal digits.
        filename: of the file; the last part of the URL when empty.
        mode: its permissions, 0600 when None.
        uid: its owner.
        gid: its group.
        auth_header_secret: id of the session's secret with the authorization header.
        name: what people call it.
        origin: where the user asked for it.

    Raises:
        LlbError: the URL, checksum or file name cannot be one.
    """
    if not url.startswith(("http://", "https://")):
        raise LlbError(f"{url!r} is no http or https URL")
    _require_checksum(checksum)
    if "/" in filename or filename in {".", ".."}:
        raise LlbError(f"{filename!r} is no file name")
    attrs = {"http.checksum": checksum}
    caps = {"source.http", "source.http.checksum"}
    if filename:
        attrs["http.filename"] = filename
    if mode is not None:
        if not 0 < mode <= _MAX_MODE:
            raise LlbError(f"{mode:#o} is no file mode")
        attrs["http.perm"] = f"0{mode:o}"
        caps.add("source.http.perm")
    for key, number in (("http.uid", uid), ("http.gid", gid)):
        if number:
            attrs[key] = str(number)
            caps.add("soruce.http.uidgid")  # BuildKit's own spelling
    if auth_header_secret:
        attrs["http.authheadersecret"] = auth_header_secret
        caps.add("source.http.auth")
    return source(url, attrs, caps=caps, about=About(name, origin))


def image(
    reference: str,
    *,
    platform: Platform,
    resolve_mode: str = "",
    name: str = "",
    origin: Origin | None = None,
) -> Output:
    """The root file system of an image.

    Args:
        reference: as Docker reads it: ``busybox`` is ``docker.io/library/busybox:latest``.
        platform: which of a multi-platform image.
        resolve_mode: ``default``, ``pull`` or ``local``.
        name: what people call it; the reference when empty.
        origin: where the user asked for it.
    """
    attrs = {"image.resolvemode": resolve_mode} if resolve_mode else {}
    caps = {"source.image"} | ({"source.image.resolvemode"} if resolve_mode == "pull" else set())
    about = About(name or reference, origin)
    full = normalize_reference(reference)
    return source(f"docker-image://{full}", attrs, caps=caps, about=about, platform=platform)


def oci_layout(  # noqa: PLR0913  # a source has as many attributes
    reference: str,
    *,
    store: str,
    platform: Platform,
    session: str = "",
    layer_limit: int | None = None,
    name: str = "",
    origin: Origin | None = None,
) -> Output:
    """The root file system of an image in an OCI layout that the session serves.

    Args:
        reference: with its digest: ``name@sha256:…``.
        store: name under which the session serves the layout.
        platform: which of a multi-platform image.
        session: id of the session, any of the build's when empty.
        layer_limit: how many of its layers, from below.
        name: what people call it; the reference when empty.
        origin: where the user asked for it.

    Raises:
        LlbError: the reference has no digest.
    """
    _require_checksum(reference.rpartition("@")[2])
    attrs = {"oci.store": store}
    if session:
        attrs["oci.session"] = session
    if layer_limit is not None:
        attrs["oci.layerlimit"] = str(layer_limit)
    return source(
        f"oci-layout://{reference}",
        attrs,
        caps={"source.ocilayout"},
        about=About(name or reference, origin),
        platform=platform,
    )


def local(  # noqa: PLR0913  # a source has as many attributes
    folder: str,
    *,
    unique: str = "",
    session: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: Sequence[str] = (),
    shared_key_hint: str = "",
    name: str = "",
    origin: Origin | None = None,
) -> Output:
    """A folder of the client, sent through the session; keyed by that session.

    Args:
        folder: name under which the session serves it.
        unique: what makes two of the same name differ; only without *session*.
        session: id of the session.
        include: patterns of what is sent.
        exclude: patterns of what is not.
        follow: paths that are sent with what they link to.
        shared_key_hint: what makes transfers of two builds share what they have.
        name: what people call it; the folder when empty.
        origin: where the user asked for it.
    """
    texts = {
        "local.session": session,
        "local.unique": "" if session else unique,
        "local.sharedkeyhint": shared_key_hint,
        "local.includepattern": _patterns(include),
        "local.excludepatterns": _patterns(exclude),
        "local.followpaths": _patterns(follow),
    }
    attrs = {key: text for key, text in texts.items() if text}
    caps = {"source.local"} | {_LOCAL_CAPS[key] for key in attrs}
    about = About(name or folder, origin)
    return source(f"local://{folder}", attrs, caps=caps, about=about)


_LOCAL_CAPS: Final = {
    "local.session": "source.local.sessionid",
    "local.unique": "source.local.unique",
    "local.sharedkeyhint": "source.local.sharedkeyhint",
    "local.includepattern": "source.local.includepatterns",
    "local.excludepatterns": "source.local.excludepatterns",
    "local.followpaths": "source.local.followpaths",
}


def git(  # noqa: PLR0913  # a source has as many attributes
    remote: str,
    *,
    commit: str,
    ref: str = "",
    subdir: str = "",
    keep_git_dir: bool = False,
    checksum_known: bool = True,
    name: str = "",
    origin: Origin | None = None,
) -> Output:
    """A commit of a repository, checked out.

    Args:
        remote: URL of the repository, with its scheme.
        commit: 40 or 64 hexadecimal digits.
        ref: branch or tag to fetch it by; the commit when empty.
        subdir: folder of the repository that becomes the root.
        keep_git_dir: whether ``.git`` stays.
        checksum_known: whether BuildKit checks *commit* (from 0.24 on).
        name: what people call it; the remote when empty.
        origin: where the user asked for it.

    Raises:
        LlbError: the remote or commit cannot be one.
    """
    scheme, separator, rest = remote.partition("://")
    if not separator or not rest:
        raise LlbError(f"{remote!r} is no URL")
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise LlbError(f"{commit!r} is no commit")
    fragment = (ref or commit) + (f":{subdir.strip('/')}" if subdir.strip("/") else "")
    host, _, path = rest.rpartition("@")[2].partition("/")
    attrs = {
        "git.fullurl": remote,
        "git.authtokensecret": "GIT_AUTH_TOKEN",
        "git.authheadersecret": "GIT_AUTH_HEADER",
    }
    caps = {"source.git", "source.git.fullurl"}
    if keep_git_dir:
        attrs["git.keepgitdir"] = "true"
        caps.add("source.git.keepgitdir")
    if checksum_known:
        attrs["git.checksum"] = commit
        caps.add("source.git.checksum")
    if scheme == "ssh":
        attrs["git.mountsshsock"] = "default"
        caps.add("source.git.mountsshsock")
    identifier = f"git://{host}/{path}#{fragment}"
    return source(identifier, attrs, caps=caps, about=About(name or remote, origin))


def normalize_reference(reference: str) -> str:
    """An image reference with the registry, folder and tag that Docker takes for granted."""
    path, at, digest = reference.partition("@")
    first, slash, _ = path.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        path = f"docker.io/{path if slash else f'library/{path}'}"
    elif first == "index.docker.io":
        path = f"docker.io/{path.partition('/')[2]}"
    if not at and ":" not in path.rpartition("/")[2]:
        path += ":latest"
    return f"{path}{at}{digest}"


def _patterns(patterns: Sequence[str]) -> str:
    return json.dumps(list(patterns), ensure_ascii=False, separators=(",", ":")) if patterns else ""


def _require_checksum(checksum: str) -> None:
    if not _CHECKSUM.fullmatch(checksum):
        raise LlbError(f"{checksum!r} is no sha256 digest", hint="write it as sha256:<64 digits>")
