"""Where a builder is sent for its downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.apply.downloads import Downloads
from nixbk.apply.pieces import Pieces
from nixbk.buildkit.uploads import URL_PREFIX, Uploads
from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DIGEST = "a" * 64
THROUGH_SESSION = URL_PREFIX + DIGEST
OPEN = "https://open.test/file"
PRIVATE = "http://private.test:8080/a/file?b=c"


@pytest.fixture
def netrc(tmp_path: Path) -> Path:
    """A file of logins."""
    file = tmp_path / "netrc"
    file.write_text("machine private.test\nlogin me\npassword word\n")
    return file


def test_a_login_is_used_here(netrc: Path) -> None:
    """A builder that asks for no login is handed what wants one."""
    downloads = Downloads(netrc, Uploads(), {})
    assert downloads.url(PRIVATE, DIGEST) == PRIVATE
    downloads.builder_logs_in = False
    assert downloads.url(PRIVATE, DIGEST) == THROUGH_SESSION
    assert downloads.url(OPEN, DIGEST) == OPEN


@pytest.mark.parametrize(
    "url", ["http://[private.test/", "http:///file", "http://me@private.test/"]
)
def test_what_is_no_address(netrc: Path, url: str) -> None:
    """The builder says what is wrong with it."""
    downloads = Downloads(netrc, Uploads(), {})
    downloads.builder_logs_in = False
    assert downloads.url(url, DIGEST) == url


def test_without_logins() -> None:
    """Nobody has to be handed anything."""
    downloads = Downloads(None, Uploads(), {})
    downloads.builder_logs_in = False
    assert downloads.url(PRIVATE, DIGEST) == PRIVATE


def test_pieces() -> None:
    """They are read in any size, and what fails is told in the session's way."""

    def chunks() -> Iterator[bytes]:
        yield b""
        yield b"abc"
        yield b"d"
        raise NixbkError("gone")

    with Pieces(chunks()) as file:
        assert [file.read(2), file.read(2), file.read()] == [b"ab", b"c", b"d"]
        with pytest.raises(OSError, match="gone"):
            file.read()
    with Pieces(iter([b"x"])) as file:
        assert [file.read(), file.read()] == [b"x", b""]
