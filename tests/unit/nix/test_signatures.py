"""Keys and signatures are those of Ed25519, spelled as Nix does."""

from __future__ import annotations

import base64

import pytest

from nixbk.nix.hashes import Hash
from nixbk.nix.signatures import (
    PublicKey,
    SecretKey,
    Signature,
    SignatureError,
    fingerprint,
    verify,
)
from nixbk.nix.store_path import StorePath

# RFC 8032, section 7.1: test 1, test 2, and the test of a SHA-512.
RFC = {
    "nothing": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
            "1cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    "a byte": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
            "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    "a digest": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c6"
            "6431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
}


@pytest.mark.parametrize(("seed", "public", "data", "signature"), RFC.values(), ids=RFC)
def test_ed25519(seed: str, public: str, data: str, signature: str) -> None:
    """What is signed is what the standard says."""
    key = SecretKey("a-1", bytes.fromhex(seed))
    assert key.public == PublicKey("a-1", bytes.fromhex(public))
    signed = key.sign(bytes.fromhex(data))
    assert Signature.parse(signed) == Signature("a-1", bytes.fromhex(signature))
    assert verify(bytes.fromhex(data), signed, {"a-1": key.public})


SECRET = SecretKey("a-1", bytes(range(32)))
PUBLIC = SECRET.public
DATA = b"1;data"
SIGNED = SECRET.sign(DATA)
RAW = Signature.parse(SIGNED).signature
ORDER = 2**252 + 27742317777372353535851937790883648493
MALLEABLE = RAW[:32] + (int.from_bytes(RAW[32:], "little") + ORDER).to_bytes(32, "little")


def _text(raw: bytes, name: str = "a-1") -> str:
    return f"{name}:{base64.b64encode(raw).decode()}"


VERDICTS = {
    "right": (DATA, SIGNED, {"a-1": PUBLIC}, True),
    "without padding": (DATA, SIGNED.rstrip("="), {"a-1": PUBLIC}, True),
    "other data": (b"1;datA", SIGNED, {"a-1": PUBLIC}, False),
    "no keys": (DATA, SIGNED, {}, False),
    "another name": (DATA, SIGNED, {"a-2": PublicKey("a-2", PUBLIC.key)}, False),
    "the name of another": (DATA, _text(RAW, "a-2"), {"a-1": PUBLIC}, False),
    "a key under a wrong name": (DATA, SIGNED, {"a-1": PublicKey("a-2", PUBLIC.key)}, False),
    "another key": (DATA, SIGNED, {"a-1": SecretKey("a-1", bytes(32)).public}, False),
    "a key that is no point": (DATA, SIGNED, {"a-1": PublicKey("a-1", b"\xff" * 32)}, False),
    "an altered signature": (DATA, _text(bytes([RAW[0] ^ 1]) + RAW[1:]), {"a-1": PUBLIC}, False),
    "a signature made anew by adding the order": (DATA, _text(MALLEABLE), {"a-1": PUBLIC}, False),
    "a short signature": (DATA, _text(RAW[:-1]), {"a-1": PUBLIC}, False),
    "a long signature": (DATA, _text(RAW + b"\0"), {"a-1": PUBLIC}, False),
    "a signature of nulls": (DATA, _text(bytes(64)), {"a-1": PUBLIC}, False),
    "no text": (DATA, "", {"a-1": PUBLIC}, False),
    "no colon": (DATA, "a-1", {"a-1": PUBLIC}, False),
    "no name": (DATA, _text(RAW, ""), {"": PUBLIC}, False),
    "no signature": (DATA, "a-1:", {"a-1": PUBLIC}, False),
    "no base 64": (DATA, "a-1:" + "é" * 88, {"a-1": PUBLIC}, False),
    "more after it": (DATA, SIGNED + "\n" + SIGNED, {"a-1": PUBLIC}, False),
}


