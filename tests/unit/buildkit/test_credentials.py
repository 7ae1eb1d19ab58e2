"""Logins of Docker's configuration; helpers are run in tests/e2e."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit.credentials import Credentials, Login, decode_auth
from nixbk.buildkit.errors import ConnectError

if TYPE_CHECKING:
    from pathlib import Path


def _auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


AUTHS = {
    "https://index.docker.io/v1/": {"auth": _auth("hub:one")},
    "reg.example": {"auth": _auth("me:with:colons")},
    "https://old.example/v2/": {"auth": _auth("old:three")},
    "token.example": {"auth": _auth("x:y"), "identitytoken": "a token"},
    "plain.example:5000": {"username": "u", "password": "p"},
    "empty.example": {},
}
HOSTS = {
    "hub": ("registry-1.docker.io", Login("hub", "one")),
    "hub by its short name": ("docker.io", Login("hub", "one")),
    "host": ("reg.example", Login("me", "with:colons")),
    "key with scheme and path": ("old.example", Login("old", "three")),
    "identity token": ("token.example", Login("", "a token")),
    "port": ("plain.example:5000", Login("u", "p")),
    "entry without a login": ("empty.example", Login()),
    "unknown": ("plain.example", Login()),
}


@pytest.mark.parametrize(("host", "expected"), HOSTS.values(), ids=HOSTS)
def test_logins_are_found(tmp_path: Path, host: str, expected: Login) -> None:
    """A registry's host finds the login that docker login kept for it."""
    (tmp_path / "config.json").write_text(json.dumps({"auths": AUTHS}))
    assert Credentials({"DOCKER_CONFIG": str(tmp_path)}).login(host) == expected


def test_no_configuration_is_no_login(tmp_path: Path) -> None:
    """Without a configuration everybody is anonymous."""
    assert Credentials({"DOCKER_CONFIG": str(tmp_path)}).login("docker.io") == Login()


WRONG = {
    "no base 64": ("%%%", "reg: the login is no base 64 text"),
    "no colon": (_auth("alone"), "reg: the login has no colon"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_logins_are_told(text: str, message: str) -> None:
    """A login that cannot be decoded is told with its registry."""
    with pytest.raises(ConnectError) as caught:
        decode_auth({"auth": text}, where="reg")
    assert str(caught.value) == message


def test_a_login_does_not_show_its_secret() -> None:
    """No traceback and no log shows a password."""
    assert repr(Login("me", "secret")) == "Login(username='me', secret=…)"
