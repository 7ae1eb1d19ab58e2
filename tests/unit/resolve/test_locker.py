"""From a manifest to its lock, with an evaluator of a world in memory."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fetched import KEY, entry, store_path
from proven import graph

from nixbk.nix.derivation import Derivation, DerivationError, DerivationOutput
from nixbk.nix.hashes import Hash
from nixbk.nix.nar import file_nar, nar_hash
from nixbk.nix.narinfo import NarInfo
from nixbk.nix.store_path import StorePath, source_path, text_path
from nixbk.resolve.bundle import save
from nixbk.resolve.caches.judge import Answer
from nixbk.resolve.evaluator import Evaluated, EvaluationError
from nixbk.resolve.locker import LockingError, make_lock
from nixbk.resolve.memory import MemoryEvaluator
from nixbk.resolve.sources import open_source
from nixbk.schema.files import read_lock
from nixbk.schema.lock import (
    BundleOrigin,
    FileOrigin,
    Lock,
    LockedInput,
    LockedInstallable,
    LockedPath,
)
from nixbk.schema.lock_document import to_bytes
from nixbk.schema.lock_file import parse_lock
from nixbk.schema.manifest import Image, Manifest
from nixbk.schema.manifest_file import ManifestFile, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nixbk.resolve.locker import Locked
    from nixbk.schema.lock import LockedSubstitute

SETUP = file_nar(b"hello\n")
GRAPH = graph({"zlib": [], "hello": ["zlib"]})
HELLO = GRAPH["hello"][0]


def _world() -> MemoryEvaluator:
    """A store with hello and its inputs, reached in several ways."""
    world = MemoryEvaluator()
    for _, derivation in GRAPH.values():
        world.add_derivation(derivation)
    world.add_source("setup.sh", SETUP)
    found = Evaluated(HELLO, ("out",))
    world.answers = {"./default.nix#hello": found, "app#hello": found, ".#hello": found}
    world.trees = {"github:a/app": file_nar(b"app"), ".": file_nar(b"self")}
    return world


def _lock(
    folder: Path,
    text: str,
    world: MemoryEvaluator,
    old: Lock | None = None,
    *,
    update: bool = False,
) -> Locked:
    file = parse_manifest(text.encode())
    return make_lock(file, folder, folder / "nixbk.lock", world, old=old, update=update)


PLAIN = "[images.demo]\ninstallables = ['./default.nix#hello']\nplatforms = ['linux/amd64']\n"


def test_what_is_locked(tmp_path: Path) -> None:
    """The closure of recipes, and each source with its place in the repository."""
    (tmp_path / "setup.sh").write_bytes(b"hello\n")
    made = _lock(tmp_path, PLAIN, _world())
    image = made.lock.images["demo"]
    assert image.platforms == ("linux/amd64",)
    assert [(i.text, i.drv_path, i.outputs) for i in image.installables] == [
        ("./default.nix#hello", HELLO, ("out",))
    ]
    assert dict(made.lock.derivations) == dict(GRAPH.values())
    assert [(s.path.name, s.origin) for s in made.lock.sources.values()] == [
        ("setup.sh", FileOrigin("setup.sh"))
    ]
    assert made.bundle == {}


def test_what_exists_nowhere_else_goes_to_the_bundle(tmp_path: Path) -> None:
    """A lock with its bundle gives every source again."""
    made = _lock(tmp_path, PLAIN, _world())
    digest = nar_hash([SETUP])[0].digest.hex()
    assert [source.origin for source in made.lock.sources.values()] == [BundleOrigin(digest)]
    lock_path = tmp_path / "nixbk.lock"
    save(lock_path, made.lock, made.bundle)
    read = read_lock(lock_path)
    assert read == made.lock
    (source,) = read.sources.values()
    with open_source(lock_path, source) as file:
        assert file.read() == SETUP


def test_sources_that_refer_to_others(tmp_path: Path) -> None:
    """What a text refers to is locked with it."""
    world = _world()
    inner = world.add_source("inner", file_nar(b"inner"))
    note = text_path("note", b"see inner", [inner])
    world.add_path(note, file_nar(b"see inner"), [inner])
    derivation = Derivation(
        "x", {"out": DerivationOutput("", "r:sha256")}, {}, (note,), "x86_64-linux", "/b", (), {}
    )
    world.answers["./default.nix#x"] = Evaluated(world.add_derivation(derivation), ("out",))
    made = _lock(tmp_path, PLAIN.replace("#hello", "#x"), world)
    found = {source.path.name: source for source in made.lock.sources.values()}
    assert (found["note"].method, found["note"].references) == ("text", (inner,))
    assert found["inner"].method == "nar"
    assert made.lock.images["demo"].installables[0].paths == {}


def test_the_shell(tmp_path: Path) -> None:
    """The shell is a source named sh, wherever its file is."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "busybox").write_bytes(b"shell")
    (tmp_path / "bin" / "busybox").chmod(0o755)
    made = _lock(tmp_path, f"sandbox.shell = 'bin/busybox'\n{PLAIN}", _world())
    archive = file_nar(b"shell", executable=True)
    path = source_path("sh", nar_hash([archive])[0].digest)
    assert made.lock.shell == path
    assert made.lock.sources[path].origin == FileOrigin("bin/busybox")


