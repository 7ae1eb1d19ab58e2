from __future__ import annotations

import pytest

from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.nar import file_nar
from nixbk.nix.store_path import (
    IngestionMethod,
    StorePath,
    StorePathError,
    fixed_output_path,
    output_path,
    source_path,
    text_path,
)

HELLO = "/nix/store/0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c-hello-2.10"


def test_a_path_is_its_parts() -> None:
    """The text, the base name and the fields of a path agree."""
    path = StorePath.parse(HELLO)
    assert (str(path), path.basename, path.name) == (
        HELLO,
        "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c-hello-2.10",
        "hello-2.10",
    )
    assert StorePath(path.digest, path.name) == path
    assert StorePath.from_basename(path.basename) == path
    assert not path.is_derivation
    assert StorePath.parse(HELLO + ".drv").is_derivation


def test_paths_sort_as_their_texts() -> None:
    """The order is that of the texts, which is not that of the digests."""
    texts = [f"/nix/store/{head}{'0' * 30}{tail}-x" for head in "0az" for tail in "0az"]
    assert [str(path) for path in sorted(map(StorePath.parse, reversed(texts)))] == texts


BAD_PATHS = {
    "elsewhere": ("/usr/bin/env", "the path '/usr/bin/env' is not in the Nix store"),
    "the store": (
        "/nix/store/",
        "'/nix/store/' is no store path: no '-' follows a digest of 32 characters",
    ),
    "below a path": (
        HELLO + "/bin",
        (
            f"'{HELLO}/bin' is no store path: the store path name 'hello-2.10/bin' has a character"
            " other than letters, digits and +-._?="
        ),
    ),
    "not canonical": (
        "/nix//store/" + HELLO[11:],
        f"the path '/nix//store/{HELLO[11:]}' is not in the Nix store",
    ),
    "short digest": (
        "/nix/store/0c0c-hello",
        "'/nix/store/0c0c-hello' is no store path: no '-' follows a digest of 32 characters",
    ),
    "bad digest": (
        "/nix/store/" + "e" * 32 + "-x",
        (
            f"'/nix/store/{'e' * 32}-x' is no store path: invalid character 'e' in the base-32 text"
            f" '{'e' * 32}'"
        ),
    ),
    "no name": (
        HELLO[:44],
        f"'{HELLO[:44]}' is no store path: the name of a store path is empty",
    ),
    "a line break": (
        HELLO + "\n",
        (
            f"'{HELLO}\\n' is no store path: the store path name 'hello-2.10\\n' has a character"
            " other than letters, digits and +-._?="
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD_PATHS.values(), ids=BAD_PATHS)
def test_bad_paths_are_refused(text: str, message: str) -> None:
    """What is not exactly a store path is refused with the reason."""
    with pytest.raises(StorePathError) as caught:
        StorePath.parse(text)
    assert str(caught.value) == message


NAMES = {
    "plain": ("hello", True),
    "all characters": ("aZ09+-._?=", True),
    "longest": ("a" * 211, True),
    "too long": ("a" * 212, False),
    "empty": ("", False),
    "dot": (".", False),
    "two dots": ("..", False),
    "dot and dash": (".-a", False),
    "two dots and dash": ("..-a", False),
    "three dots": ("...", True),
    "dot and letter": (".a", True),
    "dot and line break": (".\n", False),
    "slash": ("a/b", False),
    "not ASCII": ("é", False),
    "digit of another script": ("٣", False),
}


@pytest.mark.parametrize(("name", "is_good"), NAMES.values(), ids=NAMES)
def test_names_follow_nix(name: str, is_good: bool) -> None:
    """A name is taken exactly when Nix's ``checkName`` takes it."""
    if is_good:
        assert StorePath(bytes(20), name).name == name
    else:
        with pytest.raises(StorePathError):
            StorePath(bytes(20), name)


def test_a_digest_has_twenty_bytes() -> None:
    """A path cannot be built from another digest."""
    with pytest.raises(StorePathError, match=r"^the digest of a store path has 20 bytes, not 32$"):
        StorePath(bytes(32), "x")


# From `nix-instantiate --eval` of Nix 2.34.8:
# builtins.toFile "foo" "bar", and builtins.path of a file "abc" that holds "abc".
def test_text_paths() -> None:
    """A text's path follows from its content and references."""
    foo = text_path("foo", b"bar")
    assert str(foo) == "/nix/store/vxjiwkjkn7x4079qvh1jkl5pn05j2aw0-foo"
    assert text_path("foo", b"bar", [foo]) != foo


def test_source_paths() -> None:
    """A source's path follows from its NAR hash and references."""
    nar_sha256 = Hash.of(file_nar(b"abc")).digest
    path = source_path("abc", nar_sha256)
    assert str(path) == "/nix/store/xzq37kpjpibgfqcsxyvc9kfa6s5aiykp-abc"
    referring = {
        source_path("abc", nar_sha256, [path]),
        source_path("abc", nar_sha256, self_reference=True),
        source_path("abc", nar_sha256, [path], self_reference=True),
    }
    assert len(referring | {path}) == 4


# From `nix-instantiate` of Nix 2.34.8 with `outputHash` of "abc" and each mode.
FIXED: dict[str, tuple[HashAlgorithm, IngestionMethod, str]] = {
    "flat sha256": (HashAlgorithm.SHA256, "flat", "4iq0mcxymblzl1gqy5qv51ncqb170c63-f"),
    "flat md5": (HashAlgorithm.MD5, "flat", "rpi0a5pmm83lkmviqbvn01hcfy7gz6l9-f"),
    "recursive sha256": (HashAlgorithm.SHA256, "nar", "92mx48lzpi4pbjmxnj2hdspiss0vgr6s-f"),
    "recursive md5": (HashAlgorithm.MD5, "nar", "5f5vgzwxzzikdq6lq4adx8dx3ddagycg-f"),
    "git sha1": (HashAlgorithm.SHA1, "git", "ijicdi3ka20vac7mnrqzrwn0sqcsw552-f"),
    "text": (HashAlgorithm.SHA256, "text", "3qxcknynrpqada68505x6glcp8wfpm7x-t"),
}


@pytest.mark.parametrize(("algorithm", "method", "expected"), FIXED.values(), ids=FIXED)
def test_fixed_output_paths(
    algorithm: HashAlgorithm, method: IngestionMethod, expected: str
) -> None:
    """A fixed output's path follows from its hash alone."""
    path = fixed_output_path(expected[-1], Hash.of(b"abc", algorithm), method)
    assert path.basename == expected


BAD_FIXED: dict[str, tuple[HashAlgorithm, IngestionMethod, str]] = {
    "git md5": (HashAlgorithm.MD5, "git", "the git tree 'f' must be hashed with sha1 or sha256"),
    "text sha1": (HashAlgorithm.SHA1, "text", "the text 'f' must be hashed with sha256"),
    "flat that refers": (
        HashAlgorithm.SHA256,
        "flat",
        "the fixed output 'f' may not refer to other store paths",
    ),
    "recursive sha1 that refers": (
        HashAlgorithm.SHA1,
        "nar",
        "the fixed output 'f' may not refer to other store paths",
    ),
}


@pytest.mark.parametrize(("algorithm", "method", "message"), BAD_FIXED.values(), ids=BAD_FIXED)
def test_impossible_fixed_outputs_are_refused(
    algorithm: HashAlgorithm, method: IngestionMethod, message: str
) -> None:
    """A hash that the method cannot have, and references it cannot hold, are refused."""
    with pytest.raises(StorePathError) as caught:
        fixed_output_path("f", Hash.of(b"abc", algorithm), method, [StorePath.parse(HELLO)])
    assert str(caught.value) == message


def test_output_paths_carry_the_output_name() -> None:
    """All outputs but ``out`` are named after it, and have digests of their own."""
    out, dev = output_path("x", "out", bytes(32)), output_path("x", "dev", bytes(32))
    assert (out.name, dev.name) == ("x", "x-dev")
    assert out.digest != dev.digest


def test_names_of_outputs_are_checked() -> None:
    """A made path obeys the rules that a read one does."""
    with pytest.raises(StorePathError, match=r"^the store path name 'a b' has a character"):
        output_path("a b", "out", bytes(32))
