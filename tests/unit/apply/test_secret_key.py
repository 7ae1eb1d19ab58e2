"""The file of a secret key is read, and nothing of it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixbk.apply.secret_key import NO_KEY, SecretKeyError, read_secret_key
from nixbk.nix.signatures import SecretKey

if TYPE_CHECKING:
    from pathlib import Path

KEY = SecretKey("cache.test-1", b"k" * 32)
TEXT = KEY.to_text()
BASE64 = TEXT.partition(":")[2]
BAD = {
    "empty": b"",
    "no name": f":{BASE64}".encode(),
    "no colon": BASE64.encode(),
    "the wrong way round": f"{BASE64}:cache.test-1".encode(),
    "cut": TEXT[:-20].encode(),
    "another's second half": TEXT.replace(BASE64[-20:], SecretKey("x", b"l" * 32).to_text()[-20:])
    .encode(),
    "two": f"{TEXT}\n{TEXT}".encode(),
    "bytes": b"\xff\xfe" + TEXT.encode(),
    "long": TEXT.encode() + b" " * 5000,
}  # fmt: skip


def write(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    """A file with *data*."""
    file = folder / "key"
    file.write_bytes(data)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_key_of_nix(tmp_path: Path, end: str) -> None:
    """With or without an end of its line."""
    said: list[str] = []
    assert read_secret_key(write(tmp_path, f"{TEXT}{end}".encode()), said.append) == KEY
    assert said == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
def test_others_may_not_read_it(tmp_path: Path, mode: int) -> None:
    """If they may, it is used, and the user is told."""
    said: list[str] = []
    file = write(tmp_path, TEXT.encode(), mode)
    assert read_secret_key(file, said.append) == KEY
    assert said == [
        f"others may read or change the secret key {str(file)!r}; 'chmod 600' keeps it secret"
    ]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_key(tmp_path: Path, name: str) -> None:
    """The message has nothing of the file."""
    file = write(tmp_path, BAD[name])
    with pytest.raises(SecretKeyError) as caught:
        read_secret_key(file, lambda _: None)
    assert (caught.value.message, caught.value.where) == (NO_KEY, str(file))
    assert "nix-store --generate-binary-cache-key" in str(caught.value.hint)
    assert caught.value.__suppress_context__


def test_the_public_key(tmp_path: Path) -> None:
    """Is told apart."""
    with pytest.raises(SecretKeyError) as caught:
        read_secret_key(write(tmp_path, str(KEY.public).encode()), lambda _: None)
    assert caught.value.hint == "it is the public key; the secret one is wanted"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """The message has the file and why."""
    for file, why in ((tmp_path / "none", "no such file or directory"), (tmp_path, "directory")):
        with pytest.raises(SecretKeyError, match=f"cannot read the file: .*{why}") as caught:
            read_secret_key(file, lambda _: None)
        assert caught.value.where == str(file)
