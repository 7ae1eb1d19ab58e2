"""Credential helpers are programs, so they are run here."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit.credentials import Credentials, Login
from nixbk.buildkit.errors import ConnectError

if TYPE_CHECKING:
    from pathlib import Path

HELPER = """#!/bin/sh
read -r host || true
echo "$1 $host" >> "$CALLS"
case $host in
  known) echo '{"ServerURL": "known", "Username": "me", "Secret": "secret"}' ;;
  token) echo '{"ServerURL": "token", "Username": "<token>", "Secret": "identity"}' ;;
  strange) echo 'what?' ;;
  broken) echo 'the keychain is locked' >&2; exit 2 ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A configuration whose helper stands on PATH."""
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    config = {
        "credsStore": "test",
        "credHelpers": {"elsewhere": "absent"},
        "auths": {"file": {"username": "from", "password": "the file"}, "known": {}},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "DOCKER_CONFIG": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
    }


def test_a_helper_is_asked_once(environ: dict[str, str], tmp_path: Path) -> None:
    """A store's logins come first, then those of the file; each is asked for once."""
    credentials = Credentials(environ)
    assert [credentials.login(host) for host in ("known", "token", "known", "file", "other")] == [
        Login("me", "secret"),
        Login("", "identity"),
        Login("me", "secret"),
        Login("from", "the file"),
        Login(),
    ]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["get known", "get token", "get file", "get other"]


FAULTS = {
    "strange": "strange: 'docker-credential-test' answers no credentials",
    "broken": "broken: 'docker-credential-test' fails: the keychain is locked",
    "elsewhere": "elsewhere: cannot run 'docker-credential-absent': [Errno 2] "
    "No such file or directory: 'docker-credential-absent'",
}


@pytest.mark.parametrize(("host", "message"), FAULTS.items(), ids=FAULTS)
def test_a_helper_that_fails_is_told(environ: dict[str, str], host: str, message: str) -> None:
    """A helper's fault is no anonymous login."""
    with pytest.raises(ConnectError) as caught:
        Credentials(environ).login(host)
    assert str(caught.value) == message
