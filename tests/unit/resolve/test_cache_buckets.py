"""Who the user is to a bucket, and what its server says of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pycurl
import pytest

from nixbk.errors import NixbkError
from nixbk.resolve.caches.address import CacheAddress
from nixbk.resolve.caches.attempts import LOGIN_HINT, Attempts
from nixbk.resolve.caches.buckets import Credentials, credentials, said
from nixbk.resolve.caches.cache import Cache
from nixbk.resolve.caches.curl import aim
from nixbk.resolve.caches.faults import (
    CacheError,
    CacheRefusedError,
    NotInCacheError,
)
from nixbk.resolve.caches.wire import Reply

if TYPE_CHECKING:
    from nixbk.resolve.caches.verdicts import Kind

FILES = {
    ".aws/credentials": (
        "[default]\naws_access_key_id = usual\naws_secret_access_key=s%1\n"
        "[team a]\naws_access_key_id=team\naws_secret_access_key=s2\naws_session_token = t2\n"
        "[half]\naws_access_key_id=half\n"
    ),
    ".aws/config": (
        "[default]\nregion=x\n[profile other]\naws_access_key_id=o\naws_secret_access_key=s3\n"
        "[profile sso]\nsso_session = here\n"
    ),
    "elsewhere": "[default]\naws_access_key_id=e\naws_secret_access_key=s4\n",
}
KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
FOUND: dict[str, tuple[str, dict[str, str], Credentials]] = {
    "the environment": ("", KEYS, Credentials("k", "s")),
    "of a short life": ("", {**KEYS, "AWS_SESSION_TOKEN": "t"}, Credentials("k", "s", "t")),
    "comes first": ("team a", KEYS, Credentials("k", "s")),
    "half of it": ("", {"AWS_ACCESS_KEY_ID": "k"}, Credentials("usual", "s%1")),
    "the usual": ("", {}, Credentials("usual", "s%1")),
    "a name": ("team a", {}, Credentials("team", "s2", "t2")),
    "a variable": ("", {"AWS_PROFILE": "team a"}, Credentials("team", "s2", "t2")),
    "the address": ("other", {"AWS_PROFILE": "team a"}, Credentials("o", "s3")),
    "another file": ("", {"AWS_SHARED_CREDENTIALS_FILE": "elsewhere"}, Credentials("e", "s4")),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user with files of credentials."""
    (tmp_path / ".aws").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def environ(home: Path, more: dict[str, str]) -> dict[str, str]:
    """Variables, with the paths among them below *home*."""
    paths = {name: str(home / text) for name, text in more.items() if name.endswith("_FILE")}
    return {"HOME": str(home), **more, **paths}


@pytest.mark.parametrize("name", FOUND)
def test_credentials(home: Path, name: str) -> None:
    """The environment comes first, as with Nix; then profiles in either file."""
    profile, more, expected = FOUND[name]
    found = credentials(profile, environ(home, more))
    assert found == expected
    assert repr(found) == f"Credentials(key_id={expected.key_id!r})"


def test_nobody(tmp_path: Path) -> None:
    """Without any, requests are not signed."""
    assert credentials("", {"HOME": str(tmp_path)}) is None
    assert credentials("", {"HOME": str(tmp_path), "AWS_PROFILE": ""}) is None


ABSENT = {"not there": "nobody", "half of it": "half", "another kind": "sso"}


@pytest.mark.parametrize("name", ABSENT)
def test_profiles_that_have_none(home: Path, name: str) -> None:
    """A name that leads to nothing is an error, and not the same as no name."""
    with pytest.raises(NixbkError) as caught:
        credentials(ABSENT[name], environ(home, {}))
    assert caught.value.message == (
        f"the profile {ABSENT[name]!r} has no aws_access_key_id and aws_secret_access_key"
    )
    assert caught.value.where == str(home / ".aws/credentials")


def test_files_that_are_none(home: Path) -> None:
    """What cannot be read is told without a line of it."""
    (home / "broken").write_text("hidden = 1\n")
    for file, message in (("broken", "it is no INI file"), (".aws", "is a directory")):
        with pytest.raises(NixbkError, match=message) as caught:
            credentials("", environ(home, {"AWS_SHARED_CREDENTIALS_FILE": file}))
        assert "hidden" not in str(caught.value)


# What servers say


def xml(code: str) -> bytes:
    """An answer as S3 gives it."""
    return f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>…</Message></Error>'.encode()