def test_inputs_keep_their_revision(tmp_path: Path) -> None:
    """What is pinned stays pinned, until its url changes or the user asks."""
    text = "inputs.app = 'github:a/app'\n" + PLAIN.replace("./default.nix", "app")
    world = _world()
    old = _lock(tmp_path, text, world).lock
    pinned = old.inputs["app"]
    assert pinned.locked == f"github:a/app?narHash={pinned.nar_hash.sri()}"
    world.trees["github:a/app"] = file_nar(b"newer")
    world.asked.clear()
    assert _lock(tmp_path, text, world, old).lock.inputs == {"app": pinned}
    assert world.asked == [("evaluate", "app#hello")]
    assert _lock(tmp_path, text, world, old, update=True).lock.inputs["app"] != pinned
    world.trees["github:b/app"] = file_nar(b"other")
    moved = _lock(tmp_path, text.replace("github:a", "github:b"), world, old).lock.inputs["app"]
    assert (moved.url, moved.nar_hash) == ("github:b/app", nar_hash([file_nar(b"other")])[0])


def test_local_flakes_are_locked_as_they_are(tmp_path: Path) -> None:
    """A flake beside the manifest is an input of its own, and is looked at each time."""
    text = PLAIN.replace("./default.nix", ".")
    world = _world()
    old = _lock(tmp_path, text, world).lock
    self_hash = nar_hash([world.trees["."]])[0]
    assert old.inputs == {
        ".": LockedInput(name=".", url=".", flake=True, locked=".", rev=None, nar_hash=self_hash)
    }
    world.trees["."] = file_nar(b"edited")
    assert _lock(tmp_path, text, world, old).lock.inputs["."].nar_hash != self_hash


def test_trees_are_fetched_for_files_only(tmp_path: Path) -> None:
    """A pinned input is fetched when a plain file may take it."""
    text = "inputs.app = 'github:a/app'\n" + PLAIN
    world = _world()
    old = _lock(tmp_path, text, world).lock
    world.asked.clear()
    _lock(tmp_path, text, world, old)
    assert [name for name, _ in world.asked] == ["fetch_input", "evaluate"]


