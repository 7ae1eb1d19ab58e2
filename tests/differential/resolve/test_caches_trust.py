"""Whose word counts when locking: signatures, content, logins and certificates."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from binary_caches import STORE, CacheServer, edit_narinfo
from cached_projects import CachedProject, cache_table, words
from far_engines import Certificates
from http_server import Answer

if TYPE_CHECKING:
    from small_cache import SmallCache

PASSWORD = "op3n-sesame-17"  # noqa: S105  it opens nothing else
LOGIN = f"somebody:{PASSWORD}"
BASIC = base64.b64encode(LOGIN.encode()).decode()


def test_trust_false(small: SmallCache, cached: CachedProject) -> None:
    """Without a signature a path is taken from the cache that the manifest says so of, alone."""
    folder = small.of("app", "xz")
    with CacheServer(folder) as server:
        path = cached.of(small, "app", it=cache_table(server.url, small.key))
        said = words(cached.nixbk("lock", code=1).err)
        assert all(word in said for word in ("it", path, "sign")), said
        cached.of(small, "app", it=cache_table(server.url, trust=False))
        cached.nixbk("lock")
    assert cached.substitute(path).signatures == ()


def test_content_addressed_paths_need_no_signature(
    small: SmallCache, cached: CachedProject
) -> None:
    """Their own text says what they have to be."""
    folder = small.of("fixed", "xz")
    path = cached.of(small, "fixed", it=cache_table(f"file://{folder}", small.key))
    cached.nixbk("lock")
    assert cached.substitute(path).content_address == small.info("fixed")["CA"]
    edit_narinfo(folder, path, "CA", "fixed:sha256:" + "0" * 52)
    said = words(cached.nixbk("lock", "--refresh", code=1).err)
    assert all(word in said for word in ("it", path)), said
    assert any(word in said for word in ("CA", "sign")), said


def test_keys_count_for_all_caches(small: SmallCache, cached: CachedProject) -> None:
    """As with Nix, a key is trusted wherever it is written."""
    path = cached.of(
        small,
        "data",
        it=cache_table(f"file://{small.folder}"),
        nothing=cache_table(f"file://{small.scratch}/nothing", small.key, small.stranger),
    )
    (small.scratch / "nothing").mkdir(exist_ok=True)
    (small.scratch / "nothing" / "nix-cache-info").write_text(f"StoreDir: {STORE[:-1]}\n")
    cached.nixbk("lock")
    assert cached.sources(path) == ("it",)


def test_the_key_of_another(small: SmallCache, cached: CachedProject) -> None:
    """A signature by a key that the manifest does not have is none."""
    path = cached.of(small, "data", it=cache_table(f"file://{small.folder}", small.stranger))
    said = words(cached.nixbk("lock", code=1).err)
    assert all(word in said for word in ("it", path, "sign")), said


@pytest.mark.parametrize("url", ["../secret", "nar/../../secret", "/etc/passwd", "nar/%2e%2e/x"])
def test_a_folder_is_not_left(small: SmallCache, cached: CachedProject, url: str) -> None:
    """What a cache in a folder names is in that folder."""
    folder = small.subset(["tiny"])
    (folder.parent / "secret").write_text("not of this cache")
    path = cached.of(small, "tiny", it=cache_table(f"file://{folder}", small.key))
    edit_narinfo(folder, path, "URL", url)
    said = words(cached.nixbk("lock", code=1).err)
    assert all(word in said for word in ("it", path)), said
    assert not (cached.folder / "nixbk.lock").exists()


# Logins


def test_netrc(small: SmallCache, cached: CachedProject) -> None:
    """The login is the user's, and is written nowhere."""
    with CacheServer(small.folder, login=LOGIN) as server:
        path = cached.of(small, "app", it=cache_table(server.url, small.key))
        said = cached.nixbk("lock", code=1).err
        assert all(word in words(said) for word in ("it", "401", "netrc")), said
        netrc = cached.home / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login somebody password {PASSWORD}\n")
        done = cached.nixbk("lock")
        assert cached.sources(path) == ("it",)
        assert cached.telling(PASSWORD, BASIC) == [netrc]
        assert PASSWORD not in said + done.out + done.err


def test_token(small: SmallCache, tmp_path: Path) -> None:
    """A token is in a variable of the environment that the manifest names."""
    cached = CachedProject.make(tmp_path, CACHE_TOKEN=PASSWORD)
    with CacheServer(small.folder, token=PASSWORD) as server:
        table = cache_table(server.url, small.key)
        path = cached.of(small, "app", it={**table, "token-env": "NO_TOKEN"})
        said = cached.nixbk("lock", code=1).err
        assert "NO_TOKEN" in said or "401" in said
        cached.of(small, "app", it={**table, "token-env": "CACHE_TOKEN"})
        cached.nixbk("lock")
        assert cached.sources(path) == ("it",)
        assert cached.telling(PASSWORD) == []


def test_a_login_goes_to_nobody_else(small: SmallCache, cached: CachedProject) -> None:
    """A cache that sends us to another place does not send our login there."""
    (cached.home / ".netrc").write_text(f"machine 127.0.0.1 login somebody password {PASSWORD}\n")
    with CacheServer(small.folder) as elsewhere:
        place = elsewhere.url.replace("127.0.0.1", "localhost")

        class Sending(CacheServer):
            def _file(self, request: Any) -> Answer:
                found = super()._file(request)
                if found.status == 200 and "nix-cache-info" not in request.path:
                    return Answer(302, b"", {"Location": place + request.path})
                return found

        with Sending(small.folder, login=LOGIN) as server:
            path = cached.of(small, "tiny", it=cache_table(server.url, small.key))
            cached.nixbk("lock")
        assert cached.sources(path) == ("it",)
        assert elsewhere.asked("narinfo")
        assert elsewhere.asked("nar/")
        assert {r.headers.get("authorization") for r in elsewhere.requests} == {None}


def test_a_password_in_the_address_is_refused(small: SmallCache, cached: CachedProject) -> None:
    """It would be in the lock and in messages, so it goes to a netrc."""
    cached.of(small, "data", it=cache_table(f"http://{LOGIN}@127.0.0.1:1", small.key))
    said = cached.nixbk("lock", code=1).err
    assert "netrc" in said
    assert PASSWORD not in said


# TLS


def test_private_certificates(small: SmallCache, cached: CachedProject) -> None:
    """A cache is trusted by the certificate that the manifest names, and not without it."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    certs = cached.folder / "certs"
    certs.mkdir()
    _, certificate, key = Certificates(certs).server
    with CacheServer(small.folder, (Path(certificate), Path(key))) as server:
        path = cached.of(small, "app", it=cache_table(server.url, small.key))
        said = words(cached.nixbk("lock", code=1).err)
        assert all(word in said for word in ("it", "certificate")), said
        table = cache_table(server.url, small.key)
        cached.of(small, "app", it={**table, "ca-file": "certs/ca.pem"})
        cached.nixbk("lock")
        assert cached.sources(path) == ("it",)
