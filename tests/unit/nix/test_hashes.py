from __future__ import annotations

import pytest

from nixbk.nix.hashes import Hash, HashAlgorithm, HashError

# Of "abc", as `nix hash file --type A --F` of Nix 2.34.8 prints them.
SPELLINGS = {
    HashAlgorithm.MD5: (
        "900150983cd24fb0d6963f7d28e17f72",
        "3jgzhjhz9zjvbb0kyj7jc500ch",
        "kAFQmDzST7DWlj99KOF/cg==",
    ),
    HashAlgorithm.SHA1: (
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "kpcd173cq987hw957sx6m0868wv3x6d9",
        "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",
    ),
    HashAlgorithm.SHA256: (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
        "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
    ),
    HashAlgorithm.SHA512: (
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "2gs8k559z4rlahfx0y688s49m2vvszylcikrfinm30ly9rak69236nkam5ydvly1ai7xac99vxfc4ii84hawjbk87"
            "6blyk1jfhkbbyx"
        ),
        "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==",
    ),
}


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_every_spelling_is_printed(algorithm: HashAlgorithm) -> None:
    """A hash prints as Nix prints it in each base."""
    known = Hash.of(b"abc", algorithm)
    base16, base32, base64 = SPELLINGS[algorithm]
    printed = (known.base16(), known.base32(), known.base64(), known.sri(), str(known))
    assert printed == (base16, base32, base64, f"{algorithm}-{base64}", f"{algorithm}-{base64}")


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_every_spelling_is_read(algorithm: HashAlgorithm) -> None:
    """All spellings of a hash are the same hash, whether the algorithm is named or known."""
    expected = Hash.of(b"abc", algorithm)
    base16, base32, base64 = SPELLINGS[algorithm]
    for text in (base16, base16.upper(), base32, base64):
        assert Hash.parse(text, algorithm) == expected
        assert Hash.parse(f"{algorithm}:{text}") == expected
        assert Hash.parse(f"{algorithm}:{text}", algorithm) == expected
    for text in (base64, base64.rstrip("=")):
        assert Hash.parse(f"{algorithm}-{text}") == expected
        assert Hash.parse(f"{algorithm}-{text}", algorithm) == expected


ZEROS = "0" * 64
BAD: dict[str, tuple[str, HashAlgorithm | None, str]] = {
    "no algorithm": (
        ZEROS,
        None,
        (
            f"the hash {ZEROS!r} does not say of which algorithm it is\n"
            "  hint: write it as 'sha256-…' (SRI) or 'sha256:…'"
        ),
    ),
    "unknown algorithm": (
        "sha3:00",
        None,
        "unknown hash algorithm 'sha3'\n  hint: nixbk knows md5, sha1, sha256 and sha512",
    ),
    "another algorithm": (
        f"sha256:{ZEROS}",
        HashAlgorithm.SHA1,
        f"the hash 'sha256:{ZEROS}' should be one of sha1",
    ),
    "empty": ("", HashAlgorithm.MD5, "the hash '' has the wrong length for md5"),
    "wrong length": (
        "sha256:00",
        None,
        "the hash 'sha256:00' has the wrong length for sha256",
    ),
    "no base 16": (
        "g" * 32,
        HashAlgorithm.MD5,
        f"the hash '{'g' * 32}' has a character that is no base-16 digit",
    ),
    "no base 32": (
        "e" * 26,
        HashAlgorithm.MD5,
        (
            f"the hash '{'e' * 26}' is no base-32 hash:"
            f" invalid character 'e' in the base-32 text '{'e' * 26}'"
        ),
    ),
    "no base 64": (
        "!" * 24,
        HashAlgorithm.MD5,
        f"the hash '{'!' * 24}' is no base-64 text",
    ),
    "short SRI": (
        "sha1-AAAA",
        None,
        "the hash 'sha1-AAAA' has 3 bytes, where sha1 has 20",
    ),
    "SRI cut within a byte": (
        "sha1-AAAAA",
        None,
        "the hash 'sha1-AAAAA' is no base-64 text",
    ),
    "padding in the middle": (
        "md5-kAFQmDzST7DWlj==99KOF/cg",
        None,
        "the hash 'md5-kAFQmDzST7DWlj==99KOF/cg' is no base-64 text",
    ),
    "too much padding": (
        "md5-kAFQmDzST7DWlj99KOF/cg===",
        None,
        "the hash 'md5-kAFQmDzST7DWlj99KOF/cg===' is no base-64 text",
    ),
}


@pytest.mark.parametrize(("text", "algorithm", "message"), BAD.values(), ids=BAD)
def test_bad_hashes_are_refused(text: str, algorithm: HashAlgorithm | None, message: str) -> None:
    """What is no hash, or not the one that is asked for, is refused with the reason."""
    with pytest.raises(HashError) as caught:
        Hash.parse(text, algorithm)
    assert str(caught.value) == message


def test_a_digest_has_the_length_of_its_algorithm() -> None:
    """A hash cannot be built from a digest of another length."""
    with pytest.raises(HashError, match=r"^a sha1 digest has 20 bytes, not 32$"):
        Hash(HashAlgorithm.SHA1, bytes(32))