GONE = f"/nix/store/{'0' * 32}-gone.drv"
FAULTS = {
    "attribute": (
        PLAIN.replace("#hello", "#helo"),
        "nixbk.toml:2:17: images.demo.installables[0]: there is no attribute 'helo'",
    ),
    "output": (
        PLAIN.replace("#hello", "#hello^dev"),
        (
            "nixbk.toml:2:17: images.demo.installables[0]: 'hello' has no output 'dev'\n"
            "  hint: it has out"
        ),
    ),
    "input": (
        "inputs.x = 'github:no/thing'\n" + PLAIN,
        "nixbk.toml:1:12: inputs.x: cannot fetch 'github:no/thing'",
    ),
    "flake": (
        PLAIN.replace("./default.nix", "path:./none"),
        "nixbk.toml:2:17: images.demo.installables[0]: cannot fetch 'path:./none'",
    ),
    "plain tree": (
        "inputs.app = { url = 'github:a/app', flake = false }\n"
        + PLAIN.replace("./default.nix", "app"),
        (
            "nixbk.toml:3:17: images.demo.installables[0]: the input 'app' is no flake\n"
            "  hint: it has 'flake = false'; only files of Nix code can use it"
        ),
    ),
    "store path": (
        PLAIN.replace("./default.nix#hello", GONE),
        "nixbk.toml:2:17: images.demo.installables[0]: the store has no such path",
    ),
    "shell": (
        "sandbox.shell = 'none'\n" + PLAIN,
        "nixbk.toml:1:17: sandbox.shell: the shell is no file\n  hint: name a static shell",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_are_shown_at_the_users_key(tmp_path: Path, text: str, message: str) -> None:
    """Whatever Nix says, the key it belongs to is told."""
    with pytest.raises(LockingError) as caught:
        _lock(tmp_path, text, _world())
    assert str(caught.value) == message


def test_a_manifest_that_is_no_file(tmp_path: Path) -> None:
    """What is asked for elsewhere is checked all the same, and named without lines."""
    wish = Manifest(images={"build": Image(installables=("nixpkgs#hello",))})
    file = ManifestFile(wish, b"", "command line")
    with pytest.raises(LockingError) as caught:
        make_lock(file, tmp_path, tmp_path / "nixbk.lock", _world())
    assert str(caught.value) == (
        "nixpkgs#hello: 'nixpkgs' is no input\n  hint: declare it as 'inputs.nixpkgs.url'"
    )


def test_a_machine_without_a_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is unknown asks for the platform."""
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(LockingError) as caught:
        _lock(tmp_path, PLAIN.replace("platforms", "#"), _world())
    assert str(caught.value) == (
        "nixbk.toml:1:9: images.demo: no platform is known for machines of the kind 'vax'\n"
        "  hint: write 'images.demo.platforms'"
    )


def test_a_store_that_lies(tmp_path: Path) -> None:
    """A recipe that does not hash to its path is never locked."""
    world = _world()
    path = StorePath(b"x" * 20, "hello.drv")
    world._derivations[path] = GRAPH["hello"][1].to_bytes()
    world.answers["./default.nix#hello"] = Evaluated(path, ("out",))
    with pytest.raises(DerivationError) as caught:
        _lock(tmp_path, PLAIN, world)
    assert f"the derivation hashes to '{HELLO}'" in caught.value.message


def test_errors_of_the_store_are_shown(tmp_path: Path) -> None:
    """A source that the store lost is an error, not a lock without it."""
    world = _world()
    world._archives.clear()
    with pytest.raises(EvaluationError) as caught:
        _lock(tmp_path, PLAIN, world)
    assert caught.value.message == "the store has no such path"


def test_what_a_killed_one_left_is_cleared(tmp_path: Path) -> None:
    """Half a lock of another run goes, and what only looks alike stays."""
    half, other = (tmp_path / f".nixbk.lock.{end}" for end in ("ab12_xyz", "backup"))
    half.write_bytes(b"vers")
    other.write_bytes(b"mine")
    save(tmp_path / "nixbk.lock", Lock({}, {}, {}), {})
    assert (half.exists(), other.exists()) == (False, True)


def test_what_builds_find(tmp_path: Path) -> None:
    """A shell and paths of installables, a file of the repository, and features."""
    (tmp_path / "words.txt").write_bytes(b"words")
    text = (
        "[sandbox]\n"
        "shell = './default.nix#hello/bin/sh'\n"
        "system-features = ['kvm', 'big', 'kvm']\n"
        "paths.'/usr/bin/env' = './default.nix#hello^out/bin/env'\n"
        "paths.'/usr/share/words' = 'words.txt'\n"
    )
    lock = _lock(tmp_path, text + PLAIN, _world()).lock
    out = lock.images["demo"].installables[0].paths["out"]
    words = source_path("sandbox-path", nar_hash([file_nar(b"words")])[0].digest)
    assert lock.sandbox == {
        "/bin/sh": LockedPath("./default.nix#hello/bin/sh", out, "bin/sh", HELLO, "out"),
        "/usr/bin/env": LockedPath("./default.nix#hello^out/bin/env", out, "bin/env", HELLO, "out"),
        "/usr/share/words": LockedPath("words.txt", words),
    }
    assert lock.shell is None
    assert lock.features == ("big", "kvm")
    assert lock.sources[words].origin == FileOrigin("words.txt")


SANDBOX_ERRORS = {
    "no such attribute": (
        "shell = './default.nix#none/sh'",
        "nixbk.toml:1:17: sandbox.shell: there is no attribute 'none'",
    ),
    "no such output": (
        "paths.'/usr/x' = './default.nix#hello^dev/x'",
        (
            "nixbk.toml:1:26: sandbox.paths.\"/usr/x\": 'hello' has no output 'dev'\n"
            "  hint: it has out"
        ),
    ),
    "no such file": (
        "paths.'/usr/x' = 'none'",
        "nixbk.toml:1:26: sandbox.paths.\"/usr/x\": there is no file 'none'",
    ),
}


@pytest.mark.parametrize(("line", "message"), SANDBOX_ERRORS.values(), ids=SANDBOX_ERRORS)
def test_sandboxes_that_cannot_be_locked(tmp_path: Path, line: str, message: str) -> None:
    """Each error has its key."""
    with pytest.raises(LockingError) as caught:
        _lock(tmp_path, f"sandbox.{line}\n{PLAIN}", _world())
    assert str(caught.value) == message


# What caches have -------------------------------------------------------------------------


class Caches:
    """Caches that have some paths, of which none is a link."""

    def __init__(self, *found: LockedSubstitute) -> None:
        self.has = {row.path: row for row in found}

    def __call__(self, paths: Iterable[StorePath], /) -> dict[StorePath, tuple[Answer, ...]]:
        """What they say of paths, and of what those refer to."""
        answers: dict[StorePath, tuple[Answer, ...]] = {}
        work = list(paths)
        while work:
            path = work.pop()
            row = self.has.get(path)
            if row is None:
                answers[path] = (Answer("main", "absent"),)
                continue
            url, file_hash, size = f"nar/{path.name}", Hash.of(b"file"), row.nar_size
            told = NarInfo(path, url, "xz", file_hash, 9, row.nar_hash, size, row.references)
            told = replace(told, signatures=row.signatures)
            answers[path] = (Answer("main", "accepted", told, file_hash, 9),)
            work += row.references
        return answers

    @staticmethod
    def outputs(ids: Iterable[str], /) -> dict[str, None]:
        """What open outputs came to: nobody knows."""
        return dict.fromkeys(ids)

    @staticmethod
    def look_into(
        substitutes: Mapping[StorePath, LockedSubstitute],
        old: Mapping[StorePath, LockedSubstitute],
    ) -> dict[StorePath, LockedSubstitute]:
        """What they are."""
        del old
        return dict(substitutes)


class NoNix(MemoryEvaluator):
    """A machine without Nix."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(name)


LIBC = entry(store_path("libc"))
APP = entry(store_path("app"), [LIBC.path])
CACHE = f"[substituters.main]\nurl = 'file:./cache'\npublic-keys = ['{KEY.public}']\n"


def _with_caches(folder: Path, text: str, caches: Caches, world: MemoryEvaluator) -> Locked:
    file = parse_manifest((CACHE + text).encode())
    return make_lock(file, folder, folder / "nixbk.lock", world, substituters=caches)


def test_store_paths_need_no_nix(tmp_path: Path) -> None:
    """What is named by its store path is fetched, in images and for builds."""
    text = PLAIN.replace("./default.nix#hello", str(APP.path))
    shell = f"[sandbox]\nshell = '{LIBC.path}/bin/sh'\n"
    lock = _with_caches(tmp_path, text + shell, Caches(APP, LIBC), NoNix()).lock
    row = LockedInstallable(str(APP.path), None, ("out",), {"out": APP.path})
    assert lock.images["demo"].installables == (row,)
    assert lock.sandbox == {"/bin/sh": LockedPath(f"{LIBC.path}/bin/sh", LIBC.path, "bin/sh")}
    assert set(lock.substitutes) == {APP.path, LIBC.path}
    assert (dict(lock.derivations), dict(lock.sources)) == ({}, {})
    assert parse_lock(to_bytes(lock)) == lock


def test_a_store_path_that_no_cache_has(tmp_path: Path) -> None:
    """The key that names it is told."""
    text = PLAIN.replace("./default.nix#hello", str(APP.path))
    with pytest.raises(LockingError) as caught:
        _with_caches(tmp_path, text, Caches(APP), NoNix())
    assert str(caught.value).startswith(
        "nixbk.toml:5:17: images.demo.installables[0]: "
        f"no cache has '{LIBC.path}', which '{APP.path}' needs\n  hint: add a substituter"
    )


def test_what_is_built_of_what_is_fetched(tmp_path: Path) -> None:
    """An installable that no cache has is built; a shell of its input is fetched with it."""
    (tmp_path / "setup.sh").write_bytes(b"hello\n")
    zlib = StorePath.parse(GRAPH["zlib"][1].outputs["out"].path)
    world = _world()
    world.answers["./default.nix#zlib"] = Evaluated(GRAPH["zlib"][0], ("out",))
    shell = "[sandbox]\nshell = './default.nix#zlib/bin/sh'\n"
    lock = _with_caches(tmp_path, PLAIN + shell, Caches(entry(zlib)), world).lock
    assert set(lock.derivations) == {HELLO}
    assert lock.substituted == {(GRAPH["zlib"][0], "out"): zlib}
    assert lock.sandbox["/bin/sh"].drv_path == GRAPH["zlib"][0]
    assert lock.sandbox_drvs == ()
    assert parse_lock(to_bytes(lock)) == lock
    text = f"fallback = true\n{CACHE}{PLAIN}"
    file = parse_manifest(text.encode())
    caches = Caches(entry(zlib))
    whole = make_lock(file, tmp_path, tmp_path / "nixbk.lock", world, substituters=caches).lock
    assert whole.fallback
    assert set(whole.derivations) == {path for path, _ in GRAPH.values()}
    assert parse_lock(to_bytes(whole)) == whole
