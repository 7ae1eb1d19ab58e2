"""What a cache tells of a path is read and printed as Nix does, or refused with the field named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.narinfo import NarInfo, NarInfoError
from nixbk.nix.signatures import PublicKey, verify
from nixbk.nix.store_path import StorePath

# As the public cache of NixOS tells them.
NET_TOOLS = b"""\
StorePath: /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60_p20170221182432
URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz
Compression: xz
FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d
FileSize: 114980
NarHash: sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6
NarSize: 464152
References: 7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27
Deriver: 10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60_p20170221182432.drv
Sig: cache.nixos.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==
"""  # noqa: E501 - as it is
HELLO = b"""\
StorePath: /nix/store/gdh8165b7rg4y53v64chjys7mbbw89f9-hello-2.10
URL: nar/0i6ardx43rdg24ab1nc3mq7f5ykyiamymh1v37gxdv5xh5cm0cmb.nar.xz
Compression: xz
FileHash: sha256:0i6ardx43rdg24ab1nc3mq7f5ykyiamymh1v37gxdv5xh5cm0cmb
FileSize: 40360
NarHash: sha256:1ddv0iqq47j0awyw7a8dmm8bz71c6ifrliq53kmmsfzjxf3rwvb8
NarSize: 197528
References: 7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27 gdh8165b7rg4y53v64chjys7mbbw89f9-hello-2.10
Deriver: 5sj6fdfym58sdaf3r5p87v4l8sj2zlvn-hello-2.10.drv
Sig: cache.nixos.org-1:K0thQEG60rzAK8ZS9f1whb7eRlIshlMDJAm7xvX1oF284H+PTqlicv/wGW6BIj+wWWONHvUZ2MYc+KDArekjDA==
"""  # noqa: E501 - as it is
KEY = PublicKey.parse("cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=")
GLIBC = StorePath.from_basename("7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27")
INFO = NarInfo.parse(NET_TOOLS)


@pytest.mark.parametrize("data", [NET_TOOLS, HELLO], ids=["net-tools", "hello"])
def test_a_public_cache(data: bytes) -> None:
    """What the public cache tells is printed again byte for byte, and its signature is one."""
    info = NarInfo.parse(data)
    assert info.to_bytes() == data
    assert verify(info.fingerprint, info.signatures[0], {KEY.name: KEY})
    lie = replace(info, nar_size=info.nar_size + 1)
    assert not verify(lie.fingerprint, lie.signatures[0], {KEY.name: KEY})


def test_every_field() -> None:
    """Each field is read into its place."""
    assert (
        NarInfo(
            store_path=StorePath.from_basename(
                "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60_p20170221182432"
            ),
            url="nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz",
            compression="xz",
            file_hash=Hash.parse("sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d"),
            file_size=114980,
            nar_hash=Hash.parse("sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6"),
            nar_size=464152,
            references=(GLIBC,),
            deriver="10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60_p20170221182432.drv",
            signatures=(
                (
                    "cache.nixos.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/"
                    "LJjWkTZ+ZWOI9NTtjo/woMdvAg=="
                ),
            ),
            content_address="",
        )
        == INFO
    )


def _with(field: str, value: str | None, data: bytes = NET_TOOLS) -> bytes:
    """*data*, with another value of *field*, or without it."""
    lines = [line for line in data.decode().splitlines() if not line.startswith(f"{field}: ")]
    if value is not None:
        lines.append(f"{field}: {value}")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


NAR_BASE16 = "sha256:" + INFO.nar_hash.base16()
SIGNATURE = INFO.signatures[0]
TEXT = "text:sha256:" + "0" * 52
LENIENT: dict[str, tuple[bytes, dict[str, Any]]] = {
    "no compression": (_with("Compression", None), {"compression": "bzip2"}),
    "an empty compression": (_with("Compression", ""), {"compression": "bzip2"}),
    "an unknown compression": (_with("Compression", "br"), {"compression": "br"}),
    "no hash of the file": (_with("FileHash", None), {"file_hash": None}),
    "no size of the file": (_with("FileSize", None), {"file_size": None}),
    "a file of no size": (_with("FileSize", "0"), {"file_size": None}),
    "a size with zeros": (_with("NarSize", "00000000000000464152"), {}),
    "the largest size": (_with("NarSize", str(2**64 - 1)), {"nar_size": 2**64 - 1}),
    "a hash in base 16": (_with("NarHash", NAR_BASE16), {}),
    "a hash in base 64": (_with("NarHash", INFO.nar_hash.sri()), {}),
    "no references": (_with("References", ""), {"references": ()}),
    "no line of references": (_with("References", None), {"references": ()}),
    "references with spaces": (_with("References", f"  {GLIBC.basename} "), {}),
    "a reference twice": (_with("References", f"{GLIBC.basename} {GLIBC.basename}"), {}),
    "no deriver": (_with("Deriver", None), {"deriver": ""}),
    "an unknown deriver": (_with("Deriver", "unknown-deriver"), {"deriver": ""}),
    "no signature": (_with("Sig", None), {"signatures": ()}),
    "a signature twice": (NET_TOOLS + f"Sig: {SIGNATURE}\n".encode(), {}),
    "a signature without padding": (_with("Sig", SIGNATURE.rstrip("=")), {}),
    "an empty content address": (_with("CA", ""), {}),
    "a content address": (_with("CA", TEXT), {"content_address": TEXT}),
    "an absolute URL": (
        _with("URL", "https://host:1/x?y=z#%20"),
        {"url": "https://host:1/x?y=z#%20"},
    ),
    "unknown fields": (b"X-A: b\nB:c:d\nSystem: x\n: e\n" + NET_TOOLS + b"\xff:\xff\0\n", {}),
    "another order": (b"".join(reversed(NET_TOOLS.splitlines(keepends=True))), {}),
}


@pytest.mark.parametrize(("data", "changes"), LENIENT.values(), ids=LENIENT)
def test_what_nix_reads(data: bytes, changes: dict[str, Any]) -> None:
    """What Nix reads is read so, and is printed as Nix prints it."""
    expected = replace(INFO, **changes)
    info = NarInfo.parse(data)
    assert info == expected
    assert NarInfo.parse(info.to_bytes()) == expected


NO_END = "the narinfo does not end with a line feed"
WRONG = {
    "nothing": (b"", "StorePath", "it is missing"),
    "a page": (b"<html>\n", "", "line 1 is no field of a narinfo: '<html>'"),
    "no end": (NET_TOOLS[:-1], "", NO_END),
    "cut": (NET_TOOLS[:-20], "", NO_END),
    "an empty line": (NET_TOOLS + b"\n", "", "line 11 is no field of a narinfo: ''"),
    "a line without a value": (b"A:\n" + NET_TOOLS, "", "line 1 is no field of a narinfo: 'A:'"),
    "no space": (
        NET_TOOLS.replace(b"URL: nar", b"URL:nar"),
        "URL",
        "no space follows its ':'",
    ),
    "no path": (_with("StorePath", None), "StorePath", "it is missing"),
    "an empty path": (_with("StorePath", ""), "StorePath", "it is empty"),
    "another store": (
        _with("StorePath", "/gnu/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x"),
        "StorePath",
        "the path '/gnu/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x' is not in the Nix store",
    ),
    "a path twice": (
        NET_TOOLS + f"StorePath: {GLIBC}\n".encode(),
        "StorePath",
        "it is there more than once",
    ),
    "no URL": (_with("URL", None), "URL", "it is missing"),
    "an empty URL": (_with("URL", ""), "URL", "it is empty"),
    "a space in the URL": (
        _with("URL", "nar/a b"),
        "URL",
        "'nar/a b' is empty, or has a space or what is not printable ASCII",
    ),
    "a byte in the URL": (
        _with("URL", "\udcff"),
        "URL",
        "'\\udcff' is empty, or has a space or what is not printable ASCII",
    ),
    "a carriage return": (
        NET_TOOLS.replace(b"xz\nFile", b"xz\r\nFile"),
        "Compression",
        "'xz\\r' is empty, or has a space or what is not printable ASCII",
    ),
    "no hash": (_with("NarHash", None), "NarHash", "it is missing"),
    "a hash without its kind": (
        _with("NarHash", "0" * 52),
        "NarHash",
        f"the hash '{'0' * 52}' does not say of which algorithm it is",
    ),
    "a hash of another kind": (
        _with("NarHash", "sha1:" + "0" * 32),
        "NarHash",
        "it is a hash of sha1, not of sha256",
    ),
    "a file hash of another kind": (
        _with("FileHash", "sha512:" + "0" * 103),
        "FileHash",
        "it is a hash of sha512, not of sha256",
    ),
    "a short hash": (
        _with("FileHash", "sha256:0"),
        "FileHash",
        "the hash 'sha256:0' has the wrong length for sha256",
    ),
    "no size": (_with("NarSize", None), "NarSize", "it is missing"),
    "size zero": (_with("NarSize", "0"), "NarSize", "0 is no size of an archive"),
    "a negative size": (_with("NarSize", "-1"), "NarSize", "'-1' is no size in bytes"),
    "a size that is too large": (
        _with("NarSize", str(2**64)),
        "NarSize",
        "18446744073709551616 is no size of an archive",
    ),
    "a size of another script": (_with("FileSize", "٣"), "FileSize", "'٣' is no size in bytes"),
    "an empty file size": (_with("FileSize", ""), "FileSize", "'' is no size in bytes"),
    "a long size": (
        _with("NarSize", "1" * 100_000),
        "NarSize",
        f"'{'1' * 100}'… (cut) is no size in bytes",
    ),
    "a full path as a reference": (
        _with("References", str(GLIBC)),
        "References",
        f"'/nix/store/{GLIBC}' is no store path: no '-' follows a digest of 32 characters",
    ),
    "references twice": (
        NET_TOOLS + f"References: {GLIBC.basename}\n".encode(),
        "References",
        "it is there more than once",
    ),
    "a deriver that is none": (
        _with("Deriver", "x"),
        "Deriver",
        "'/nix/store/x' is no store path: no '-' follows a digest of 32 characters",
    ),
    "a signature without a name": (
        _with("Sig", ":AAAA"),
        "Sig",
        "the signature has no name before its ':'",
    ),
    "a signature that is none": (
        _with("Sig", "x"),
        "Sig",
        "'x' is no signature: it has no ':'",
    ),
    "a content address that is none": (
        _with("CA", "fixed:x"),
        "CA",
        "the hash 'x' does not say of which algorithm it is",
    ),
}


@pytest.mark.parametrize(("data", "field", "message"), WRONG.values(), ids=WRONG)
def test_what_is_refused(data: bytes, field: str, message: str) -> None:
    """What is no narinfo is refused, with the field and the reason."""
    with pytest.raises(NarInfoError) as caught:
        NarInfo.parse(data)
    assert (caught.value.field, str(caught.value)) == (
        field,
        f"{field}: {message}" if field else message,
    )


def test_no_error_is_longer_than_a_screen() -> None:
    """A cache cannot flood a terminal."""
    for field in ("StorePath", "References", "Deriver", "NarHash", "Sig", "CA", "URL"):
        with pytest.raises(NarInfoError) as caught:
            NarInfo.parse(_with(field, "sha256:" + "\x1b" * 1_000_000))
        assert len(str(caught.value)) < 600


INVALID: dict[str, dict[str, Any]] = {
    "URL": {"url": "nar/x\nSig: y"},
    "Compression": {"compression": ""},
    "FileHash": {"file_hash": Hash.of(b"", HashAlgorithm.SHA1)},
    "FileSize": {"file_size": 0},
    "NarHash": {"nar_hash": Hash.of(b"", HashAlgorithm.SHA512)},
    "NarSize": {"nar_size": -1},
    "Deriver": {"deriver": "x\nCA: y"},
    "Sig": {"signatures": ("a:AAAA\nCA: y",)},
    "CA": {"content_address": "text:sha256:x"},
}


@pytest.mark.parametrize(("field", "changes"), INVALID.items(), ids=INVALID)
def test_valid_once_built(field: str, changes: dict[str, Any]) -> None:
    """No value prints as what it is not."""
    with pytest.raises(NarInfoError) as caught:
        replace(INFO, **changes)
    assert caught.value.field == field


def test_the_order_of_signatures() -> None:
    """Signatures go by the names of their keys, then by their bytes, not by their texts."""
    by_name = ("a:AAAA", "a-1:AAAA", "a-1:/w==", "a-1:/wA=")
    info = replace(INFO, signatures=by_name[::-1])
    assert info.signatures == by_name
