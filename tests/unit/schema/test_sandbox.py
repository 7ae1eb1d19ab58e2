"""What the table ``sandbox`` names, in the manifest and in the lock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from proven import SETUP, graph, lock

from nixbk.errors import NixbkError
from nixbk.nix.store_path import StorePath
from nixbk.schema.freshness import changed_keys
from nixbk.schema.lock import Lock, LockedPath
from nixbk.schema.lock_document import to_bytes
from nixbk.schema.lock_file import parse_lock
from nixbk.schema.manifest_file import parse_manifest
from nixbk.schema.problems import LockError, ManifestError
from nixbk.schema.sandbox import SandboxSource, check_target

DRV = "/nix/store/00000000000000000000000000000000-x.drv"

OUT = DRV.removesuffix(".drv")
SOURCES = {
    "a file": ("seed/bin/busybox", None, "seed/bin/busybox"),
    "an input": ("nixpkgs#busybox", "nixpkgs#busybox", ""),
    "in an input": ("nixpkgs#busybox/bin/sh", "nixpkgs#busybox", "bin/sh"),
    "in an output": ("nixpkgs#a.b^bin/bin/sh", "nixpkgs#a.b^bin", "bin/sh"),
    "in a file of Nix": ("./nix/x.nix#a/bin/sh", "./nix/x.nix#a", "bin/sh"),
    "a quoted name": ('.#"a/b"/c', '.#"a/b"', "c"),
    "a derivation": (f"{DRV}/bin/sh", DRV, "bin/sh"),
    "a store path": (f"{OUT}/bin/sh", OUT, "bin/sh"),
    "an output of it": (f"{DRV}^out/bin/sh", f"{DRV}^out", "bin/sh"),
}


@pytest.mark.parametrize(("text", "installable", "path"), SOURCES.values(), ids=SOURCES)
def test_sources(text: str, installable: str | None, path: str) -> None:
    """A file, or an installable and a path in it."""
    found = SandboxSource.parse(text)
    assert (found.installable and found.installable.text, found.path) == (installable, path)


WRONG = {
    "absolute": ("/usr/bin/env", "expected a file relative to the manifest, or an installable"),
    "home": ("~/sh", "expected a file relative to the manifest, or an installable"),
    "above": (".#a/../b", "expected a path without '.' and '..' in it, found '../b'"),
    "a folder's end": (".#a/bin/", "expected a path without '.' and '..' in it, found 'bin/'"),
    "two outputs": (".#a^out,bin/sh", "expected one output, found 'out,bin'"),
    "all outputs": (".#a^*/sh", "expected one output, found '*'"),
    "no store path": ("/nix/store/x/sh", "'/nix/store/x' is no store path"),
    "output of a path": (DRV.removesuffix(".drv") + "^out/sh", "the store path "),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_sources(text: str, message: str) -> None:
    """The error says what was expected."""
    with pytest.raises(NixbkError) as caught:
        SandboxSource.parse(text)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    "target", ["bin/sh", "/", "/usr//env", "/usr/../x", "/nix/store/x", "/etc"]
)
def test_wrong_places(target: str) -> None:
    """Not everywhere can something be put."""
    with pytest.raises(NixbkError):
        check_target(target)


IMAGE = "[images.demo]\ninstallables = ['./default.nix#hello']\n"

MANIFESTS = {
    "an unknown input": (
        "[sandbox]\nshell = 'nix#sh'",
        (
            "nixbk.toml:2:9: sandbox.shell: 'nix' is no input\n"
            "  hint: declare it as 'inputs.nix.url', or write './nix' for a folder"
        ),
    ),
    "two shells": (
        "[sandbox]\nshell = 'sh'\npaths.'/bin/sh' = 'sh'",
        "nixbk.toml:3:7: sandbox.paths.\"/bin/sh\": 'sandbox.shell' is there, too",
    ),
    "one in the other": (
        "[sandbox.paths]\n'/usr/a' = 'a'\n'/usr/a/b' = 'b'",
        "nixbk.toml:3:1: sandbox.paths.\"/usr/a/b\": '/usr/a/b' is below '/usr/a'",
    ),
    "the sandbox's own": (
        "[sandbox.paths]\n'/dev/kvm' = 'a'",
        "nixbk.toml:2:1: sandbox.paths.\"/dev/kvm\": '/dev' is the sandbox's own",
    ),
    "no feature": (
        "[sandbox]\nsystem-features = ['k v m']",
        (
            "nixbk.toml:2:20: sandbox.system-features[0]: expected the name of a system feature, "
            "found 'k v m'"
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_errors_of_manifests(text: str, message: str) -> None:
    """Each with its place."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(f"{text}\n{IMAGE}".encode())
    assert str(caught.value) == message


