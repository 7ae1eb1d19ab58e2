"""Buckets of a real server of S3, which checks signatures. Effects: a daemon, sockets."""

from __future__ import annotations

import io
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pycurl
from engines import start

if TYPE_CHECKING:
    from pathlib import Path

REGION: Final = "us-east-1"
NOBODY: Final = dict.fromkeys(
    (
        "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE", "AWS_PROFILE", "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE",
    ),
    "",
)  # fmt: skip
"""The environment of a user without credentials, whoever runs the tests."""


@dataclass(frozen=True)
class Bucket:
    """A new bucket, of which nobody else knows.

    Attributes:
        server: host and port.
        key_id: of who may do everything.
        secret: likewise.
        name: of the bucket.
    """

    server: str
    key_id: str
    secret: str = field(repr=False)
    name: str

    @classmethod
    def make(cls) -> Bucket:
        """Start the server and make one, private."""
        found = start("s3")
        made = cls(
            found["NIXBK_TEST_S3"],
            found["NIXBK_TEST_S3_KEY"],
            found["NIXBK_TEST_S3_SECRET"],
            f"nixbk-{secrets.token_hex(6)}",
        )
        made.ask("PUT", "")
        return made

    def url(self, prefix: str = "", **parameters: str) -> str:
        """The address of a cache in it, as Nix writes it."""
        given = {"endpoint": f"http://{self.server}", "region": REGION, **parameters}
        query = "&".join(f"{key}={value}" for key, value in given.items())
        return f"s3://{self.name}{prefix}?{query}"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of who may do everything."""
        keys = {"AWS_ACCESS_KEY_ID": self.key_id, "AWS_SECRET_ACCESS_KEY": self.secret}
        return {**NOBODY, **keys}

    def allow(self, *actions: str) -> None:
        """Let everybody do this, and nothing else."""
        if not actions:
            self.ask("DELETE", "?policy=")
            return
        statement = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": [f"s3:{action}" for action in actions],
            "Resource": [f"arn:aws:s3:::{self.name}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.ask("PUT", "?policy=", json.dumps(policy).encode())

    def put_folder(self, folder: Path, prefix: str = "") -> None:
        """Put all files of a folder into it."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.ask("PUT", f"{prefix}/{file.relative_to(folder)}", file.read_bytes())

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Ask the server as who may do everything; its answer."""
        easy, answer = pycurl.Curl(), io.BytesIO()
        easy.setopt(pycurl.URL, f"http://{self.server}/{self.name}{path}")
        easy.setopt(pycurl.AWS_SIGV4, f"aws:amz:{REGION}:s3")
        easy.setopt(pycurl.USERPWD, f"{self.key_id}:{self.secret}")
        easy.setopt(pycurl.WRITEFUNCTION, answer.write)
        if method == "PUT":
            easy.setopt(pycurl.UPLOAD, 1)
            easy.setopt(pycurl.INFILESIZE_LARGE, len(body))
            easy.setopt(pycurl.READFUNCTION, io.BytesIO(body).read)
        elif method != "GET":
            easy.setopt(pycurl.CUSTOMREQUEST, method)
        easy.perform()
        status = easy.getinfo(pycurl.RESPONSE_CODE)
        assert status in {200, 204}, f"{method} {path}: {status}: {answer.getvalue()!r}"
        return answer.getvalue()


def write_profile(home: Path, name: str, key_id: str, secret: str) -> None:
    """Write the files of a user's credentials."""
    file = home / ".aws" / "credentials"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[{name}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")
