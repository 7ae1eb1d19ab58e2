"""The little of Docker's HTTP API that nixbk needs beside its BuildKit.

Source: Docker Engine API v1.24 and later, https://docs.docker.com/reference/api/engine/.
Opens one connection for every request.
"""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from nixbk.buildkit.dial import Connection, dial_docker, docker_fault
from nixbk.buildkit.errors import BuilderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nixbk.buildkit.docker_context import DockerEndpoint

_CHUNK_BYTES: Final = 1024 * 1024
_NOT_FOUND: Final = 404
_FIRST_ERROR: Final = 400
_LOADED: Final = ("Loaded image: ", "Loaded image ID: ")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class DockerInfo(NamedTuple):
    """What a Docker engine is.

    Attributes:
        version: of the engine.
        api_version: the newest it speaks.
        platform: ``os/architecture`` of its machine.
        containerd_store: whether images live in containerd, so that BuildKit can merge layers
            and keep OCI manifests.
    """

    version: str
    api_version: str
    platform: str
    containerd_store: bool


class _HTTPConnection(http.client.HTTPConnection):
    """HTTP over a stream that was dialled elsewhere."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("docker")
        self.sock = connection.sock


class DockerApi:
    """The API of one Docker engine; may be used by several threads."""

    def __init__(self, endpoint: DockerEndpoint) -> None:
        self._endpoint = endpoint

    def info(self) -> DockerInfo:
        """Ask what the engine is."""
        version = self._object("GET", "/version")
        info = self._object("GET", "/info")
        status = info.get("DriverStatus") or []
        return DockerInfo(
            version=str(version.get("Version", "")),
            api_version=str(version.get("ApiVersion", "")),
            platform=f"{version.get('Os', '')}/{version.get('Arch', '')}",
            containerd_store=any(
                "io.containerd.snapshotter" in str(value) for pair in status for value in pair
            ),
        )

    def inspect_image(self, name: str) -> dict[str, Any] | None:
        """Return what the engine knows of an image, None when it has none of that *name*."""
        try:
            return self._object("GET", f"/images/{quote(name, safe='/:@')}/json")
        except BuilderError as error:
            if error.code == str(_NOT_FOUND):
                return None
            raise

    def tag_image(self, name: str, repository: str, tag: str) -> None:
        """Give the image *name* another name."""
        query = urlencode({"repo": repository, "tag": tag})
        self._request("POST", f"/images/{quote(name, safe='/:@')}/tag?{query}")

    def load_image(self, archive: _Readable | Iterable[bytes]) -> tuple[str, ...]:
        """Load a docker or OCI archive, and return the names, or else ids, of its images.

        Raises:
            BuilderError: the engine refuses the archive.
        """
        body = self._request("POST", "/images/load?quiet=1", _chunks(archive), "application/x-tar")
        names = []
        for line in body.splitlines():
            if not line.strip():
                continue
            event = _decode(line)
            if event.get("error"):
                raise BuilderError(f"docker does not load the image: {event['error']}")
            text = str(event.get("stream", "")).strip()
            names += [text.removeprefix(start) for start in _LOADED if text.startswith(start)]
        return tuple(names)

    def _object(self, method: str, path: str) -> dict[str, Any]:
        return _decode(self._request(method, path))

    def _request(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] | None = None,
        kind: str = "",
    ) -> bytes:
        connection = dial_docker(self._endpoint)
        try:
            client = _HTTPConnection(connection)
            headers = {"Connection": "close"}
            if kind:
                headers |= {"Content-Type": kind, "Transfer-Encoding": "chunked"}
            client.request(method, path, body, headers, encode_chunked=body is not None)
            response = client.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise docker_fault(self._endpoint, connection, str(error)) from error
        finally:
            connection.close()
        if response.status >= _FIRST_ERROR:
            text = _message(data) or response.reason
            raise BuilderError(f"docker refuses: {text}", code=str(response.status))
        return data


def _chunks(archive: _Readable | Iterable[bytes]) -> Iterator[bytes]:
    if hasattr(archive, "read"):
        while chunk := archive.read(_CHUNK_BYTES):
            yield chunk
    else:
        # an empty chunk would end the body
        yield from (chunk for chunk in archive if chunk)


def _decode(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise BuilderError("docker answers what is no JSON") from error
    if not isinstance(value, dict):
        raise BuilderError("docker answers what is no JSON object")
    return value


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace").strip()
