"""What of a manifest decides its lock."""

from __future__ import annotations

import pytest
from proven import lock

from nixbk.nix.hashes import Hash
from nixbk.schema.freshness import StaleLockError, changed_keys, require_fresh
from nixbk.schema.lock import LockedInput
from nixbk.schema.manifest_file import parse_manifest

PINNED = LockedInput("a", "path:./a", True, "path:./a", None, Hash.of(b"a"))  # noqa: FBT003
DIRECT = LockedInput(".", ".", True, ".", None, Hash.of(b"b"))  # noqa: FBT003
LOCK = lock({"hello": []}, with_shell=True, flakes={"a": PINNED, ".": DIRECT})

SAME = "inputs.a = 'path:./a'"
MANIFESTS = {
    "the same": ("", "", "", ()),
    "how it runs": ("", "cmd = ['x']\nname = 'other'\nplatforms = ['linux/amd64']", "", ()),
    "installables": ("", "", "'./default.nix#bye'", (("images", "demo", "installables"),)),
    "platform": ("", "platforms = ['linux/arm64']", "", (("images", "demo", "platforms"),)),
    "input": ("inputs.a = 'path:./b'", "", "", (("inputs", "a"),)),
    "kind of input": ("inputs.a = { url = 'path:./a', flake = false }", "", "", (("inputs", "a"),)),
    "new input": (
        "inputs = { a = 'path:./a', b = 'path:./b' }",
        "",
        "",
        (("inputs", "b"),),
    ),
    "no input": ("inputs = {}", "", "", (("inputs", "a"),)),
}


@pytest.mark.parametrize(("inputs", "more", "names", "keys"), MANIFESTS.values(), ids=MANIFESTS)
def test_changed_keys(inputs: str, more: str, names: str, keys: tuple[object, ...]) -> None:
    """Only what is evaluated makes a lock stale, and each key of it is told."""
    text = (
        f"{inputs or SAME}\n"
        "[sandbox]\nshell = 'bin/sh'\n"
        f"[images.demo]\ninstallables = [{names or repr('./default.nix#hello')}]\n{more}\n"
    )
    assert changed_keys(parse_manifest(text.encode()).manifest, LOCK) == keys


def test_the_refusal() -> None:
    """The error names the files, the keys, and what to do."""
    text = b"[images.web]\ninstallables = ['./default.nix#hello']"
    with pytest.raises(StaleLockError) as caught:
        require_fresh(parse_manifest(text).manifest, LOCK)
    assert str(caught.value) == (
        "nixbk.toml changed since nixbk.lock was made: "
        "inputs.a, sandbox.shell, images.web, images.demo\n  hint: run 'nixbk lock'"
    )
