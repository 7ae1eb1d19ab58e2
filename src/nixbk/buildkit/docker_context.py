"""Which Docker engine the docker command would talk to, and its configuration's folder.

    DOCKER_HOST, else the context DOCKER_CONTEXT, else currentContext of config.json, else
    unix:///var/run/docker.sock
    context NAME: contexts/meta/<sha256 of NAME>/meta.json, contexts/tls/<the same>/docker/*.pem

Source: docker/cli ``cli/command/cli.go`` and ``cli/context/store``. Reads files.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.tls import NO_TLS, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOST: Final = "unix:///var/run/docker.sock"


class DockerEndpoint(NamedTuple):
    """The API of a Docker engine.

    Attributes:
        host: ``unix://path``, ``tcp://host:port`` or ``ssh://[user@]host[:port]``.
        tls: certificates for tcp.
        origin: what named it: ``DOCKER_HOST``, a context, or ``the default``.
    """

    host: str
    tls: TlsFiles = NO_TLS
    origin: str = "--builder"

    def __str__(self) -> str:
        return self.host


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of Docker's client configuration: DOCKER_CONFIG or ``~/.docker``."""
    named = environ.get("DOCKER_CONFIG")
    return Path(named) if named else Path(environ.get("HOME", "/root")) / ".docker"


def read_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return Docker's ``config.json``, empty when there is none.

    Raises:
        ConnectError: the file cannot be read, or is no JSON object.
    """
    return _read_object(config_folder(environ) / "config.json") or {}


def docker_endpoint(environ: Mapping[str, str], *, context: str = "") -> DockerEndpoint:
    """Return the engine that ``docker`` would use, or the one of a named *context*.

    Raises:
        ConnectError: the context is not there.
    """
    origin = "--builder"
    if not context:
        if environ.get("DOCKER_HOST"):
            return DockerEndpoint(environ["DOCKER_HOST"], _environ_tls(environ), "DOCKER_HOST")
        context, origin = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not context:
        current = read_config(environ).get("currentContext")
        context, origin = (current if isinstance(current, str) else ""), "docker context use"
    if context in {"", "default"}:
        return DockerEndpoint(DEFAULT_HOST, _environ_tls(environ), "the default")
    return _named(context, environ, origin)


def _named(context: str, environ: Mapping[str, str], origin: str) -> DockerEndpoint:
    folder = config_folder(environ) / "contexts"
    digest = hashlib.sha256(context.encode()).hexdigest()
    path = folder / "meta" / digest / "meta.json"
    meta = _read_object(path)
    if meta is None:
        raise ConnectError(
            f"there is no docker context {context!r}",
            where=origin,
            hint="docker context ls lists them",
        )
    try:
        endpoint = meta["Endpoints"]["docker"]
        host, skip = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify", False))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConnectError(f"docker context {context!r} names no host", where=str(path)) from error
    certificates = folder / "tls" / digest / "docker"
    files = [
        certificates / name if (certificates / name).is_file() else None
        for name in ("ca.pem", "cert.pem", "key.pem")
    ]
    return DockerEndpoint(
        host, TlsFiles(files[0], files[1], files[2], verify=not skip), f"context {context!r}"
    )


def _environ_tls(environ: Mapping[str, str]) -> TlsFiles:
    """What DOCKER_TLS_VERIFY, DOCKER_TLS and DOCKER_CERT_PATH say."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not environ.get("DOCKER_TLS"):
        return NO_TLS
    folder = Path(environ.get("DOCKER_CERT_PATH") or config_folder(environ))
    files = [
        folder / name if (folder / name).is_file() else None
        for name in ("ca.pem", "cert.pem", "key.pem")
    ]
    return TlsFiles(files[0], files[1], files[2], verify=verify, wanted=True)


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConnectError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise ConnectError("is no JSON object", where=str(path))
    return value
