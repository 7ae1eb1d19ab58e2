"""Small graphs for tests: a shell command over an upload of busybox."""

from __future__ import annotations

import hashlib
import secrets
from io import BytesIO
from typing import TYPE_CHECKING

from nixbk.buildkit.uploads import Upload, Uploads
from nixbk.llb.exec import Proxy, exec_
from nixbk.llb.file import Mkdir, file
from nixbk.llb.marshal import marshal
from nixbk.llb.mounts import Mount
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.llb.sources import http

if TYPE_CHECKING:
    from nixbk.llb.vertex import Output
    from nixbk.proto import ops_pb2


class Steps:
    """Makes graphs whose sources are uploads of one session."""

    def __init__(self, busybox: bytes) -> None:
        self.uploads = Uploads()
        self.busybox = busybox

    def upload(self, data: bytes, filename: str = "data", mode: int = 0o644) -> Output:
        """A source of *data* as one file."""
        digest = hashlib.sha256(data).hexdigest()
        url = self.uploads.add(Upload(digest, len(data), lambda: BytesIO(data)))
        return http(url, checksum=f"sha256:{digest}", filename=filename, mode=mode, name=filename)

    def shell(
        self,
        script: str,
        *mounts: Mount,
        name: str = "",
        nonce: str = "",
        proxy: Proxy | None = None,
    ) -> Output:
        """What *script* leaves in an empty root.

        BuildKit has never seen it before, unless *nonce* is given again; *proxy* is no part of it.
        """
        root = file(None, [Mkdir("/tmp", 0o777), Mkdir("/out", 0o755)], name="root")
        tools = self.upload(self.busybox, "busybox", 0o755)
        return exec_(
            ["/bin/busybox", "sh", "-c", script],
            env=[f"NONCE={nonce or secrets.token_hex(8)}", "PATH=/bin"],
            mounts=[
                Mount("/", root, readonly=False, output=True),
                Mount("/bin", tools),
                *mounts,
            ],
            proxy=proxy,
            platform=LINUX_AMD64,
            name=name or script.splitlines()[0],
        ).root

    def definition(self, script: str, *mounts: Mount, name: str = "") -> ops_pb2.Definition:
        """The definition of :meth:`shell`."""
        return marshal(self.shell(script, *mounts, name=name))[0]
