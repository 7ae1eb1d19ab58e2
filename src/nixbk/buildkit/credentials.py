"""Registry credentials, where ``docker login`` keeps them.

    config.json: {"auths": {host: {"auth": base64 of "user:password"} | {"identitytoken": …}},
                  "credHelpers": {host: helper}, "credsStore": helper}
    docker-credential-<helper> get   < host   > {"Username": …, "Secret": …}

Docker Hub's entry is named ``https://index.docker.io/v1/``.

Source: docker/cli ``cli/config``, docker-credential-helpers, BuildKit ``session/auth``. Reads a
file and runs helpers when a builder asks, never before.
"""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nixbk.buildkit.docker_context import read_config
from nixbk.buildkit.errors import ConnectError
from nixbk.buildkit.rpc import grpc
from nixbk.buildkit.service import Service, unary
from nixbk.proto import auth_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCKER_HUB: Final = "https://index.docker.io/v1/"
_HUB_NAMES: Final = ("registry-1.docker.io", "docker.io", "index.docker.io", "registry.docker.io")
_HELPER_TIMEOUT_S: Final = 60
_NOT_FOUND: Final = "credentials not found"


@dataclass(frozen=True, slots=True)
class Login:
    """What proves who one is to a registry.

    Attributes:
        username: empty when *secret* is an identity token.
        secret: password or identity token; empty for nobody in particular.
    """

    username: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"Login(username={self.username!r}, secret=…)"


class Credentials:
    """The logins of Docker's configuration; read once, when first asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._config: dict[str, Any] | None = None
        self._known: dict[str, Login] = {}

    def login(self, host: str) -> Login:
        """Return the login for a registry's host, an empty one when there is none.

        Raises:
            ConnectError: the configuration cannot be read, or a helper fails.
        """
        with self._lock:
            if host not in self._known:
                if self._config is None:
                    self._config = read_config(self._environ)
                self._known[host] = self._find(self._config, host)
            return self._known[host]

    def service(self) -> Service:
        """Serve the logins to a builder."""
        return Service("moby.filesync.v1.Auth", {"Credentials": unary(self._answer)})

    def _answer(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            login = self.login(auth_pb2.CredentialsRequest.FromString(raw).Host)
        except ConnectError as error:
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        return auth_pb2.CredentialsResponse(
            Username=login.username, Secret=login.secret
        ).SerializeToString()

    def _find(self, config: dict[str, Any], host: str) -> Login:
        keys = _names(host)
        helpers = _object(config, "credHelpers")
        for key in keys:
            if isinstance(helpers.get(key), str):
                return self._ask(helpers[key], key) or Login()
        store = config.get("credsStore")
        if isinstance(store, str) and store:
            found = self._ask(store, keys[0])
            if found is not None:
                return found
        auths = _object(config, "auths")
        by_host = {_host_of(key): value for key, value in auths.items()}
        for key in keys:
            entry = auths.get(key, by_host.get(_host_of(key)))
            if isinstance(entry, dict):
                return decode_auth(entry, where=key)
        return Login()

    def _ask(self, helper: str, key: str) -> Login | None:
        program = f"docker-credential-{helper}"
        try:
            done = subprocess.run(
                [program, "get"],
                input=key.encode(),
                capture_output=True,
                timeout=_HELPER_TIMEOUT_S,
                check=False,
                env=dict(self._environ),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConnectError(f"cannot run {program!r}: {error}", where=key) from error
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            if _NOT_FOUND in said:
                return None
            raise ConnectError(f"{program!r} fails: {said}", where=key)
        try:
            answer = json.loads(done.stdout)
            username, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConnectError(f"{program!r} answers no credentials", where=key) from error
        return Login("" if username == "<token>" else username, secret)


def decode_auth(entry: Mapping[str, object], *, where: str) -> Login:
    """Decode one entry of ``auths``.

    Raises:
        ConnectError: its base 64 is none, or holds no colon.
    """
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login("", token)
    text = entry.get("auth")
    if not isinstance(text, str) or not text:
        username, password = entry.get("username"), entry.get("password")
        if isinstance(username, str) and isinstance(password, str):
            return Login(username, password)
        return Login()
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConnectError("the login is no base 64 text", where=where) from error
    username, colon, password = decoded.partition(":")
    if not colon:
        raise ConnectError("the login has no colon", where=where)
    return Login(username, password.rstrip("\0"))


def _names(host: str) -> tuple[str, ...]:
    return (DOCKER_HUB, *_HUB_NAMES) if host in _HUB_NAMES else (host,)


def _host_of(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}