SAID: dict[str, tuple[int, bool, type[CacheError], str]] = {
    "NoSuchKey": (404, False, NotInCacheError, ""),
    "NoSuchBucket": (404, False, CacheError, "is the bucket's name right"),
    "AccessDenied": (403, True, CacheRefusedError, "without credentials a bucket gives"),
    "SignatureDoesNotMatch": (403, False, CacheRefusedError, "are the key and its secret"),
    "InvalidAccessKeyId": (403, False, CacheRefusedError, "are the key and its secret"),
    "ExpiredToken": (400, False, CacheRefusedError, "get new credentials"),
    "RequestTimeTooSkewed": (403, False, CacheRefusedError, "is this machine's clock right?"),
    "PermanentRedirect": (301, False, CacheError, "write the bucket's own region"),
    "AuthorizationHeaderMalformed": (400, False, CacheError, "write the bucket's own region"),
    "EntityTooLarge": (400, False, CacheError, "no more than 5 GiB"),
    "Unknown": (400, False, CacheError, ""),
}


@pytest.mark.parametrize("code", SAID)
def test_what_is_not_asked_again(code: str) -> None:
    """The code is told, and what to do about it."""
    status, private, expected, hint = SAID[code]
    reply = Reply(status, "https://c.example/x?secret", xml(code))
    with pytest.raises(CacheError) as caught:
        Attempts("main", "https://c.example/x", private=private).answered(reply)
    assert type(caught.value) is expected
    assert caught.value.message == f"HTTP {status} ({code}) from 'https://c.example/x'"
    assert hint in (caught.value.hint or "")


def test_a_file_that_may_not_be_there() -> None:
    """A bucket that nobody may list says the same of what it does not have."""
    with pytest.raises(NotInCacheError):
        Attempts("main", "u").answered(Reply(403, "u", xml("AccessDenied")))


def test_what_is_asked_again() -> None:
    """Some of its errors pass, whatever their status."""
    for status, code in ((400, "RequestTimeout"), (503, "SlowDown"), (500, "InternalError")):
        assert Attempts("main", "u").answered(Reply(status, "u", xml(code)))


OTHERS: dict[bytes, Kind] = {
    b"": "absent",
    b"<html>no</html>": "absent",
    b'<?xml version="1.0"?><Error><Code>BlobNotFound</Code></Error>': "absent",  # Azure's
}


@pytest.mark.parametrize("body", OTHERS, ids=repr)
def test_other_servers(body: bytes) -> None:
    """What a status means stays what it is where no code of S3 says more."""
    found = said(body, "absent")
    assert (found[1] if found else "absent") == OTHERS[body]


def test_other_servers_have_other_logins() -> None:
    """A server that is no bucket is let in to by a netrc."""
    with pytest.raises(CacheRefusedError) as caught:
        Attempts("main", "u").answered(Reply(401, "u", b"who?"))
    assert caught.value.hint == LOGIN_HINT


# How it is asked


def bucket(**more: object) -> Cache:
    """A cache in a bucket."""
    url = "s3://cache/p?endpoint=http://h.example:9000"
    return Cache("b", CacheAddress.parse(url, Path("/")), **more)  # type: ignore[arg-type]


def test_a_token_goes_along(tmp_path: Path) -> None:
    """To the server of the bucket, and to no other; no netrc counts for it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine h.example login a password hidden\n")
    mine = bucket(credentials=Credentials("k", "s", "t"), netrc=netrc)
    easy = pycurl.Curl()
    here, there = "http://h.example:9000/cache/p/x", "http://o.example/x"
    assert aim(easy, mine, here, {}) == ["x-amz-security-token: t"]
    assert aim(easy, mine, there, {}) == []
    assert aim(easy, bucket(netrc=netrc), here, {}) == []
    assert aim(easy, bucket(credentials=Credentials("k", "s")), here, {}) == []
    assert "'s'" not in repr(mine)
    assert (mine.is_private, bucket().is_private) == (True, False)


def test_a_libcurl_that_cannot_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before anything is asked."""
    monkeypatch.delattr(pycurl, "AWS_SIGV4")
    monkeypatch.setattr(pycurl, "version", "PycURL/1 libcurl/7.61.1 OpenSSL/1")
    mine = bucket(credentials=Credentials("k", "s"))
    with pytest.raises(NixbkError, match=r"newer libcurl to sign requests than libcurl/7\.61\.1"):
        aim(pycurl.Curl(), mine, "http://h.example:9000/cache/x", {})