@pytest.mark.parametrize(("data", "signature", "keys", "right"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(data: bytes, signature: str, keys: dict[str, PublicKey], right: bool) -> None:
    """A signature holds for its data and its key by its name, and nothing else does."""
    assert verify(data, signature, keys) is right


A, B = (StorePath(bytes([byte]) * 20, name) for byte, name in ((0, "a"), (1, "b")))
HASH = Hash.of(b"content")
HEAD = f"1;{A};sha256:{HASH.base32()};120;"
FINGERPRINTS = {
    "no references": ((), HEAD),
    "itself": ((A,), f"{HEAD}{A}"),
    "sorted": ((B, A), f"{HEAD}{A},{B}"),
    "once": ((B, A, B), f"{HEAD}{A},{B}"),
}


@pytest.mark.parametrize(("references", "text"), FINGERPRINTS.values(), ids=FINGERPRINTS)
def test_fingerprints(references: tuple[StorePath, ...], text: str) -> None:
    """The fingerprint names path, archive and references, whatever their order."""
    assert fingerprint(A, HASH, 120, references) == text.encode()


def test_texts() -> None:
    """What is printed is read again; a file may end its line."""
    assert PublicKey.parse(f" {PUBLIC}\n") == PUBLIC
    assert SecretKey.parse(f"{SECRET.to_text()}\n") == SECRET
    assert str(Signature.parse(SIGNED)) == SIGNED
    assert str(PUBLIC) == "a-1:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="


def test_new_keys() -> None:
    """A new key is another each time, and verifies what it signs."""
    one, two = SecretKey.generate("a b"), SecretKey.generate("a b")
    assert one != two
    assert SecretKey.parse(one.to_text()) == one
    assert verify(b"", one.sign(b""), {"a b": one.public})
    assert not verify(b"", one.sign(b""), {"a b": two.public})


WRONG_PUBLIC = {
    "nothing": ("", "'' is no public key: it has no ':'"),
    "no colon": ("abc", "'abc' is no public key: it has no ':'"),
    "no name": (":AAAA", "the public key has no name before its ':'"),
    "no key": ("a:", "the public key 'a' is not followed by base-64 text"),
    "no base 64": ("a:*", "the public key 'a' is not followed by base-64 text"),
    "a digit too many": ("a:AAAAA", "the public key 'a' is not followed by base-64 text"),
    "too short": ("a:AAAA", "the public key 'a' has 3 bytes, not 32"),
    "a secret key": (SECRET.to_text(), "the public key 'a-1' has 64 bytes, not 32"),
    "a control character": ("a\tb:AAAA", "'a\\tb' is no name of a public key"),
    "no text": ("a\udcff:AAAA", "'a\\udcff' is no name of a public key"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_PUBLIC.values(), ids=WRONG_PUBLIC)
def test_wrong_public_keys(text: str, message: str) -> None:
    """What is no public key is refused with the reason."""
    with pytest.raises(SignatureError) as caught:
        PublicKey.parse(text)
    assert caught.value.message == message


HALF = base64.b64encode(SECRET.seed + bytes(32)).decode()
WRONG_SECRET = {
    "no colon": (HALF, "the text is no secret key: it has no ':'"),
    "a public key": (str(PUBLIC), "the secret key 'a-1' has 32 bytes, not 64"),
    "another public half": (f"a:{HALF}", "the secret key 'a' does not go with its own public key"),
    "no base 64": (f"a:{HALF}*", "the secret key 'a' is not followed by base-64 text"),
    "a digit too many": (f"a:{HALF[:-3]}", "the secret key 'a' is not followed by base-64 text"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_SECRET.values(), ids=WRONG_SECRET)
def test_wrong_secret_keys(text: str, message: str) -> None:
    """What is no secret key is refused, and not told."""
    with pytest.raises(SignatureError) as caught:
        SecretKey.parse(text)
    assert caught.value.message == message
    assert HALF[:20] not in f"{caught.value!s}{caught.value!r}{caught.value.__cause__!r}"


def test_secrets_are_hidden() -> None:
    """A key that is printed by accident tells its name alone."""
    assert f"{SECRET} {SECRET!r}" == "SecretKey(name='a-1') SecretKey(name='a-1')"


def test_names_must_be_readable() -> None:
    """A name with a colon would be read as another."""
    for name in ("", "a:b", "a\n"):
        with pytest.raises(SignatureError):
            SecretKey(name, bytes(32))
        with pytest.raises(SignatureError):
            Signature(name, bytes(64))
