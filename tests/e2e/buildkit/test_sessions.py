"""What the builder asks of the client through its session."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from buildkit_steps import Steps
from engines import ENGINES, address

from nixbk.buildkit.address import parse_address
from nixbk.buildkit.client import connect
from nixbk.buildkit.errors import BuilderError
from nixbk.buildkit.folders import Folder
from nixbk.buildkit.protocols import Exporter, Result
from nixbk.buildkit.session import Attachables
from nixbk.llb.exec import exec_
from nixbk.llb.file import Mkdir, file
from nixbk.llb.marshal import marshal
from nixbk.llb.mounts import Mount
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.llb.sources import local

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nixbk.buildkit.client import Client
    from nixbk.proto import ops_pb2


def test_an_upload_is_pulled_once(client: Client, steps: Steps) -> None:
    """Bytes are pulled when they are new to the builder, and never again."""
    data = os.urandom(3_000_000)
    definition = marshal(steps.upload(data))[0]
    before = steps.uploads.pulled_bytes
    for _ in range(2):
        with (
            client.session(Attachables(uploads=steps.uploads)) as session,
            client.build(session) as build,
        ):
            ref = build.solve(definition)
            assert ref is not None
            assert build.read_file(ref, "data") == data
            build.finish(Result())
    assert steps.uploads.pulled_bytes - before == len(data)


def test_bytes_that_are_not_offered_are_refused(client: Client, steps: Steps) -> None:
    """An id that nobody registered is not served."""
    definition = marshal(steps.upload(os.urandom(100)))[0]
    with client.session() as session, client.build(session) as build, pytest.raises(BuilderError):
        build.solve(definition)


def _keep_a_session(client: Client, steps: Steps, seconds: int) -> None:
    late = steps.upload(os.urandom(1000), "late")
    with (
        client.session(Attachables(uploads=steps.uploads)) as session,
        client.build(session) as build,
    ):
        build.solve(steps.definition(f"sleep {seconds}"))
        assert not session.ended
        ref = build.solve(marshal(late)[0])
        assert ref is not None
        assert build.stat_file(ref, "late").size_bytes == 1000
        build.finish(Result())


def test_a_long_build_keeps_its_session(client: Client, steps: Steps) -> None:
    """A builder drops a session that does not answer health checks, in 20 s at the latest."""
    _keep_a_session(client, steps, 20)


@pytest.mark.slow
def test_ten_minutes_keep_a_session(busybox: bytes) -> None:
    """Sessions last ten minutes on every engine, all of them at the same time."""

    def keep(name: str) -> None:
        with connect(parse_address(address(name), os.environ)) as client:
            _keep_a_session(client, Steps(busybox), 600)

    with ThreadPoolExecutor(len(ENGINES)) as pool:
        list(pool.map(keep, ENGINES))


def test_secrets_reach_a_step(client: Client, steps: Steps) -> None:
    """A secret is mounted as a file; one that is not there fails."""
    root = file(None, [Mkdir("/out")], name="root")
    tools = steps.upload(steps.busybox, "busybox", 0o755)

    def using(name: str) -> ops_pb2.Definition:
        return marshal(
            exec_(
                ["/bin/busybox", "sh", "-c", "/bin/busybox cp /secret /out/copy"],
                env=[f"NONCE={os.urandom(8).hex()}"],
                mounts=[
                    Mount("/", root, readonly=False, output=True),
                    Mount("/bin", tools),
                    Mount("/secret", kind="secret", id=name),
                ],
                platform=LINUX_AMD64,
                name="use a secret",
            ).root
        )[0]

    secrets: dict[str, bytes | Callable[[], bytes]] = {
        "known": b"a secret",
        "asked": lambda: b"another",
    }
    with (
        client.session(Attachables(uploads=steps.uploads, secrets=secrets)) as session,
        client.build(session) as build,
    ):
        for name, expected in (("known", b"a secret"), ("asked", b"another")):
            ref = build.solve(using(name))
            assert ref is not None
            assert build.read_file(ref, "out/copy") == expected
        with pytest.raises(BuilderError, match="not found"):
            build.solve(using("absent"))
        build.finish(Result())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with all that a folder can hold."""
    root = tmp_path / "tree"
    for number in range(300):
        path = root / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 10))
    (root / "d1" / "f1").chmod(0o755)
    (root / "d1-x").write_text("sorts between d1 and d1/f1")
    (root / "grüße").write_text("beyond ASCII")
    (root / "big").write_bytes(os.urandom(5_000_000))
    (root / "empty").mkdir()
    (root / "link").symlink_to("d1/f1")
    (root / "dangling").symlink_to("/no/such/file")
    return root


def _snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            content = bytes(path.readlink())
        else:
            content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def test_a_folder_goes_there_and_back(client: Client, tree: Path, tmp_path: Path) -> None:
    """A folder sent as a source and exported again has the same modes, times and bytes."""
    target = tmp_path / "target"
    exporter = Exporter("local", output=target)
    # without a key of its own BuildKit writes over what an earlier session sent, and then the
    # times of folders are those of the writing
    offered = Attachables(folders={"tree": Folder(tree)}, shared_key=os.urandom(8).hex())
    with (
        client.session(offered) as session,
        client.build(session, exporters=[exporter]) as build,
    ):
        build.finish(Result(build.solve(marshal(local("tree"))[0])))
    assert _snapshot(target) == _snapshot(tree)


def test_a_part_of_a_folder_is_sent(client: Client, tree: Path) -> None:
    """Patterns of the definition and of the client bound what is sent."""
    folder = Folder(tree, exclude=("d2",))
    source = local("tree", include=["d*/f?", "grüße"], exclude=["d1/*"], shared_key_hint="part")
    with (
        client.session(Attachables(folders={"tree": folder})) as session,
        client.build(session) as build,
    ):
        ref = build.solve(marshal(source)[0])
        assert ref is not None
        found = {entry.path for entry in build.read_dir(ref, "/")}
        assert found == {"d0", "d3", "d4", "d5", "d6", "grüße"}
        assert [entry.path for entry in build.read_dir(ref, "/d0")] == ["f0", "f7"]
        build.finish(Result())


def test_a_folder_that_is_not_offered_is_refused(client: Client, tree: Path) -> None:
    """A builder gets the folders of the session and no others."""
    with (
        client.session(Attachables(folders={"tree": Folder(tree)})) as session,
        client.build(session) as build,
        pytest.raises(BuilderError) as caught,
    ):
        build.solve(marshal(local("other"))[0])
    assert "'other' is not offered" in caught.value.message