def sandboxed() -> Lock:
    """A lock in which every build finds the file of a derivation and one of the repository."""
    inputs = {"libc": [], "tools": ["libc"], "hello": []}
    found = lock(inputs, with_shell=True)
    drv_path, derivation = graph(inputs)["tools"]
    out = StorePath.parse(derivation.outputs["out"].path)
    paths = {
        "/usr/bin/env": LockedPath("./x.nix#tools/bin/env", out, "bin/env", drv_path, "out"),
        "/usr/share/words": LockedPath("words.txt", SETUP.path),
    }
    return replace(found, locked_paths=paths, features=("kvm",))


def drv(found: Lock, name: str) -> StorePath:
    """A derivation path by its name."""
    return next(path for path in found.derivations if path.name == f"{name}.drv")


def test_a_lock_is_read_as_it_was_written() -> None:
    """What derivations make, what files are, and features."""
    assert parse_lock(to_bytes(sandboxed())) == sandboxed()


def test_what_the_sandbox_needs_is_built_without_it() -> None:
    """Whatever derivations make is there in all other builds."""
    found = sandboxed()
    assert set(found.sandbox_of(drv(found, "hello"))) == {
        "/bin/sh",
        "/usr/bin/env",
        "/usr/share/words",
    }
    for name in ("tools", "libc"):
        assert set(found.sandbox_of(drv(found, name))) == {"/bin/sh", "/usr/share/words"}
    assert found.origins(drv(found, "libc")) == (("demo", 0),)


EDITS = {
    "another output": ('output = "out"', 'output = "bin"', "has no output 'bin'"),
    "another derivation": ('-tools.drv"\noutput', '-tool.drv"\noutput', "is not in the lock"),
    "above": ('path = "bin/env"', 'path = "../env"', "without '.' and '..'"),
    "an unknown key": ('path = "bin/env"', 'way = "bin/env"', "unknown key"),
    "another source": ('-setup.sh"\n\n[inp', '-setup.txt"\n\n[inp', "is not in the lock"),
}


@pytest.mark.parametrize(("old", "new", "message"), EDITS.values(), ids=EDITS)
def test_a_lock_proves_its_sandbox(old: str, new: str, message: str) -> None:
    """What was edited is found, at its key."""
    text = to_bytes(sandboxed()).decode()
    start = text.index("[sandbox")
    end = text.index("[images", start)
    table = text[start:end] + "[inp"
    assert old in table, table
    edited = text[:start] + table.replace(old, new).removesuffix("[inp") + text[end:]
    with pytest.raises(LockError) as caught:
        parse_lock(edited.encode())
    assert message in str(caught.value)
    assert "sandbox" in str(caught.value)


TEXT = """[sandbox]
shell = 'bin/sh'
system-features = ['kvm']
paths.'/usr/bin/env' = './x.nix#tools/bin/env'
paths.'/usr/share/words' = 'words.txt'
[images.demo]
installables = ['./default.nix#hello']
"""

CHANGES = {
    "nothing": ("", "", ()),
    "another shell": ("bin/sh'", "bin/ash'", (("sandbox", "shell"),)),
    "no shell": ("shell = 'bin/sh'\n", "", (("sandbox", "shell"),)),
    "another path": ("tools/bin/env", "tools/env", (("sandbox", "paths", "/usr/bin/env"),)),
    "a path less": (
        "paths.'/usr/share/words' = 'words.txt'\n",
        "",
        (("sandbox", "paths", "/usr/share/words"),),
    ),
    "no feature": ("'kvm'", "", (("sandbox", "system-features"),)),
}


@pytest.mark.parametrize(("old", "new", "keys"), CHANGES.values(), ids=CHANGES)
def test_what_needs_a_new_lock(old: str, new: str, keys: tuple[tuple[str, ...], ...]) -> None:
    """Each key of the sandbox that is not what was locked."""
    manifest = parse_manifest(TEXT.replace(old, new, 1).encode()).manifest
    assert changed_keys(manifest, sandboxed()) == keys
