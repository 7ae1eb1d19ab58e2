"""The manifest: what it says, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import tomli
from pydantic import BaseModel

from nixbk.schema import manifest_model
from nixbk.schema.manifest import Image, Manifest, Platform
from nixbk.schema.manifest_file import parse_manifest
from nixbk.schema.platform import MACHINES, SYSTEMS
from nixbk.schema.problems import ManifestError

ROOT = Path(__file__).parents[3]
START = '[images.demo]\ninstallables = ["./default.nix#hello"]\n'

PROBLEMS = {
    "nothing": ("", ["nixbk.toml:1:1: missing key 'images'"]),
    "no image": ("images = {}", ["nixbk.toml:1:10: images: expected at least one image"]),
    "syntax": ("[images\n", ["nixbk.toml:1:8: expected ']' at the end of a table declaration"]),
    "unknown table": (
        f"{START}[input.nixpkgs]\nurl = 'path:.'",
        ["nixbk.toml:3:2: input: unknown key, did you mean 'inputs'?"],
    ),
    "unknown key": (
        f"{START}entrypiont = []",
        ["nixbk.toml:3:1: images.demo.entrypiont: unknown key, did you mean 'entrypoint'?"],
    ),
    "key of another table": (
        f"{START}stop_signal = 'SIGINT'",
        ["nixbk.toml:3:1: images.demo.stop_signal: unknown key, did you mean 'stop-signal'?"],
    ),
    "dotted keys": (
        'images.demo.installables = ["./a.nix"]\nimages.demo.layers.max = 0',
        ["nixbk.toml:2:26: images.demo.layers.max: expected at least 1, found 0"],
    ),
    "quoted key": (
        '[images."a.b"]\ninstallables = ["./a.nix"]\nuser = 3',
        ['nixbk.toml:3:8: images."a.b".user: expected a string, found a number'],
    ),
    "inline table in an array of tables": (
        (
            f"{START}[[images.demo.outputs]]\ntype = 'docker'\n"
            "[[images.demo.outputs]]\ntype = 'registry'\ninsecure = 'yes'"
        ),
        [
            (
                "nixbk.toml:7:12: images.demo.outputs[1].insecure: "
                "expected true or false, found a string"
            )
        ],
    ),
    "column behind wide letters": (
        'images.demo = { labels = { "ä€" = "é", b = 3 }, installables = ["./a.nix"] }',
        ["nixbk.toml:1:44: images.demo.labels.b: expected a string, found a number"],
    ),
    "missing key": (
        "[images.demo]\nuser = 'me'",
        ["nixbk.toml:1:9: images.demo: missing key 'installables'"],
    ),
    "empty": (
        "[images.demo]\ninstallables = []",
        ["nixbk.toml:2:16: images.demo.installables: expected at least one installable"],
    ),
    "platform": (
        f"{START}platforms = ['linux/arm46']",
        [
            (
                "nixbk.toml:3:14: images.demo.platforms[0]: expected one of "
                f"{', '.join(SYSTEMS)}, found 'linux/arm46'"
            ),
            "  hint: did you mean 'linux/arm64'?",
        ],
    ),
    "two platforms": (
        f"{START}platforms = ['linux/amd64', 'linux/arm64']",
        ["nixbk.toml:3:29: images.demo.platforms[1]: an image can have one platform for now"],
    ),
    "reference": (
        f"{START}name = 'Demo'",
        [
            (
                "nixbk.toml:3:8: images.demo.name: "
                "expected an image reference such as 'name:tag', found 'Demo'"
            )
        ],
    ),
    "key that is no reference": (
        "[images.Demo]\ninstallables = ['./a.nix']",
        [
            "nixbk.toml:1:9: images.Demo: 'Demo' is no image name",
            "  hint: write 'images.Demo.name'",
        ],
    ),
    "variable": (
        f"{START}env = {{ 'A=B' = 'x' }}",
        ["nixbk.toml:3:9: images.demo.env.\"A=B\": expected the name of a variable, found 'A=B'"],
    ),
    "output": (
        f"{START}outputs = [{{ type = 'dcoker' }}]",
        [
            (
                "nixbk.toml:3:12: images.demo.outputs[0]: "
                "expected one of docker, oci, registry, found 'dcoker'"
            ),
            "  hint: did you mean 'docker'?",
        ],
    ),
    "output without type": (
        f"{START}outputs = [{{ path = 'x' }}]",
        ["nixbk.toml:3:12: images.demo.outputs[0]: missing key 'type'"],
    ),
    "date": (
        f"{START}user = 2026-01-01",
        ["nixbk.toml:3:8: images.demo.user: expected a string, found a date or time"],
    ),
    "input that is none": (
        "inputs.nixpkgs = 'path:.'\n[images.demo]\ninstallables = ['nixpkg#hello']",
        [
            "nixbk.toml:3:17: images.demo.installables[0]: 'nixpkg' is no input",
            "  hint: did you mean 'nixpkgs'?",
        ],
    ),
    "registry": (
        "[images.demo]\ninstallables = ['nixpkgs#hello']",
        [
            "nixbk.toml:2:17: images.demo.installables[0]: 'nixpkgs' is no input",
            "  hint: declare it as 'inputs.nixpkgs.url', or write './nixpkgs' for a folder",
        ],
    ),
    "twice": (
        "[images.demo]\ninstallables = ['./a.nix', './a.nix']",
        ["nixbk.toml:2:28: images.demo.installables[1]: './a.nix' is listed twice"],
    ),
    "expansion of nothing": (
        f"{START}cmd = ['${{./default.nix#helo}}']",
        [
            (
                "nixbk.toml:3:8: images.demo.cmd[0]: "
                "'./default.nix#helo' is no installable of this image"
            ),
            "  hint: did you mean './default.nix#hello'?",
        ],
    ),
    "expansion without end": (
        f"{START}labels.x = 'a ${{b'",
        [
            "nixbk.toml:3:12: images.demo.labels.x: missing '}' after '${b'",
            "  hint: write '$$' for a dollar sign",
        ],
    ),
    "cache without an address": (
        f"{START}[substituters.main]\ntrust = false",
        ["nixbk.toml:3:15: substituters.main: missing key 'url'"],
    ),
    "name of a cache": (
        f"{START}[substituters.'a b']\nurl = 'https://cache.test'",
        [
            (
                'nixbk.toml:3:15: substituters."a b": '
                "expected a name of letters, digits, '-' and '_', found 'a b'"
            )
        ],
    ),
    "address of a cache": (
        f"{START}[substituters.main]\nurl = 'ftp://cache.test'",
        [
            (
                "nixbk.toml:4:7: substituters.main.url: "
                "expected an address with http:, https:, s3: or file:, found 'ftp://cache.test'"
            ),
            "  hint: write http://host/path, https://host/path, s3://bucket or file:///folder",
        ],
    ),
    "login in an address": (
        f"{START}[substituters.main]\nurl = 'https://me:secret@cache.test'",
        [
            (
                "nixbk.toml:4:7: substituters.main.url: a login has no place in an address, "
                "from where it gets into the lock and messages"
            ),
            "  hint: keep it in ~/.netrc, or in the file of --netrc-file",
        ],
    ),
    "parameter of Nix": (
        f"{START}[substituters.main]\nurl = 'https://cache.test?trusted=1'",
        [
            "nixbk.toml:4:7: substituters.main.url: unknown parameter 'trusted' of the address",
            "  hint: write 'trust = false' in the table of this substituter",
        ],
    ),
    "key": (
        f"{START}[substituters.main]\nurl = 'file:./x'\npublic-keys = ['main-1:AAAA']",
        [
            (
                "nixbk.toml:5:16: substituters.main.public-keys[0]: "
                "the public key 'main-1' has 3 bytes, not 32"
            )
        ],
    ),
    "two keys of a name": (
        (
            f"{START}[substituters.a]\nurl = 'file:./a'\npublic-keys = ['k:{'A' * 43}=']\n"
            f"[substituters.b]\nurl = 'file:./b'\npublic-keys = ['k:{'B' * 42}A=']"
        ),
        [
            (
                "nixbk.toml:8:16: substituters.b.public-keys[0]: "
                "there are two different keys with the name 'k'"
            )
        ],
    ),
    "store path without a cache": (
        f"[images.demo]\ninstallables = ['/nix/store/{'0' * 32}-hello']",
        [
            (
                "nixbk.toml:2:17: images.demo.installables[0]: "
                "there is no substituter to fetch it from"
            ),
            (
                "  hint: declare one as 'substituters.<name>.url', "
                "or name the '.drv' that makes this path"
            ),
        ],
    ),
    "all at once": (
        "[images.demo]\nuser = 1\nworkdir = 'x'\n[images.web]\ninstallables = ['a b']\n",
        [
            "nixbk.toml:1:9: images.demo: missing key 'installables'",
            "nixbk.toml:2:8: images.demo.user: expected a string, found a number",
            (
                "nixbk.toml:3:11: images.demo.workdir: "
                "expected an absolute path, or one that starts with an installable, found 'x'"
            ),
            (
                "nixbk.toml:5:17: images.web.installables[0]: "
                "expected a file, a flake or an input, found 'a b'"
            ),
        ],
    ),
}


@pytest.mark.parametrize(("text", "lines"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems_are_shown_at_their_places(text: str, lines: list[str]) -> None:
    """Every key at fault is reported, with line and column, in the order of the file."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text.encode())
    assert str(caught.value).splitlines() == lines


