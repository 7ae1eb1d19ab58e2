"""A registry that wants a login gets the one of Docker's configuration, by way of the builder."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from nixbk.buildkit.credentials import Credentials
from nixbk.buildkit.errors import BuilderError
from nixbk.buildkit.protocols import Result
from nixbk.buildkit.session import Attachables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixbk.buildkit.client import Client

CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/found"]}}
CONFIG_BYTES = json.dumps(CONFIG).encode()
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return {"mediaType": kind, "digest": digest, "size": len(data)}


MANIFEST_BYTES = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", CONFIG_BYTES),
        "layers": [],
    }
).encode()
BASIC = "Basic " + base64.b64encode(b"me:a secret").decode()


class Registry(BaseHTTPRequestHandler):
    """Serves one image to those who log in."""

    scheme: ClassVar[str] = ""
    # Docker tries TLS first, and takes an answer that begins with "HTTP/" for none
    default_request_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Demand a login, then serve token, manifest or configuration."""
        given = self.headers.get("Authorization")
        if self.path.startswith("/token") and given == BASIC:
            self._answer(200, b'{"token": "the-token"}', "application/json")
        elif given != (BASIC if self.scheme == "Basic" else "Bearer the-token"):
            realm = f'realm="http://{self.headers["Host"]}/token",service="test"'
            challenge = f"{self.scheme} {realm}"
            self._answer(401, b'{"errors": [{"code": "UNAUTHORIZED"}]}', "text/plain", challenge)
        elif "/manifests/" in self.path:
            self._answer(200, MANIFEST_BYTES, MANIFEST_TYPE)
        elif "/blobs/" in self.path:
            self._answer(200, CONFIG_BYTES, "application/octet-stream")
        else:
            self._answer(200, b"{}", "application/json")

    def do_POST(self) -> None:
        """Refuse the login by form that builders try last."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(401, b"", "text/plain")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes, kind: str, challenge: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        digest = hashlib.sha256(body).hexdigest()
        self.send_header("Docker-Content-Digest", f"sha256:{digest}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(params=["Basic", "Bearer"])
def registry(request: pytest.FixtureRequest) -> Iterator[str]:
    """The host of a registry with each kind of login."""
    kind = type("Kind", (Registry,), {"scheme": request.param})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_login_reaches_the_registry(
    client: Client, builder: str, registry: str, tmp_path: Path
) -> None:
    """With the login the image is found, with a wrong one the registry's refusal is told."""
    if "unix://" not in builder:
        pytest.skip("the builder is on another machine")
    for word, right in (("a secret", True), ("a wrong one", False)):
        auth = base64.b64encode(f"me:{word}".encode()).decode()
        config = {"auths": {registry: {"auth": auth}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        credentials = Credentials({"DOCKER_CONFIG": str(tmp_path)})
        # another name, for what a builder has seen it may remember
        name = f"{registry}/{word.replace(' ', '-')}:latest"
        with (
            client.session(Attachables(credentials=credentials)) as session,
            client.build(session, internal=True) as build,
        ):
            if right:
                assert build.resolve_image_config(name) == CONFIG
            else:
                with pytest.raises(BuilderError, match="401 Unauthorized"):
                    build.resolve_image_config(name)
            build.finish(Result())
