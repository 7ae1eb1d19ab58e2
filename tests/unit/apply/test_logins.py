"""Secrets of a session: logins and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.apply import logins
from nixbk.apply.logins import Logins
from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEXT = "machine example.org login me password word\nmachine other.org\nlogin a\npassword b:c\n"
ME = b"Basic bWU6d29yZA=="


def value(offered: Logins, name: str) -> bytes | None:
    """What the builder is given for *name*."""
    found = offered.get(name)
    return found() if callable(found) else found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A netrc file."""
    place = tmp_path / "logins"
    place.write_text(TEXT)
    place.chmod(0o600)
    return place


def test_the_usual_file(file: Path) -> None:
    """Without a choice it is the one in the user's home, and none is no error."""
    home = file.parent
    assert value(Logins(None, {"HOME": str(home)}), "nixbk-netrc") is None
    (home / ".netrc").write_text(TEXT)
    assert value(Logins(None, {"HOME": str(home)}), "nixbk-netrc") == TEXT.encode()


def test_the_choice_of_the_user(file: Path, tmp_path: Path) -> None:
    """The option comes before the variable; both must name a file that is there."""
    other = tmp_path / "other"
    other.write_text("machine x login y password z")
    variables = {"NETRC": str(other)}
    assert value(Logins(None, variables), "nixbk-netrc") == other.read_bytes()
    assert value(Logins(file, variables), "nixbk-netrc") == TEXT.encode()
    for chosen, environ in ((tmp_path / "none", {}), (None, {"NETRC": str(tmp_path / "none")})):
        with pytest.raises(NixbkError) as caught:
            Logins(chosen, environ)
        assert str(caught.value).endswith(f"there is no file '{tmp_path / 'none'}'")


def test_headers_of_hosts(file: Path) -> None:
    """BuildKit is given the login of the host it asks about, and no other."""
    found = Logins(file, {})
    assert value(found, "HTTP_AUTH_HEADER_example.org") == ME
    assert value(found, "HTTP_AUTH_HEADER_other.org") == b"Basic YTpiOmM="
    assert value(found, "HTTP_AUTH_HEADER_third.org") is None
    assert value(found, "HTTP_AUTH_TOKEN_example.org") is None
    file.write_text("default login me password word")
    assert value(found, "HTTP_AUTH_HEADER_third.org") == ME


BROKEN: Mapping[str, bytes] = {"no netrc": b"machine", "no text": b"\xff\xfe"}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_has_no_login(file: Path, data: bytes) -> None:
    """The server says that it wants one."""
    file.write_bytes(data)
    assert value(Logins(file, {}), "HTTP_AUTH_HEADER_example.org") is None


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nix's variable comes first, the machine's own last; what is not there counts as none."""
    nix, other, own = tmp_path / "nix.pem", tmp_path / "other.pem", tmp_path / "own.pem"
    monkeypatch.setattr(logins, "SYSTEM_CERTIFICATES", own)
    nix.write_bytes(b"nix")
    other.write_bytes(b"other")
    both = {"NIX_SSL_CERT_FILE": str(nix), "SSL_CERT_FILE": str(other)}
    assert value(Logins(None, both), "nixbk-ca") == b"nix"
    nix.unlink()
    assert value(Logins(None, both), "nixbk-ca") == b"other"
    assert list(Logins(None, both)) == ["nixbk-ca"]
    assert not Logins(None, {})
    own.write_bytes(b"own")
    assert value(Logins(None, {}), "nixbk-ca") == b"own"