def test_text_that_is_not_utf_8() -> None:
    """The line of the first bad byte is told."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(b"a = 1\n\nb = '\xff'\n")
    assert str(caught.value) == "nixbk.toml:3:1: expected UTF-8 text"


def test_deep_nesting_is_one_error() -> None:
    """Hostile depth ends in an error and not in a crash."""
    with pytest.raises(ManifestError, match=r"^nixbk\.toml:1:"):
        parse_manifest(b"a = " + b"[" * 100_000)


def test_defaults() -> None:
    """A manifest needs no more than installables."""
    manifest = parse_manifest(START.encode()).manifest
    assert manifest == Manifest(images={"demo": Image(installables=("./default.nix#hello",))})
    assert manifest.images["demo"].reference("demo") == "demo:latest"


def test_the_order_of_caches() -> None:
    """The lower priority is first, then what is first in the manifest; keys count for all."""
    text = (
        f"{START}[substituters.a]\nurl = 'https://a.test'\npublic-keys = ['a:{'A' * 43}=']\n"
        "[substituters.b]\nurl = 'file:./b?priority=49'\n"
        f"[substituters.c]\nurl = 'http://c.test?priority=50'\npublic-keys = ['c:{'A' * 43}=']\n"
    )
    manifest = parse_manifest(text.encode()).manifest
    assert [name for name, _ in manifest.caches] == ["b", "a", "c"]
    assert [key[:2] for key in manifest.public_keys] == ["a:", "c:"]


def test_the_short_form_of_an_input() -> None:
    """A string is the table with this url."""
    short = parse_manifest(f"inputs.a = 'path:./a'\n{START}".encode()).manifest
    long = parse_manifest(f"[inputs.a]\nurl = 'path:./a'\n{START}".encode()).manifest
    assert short == long


def test_where_names_the_place_of_a_key() -> None:
    """A manifest knows where its values stand."""
    file = parse_manifest(START.encode(), "dir.toml")
    assert file.where("images", "demo", "installables", 0) == (
        "dir.toml:2:17: images.demo.installables[0]"
    )


def test_the_example_has_every_key() -> None:
    """nixbk.toml.example is a manifest, and shows all that a manifest can say."""
    text = (ROOT / "nixbk.toml.example").read_bytes()
    parse_manifest(text)
    assert set(_keys(manifest_model.Manifest)) <= set(_named(tomli.loads(text.decode())))


def _keys(model: Any) -> list[str]:
    """The keys of a model and of all models in it."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        fields = model.model_fields.values()
        return [f.alias or "" for f in fields] + [k for f in fields for k in _keys(f.annotation)]
    return [key for argument in get_args(model) for key in _keys(argument)]


def _named(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in _named(item))]
    if isinstance(value, list):
        return [key for item in value for key in _named(item)]
    return []


def test_every_machine_has_a_platform_with_a_system() -> None:
    """The tables of platforms fit together, and a manifest can have the same."""
    assert set(MACHINES.values()) <= set(SYSTEMS)
    assert set(get_args(Platform)) == set(SYSTEMS)
