from __future__ import annotations

import pytest

from nixbk.nix import base32

# The digests of "abc", as `nix hash file --base32` of Nix 2.34.8 prints them.
KNOWN = {
    "nothing": ("", ""),
    "a byte": ("ff", "7z"),
    "md5": ("900150983cd24fb0d6963f7d28e17f72", "3jgzhjhz9zjvbb0kyj7jc500ch"),
    "sha1": ("a9993e364706816aba3e25717850c26c9cd0d89d", "kpcd173cq987hw957sx6m0868wv3x6d9"),
    "sha256": (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
    ),
}


@pytest.mark.parametrize(("base16", "text"), KNOWN.values(), ids=KNOWN)
def test_known_texts_are_read_and_printed(base16: str, text: str) -> None:
    """The text of a number is the one Nix prints, and is read as the same bytes."""
    assert base32.encode(bytes.fromhex(base16)) == text
    assert base32.decode(text) == bytes.fromhex(base16)


BAD = {
    "a letter that is no digit": ("e0", "invalid character 'e' in the base-32 text 'e0'"),
    "upper case": ("A0", "invalid character 'A' in the base-32 text 'A0'"),
    "a digit of another script": ("1٣", "invalid character '٣' in the base-32 text '1٣'"),
    "an underscore": ("1_", "invalid character '_' in the base-32 text '1_'"),
    "one digit": ("0", "the base-32 text '0' has an impossible length, 1"),
    "three digits": ("000", "the base-32 text '000' has an impossible length, 3"),
    "spare bits set": ("80", "the base-32 text '80' has bits beyond its last byte"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_texts_are_refused(text: str, message: str) -> None:
    """A text that no bytes have is refused with the reason."""
    with pytest.raises(base32.Base32Error) as caught:
        base32.decode(text)
    assert str(caught.value) == message
