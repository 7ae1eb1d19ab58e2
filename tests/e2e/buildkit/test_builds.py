"""Builds through the gateway of real engines."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit.errors import BuilderError, BuildFailed
from nixbk.buildkit.protocols import Result
from nixbk.llb.exec import Proxy
from nixbk.llb.marshal import marshal
from nixbk.llb.mounts import Mount

if TYPE_CHECKING:
    from buildkit_steps import Steps

    from nixbk.buildkit.client import Client
    from nixbk.buildkit.session import Session
    from nixbk.proto import control_pb2


def test_what_a_step_leaves_can_be_read(client: Client, session: Session, steps: Steps) -> None:
    """A step's files are read whole, in part, listed and described."""
    script = "printf hello > out/file; chmod 640 out/file; ln -s file out/link; mkdir out/folder"
    with client.build(session) as build:
        ref = build.solve(steps.definition(script))
        assert ref is not None
        assert build.read_file(ref, "/out/file") == b"hello"
        assert build.read_file(ref, "out/file", offset=1, length=3) == b"ell"
        found = build.read_dir(ref, "/out")
        assert [(entry.path, entry.target) for entry in found] == [
            ("file", ""),
            ("folder", ""),
            ("link", "file"),
        ]
        entry = build.stat_file(ref, "out/file")
        assert (entry.path, entry.mode, entry.uid, entry.size_bytes) == ("file", 0o640, 0, 5)
        with pytest.raises(BuilderError, match="no such file or directory"):
            build.read_file(ref, "/out/absent")
        build.finish(Result(ref))


def test_an_empty_result_ends_a_build(client: Client, session: Session) -> None:
    """A build may end with nothing, and the builder lives on."""
    with client.build(session) as build:
        assert build.solve(marshal(None)[0]) is None
        assert build.finish(Result()) == {}
    assert client.workers()


def test_a_failed_step_tells_all(client: Client, session: Session, steps: Steps) -> None:
    """Exit code, command, name and last lines of a failed step arrive; the build goes on."""
    script = "for i in $(seq 100); do echo line $i; done; exit 42"
    with client.build(session) as build:
        with pytest.raises(BuildFailed) as caught:
            build.solve(steps.definition(script, name="a step that fails"))
        assert build.solve(steps.definition("true")) is not None
        build.finish(Result())
    failure = caught.value.failure
    assert failure.exit_code == 42
    assert failure.name == "a step that fails"
    assert failure.args == ("/bin/busybox", "sh", "-c", script)
    assert caught.value.log == tuple(f"line {number}" for number in range(76, 101))
    assert "exit code: 42" in caught.value.message


def test_an_error_larger_than_grpc_likes_arrives(
    client: Client, session: Session, steps: Steps
) -> None:
    """The error of a step with 300 mounts is read although its trailer is beyond 16 KiB."""
    data = steps.upload(b"data")
    mounts = [Mount(f"/in/{number}-{'x' * 100}", data) for number in range(300)]
    with client.build(session) as build, pytest.raises(BuildFailed) as caught:
        build.solve(steps.definition("exit 7", *mounts))
    assert caught.value.failure.exit_code == 7
    assert len(caught.value.failure.op["exec"]["mounts"]) > 300


def test_solves_run_side_by_side(client: Client, session: Session, steps: Steps) -> None:
    """Solves of many threads are answered each with its own result."""
    with client.build(session) as build, ThreadPoolExecutor(16) as pool:

        def run(number: int) -> bytes:
            ref = build.solve(steps.definition(f"echo {number} > out/number"))
            assert ref is not None
            return build.read_file(ref, "out/number")

        assert list(pool.map(run, range(16))) == [f"{number}\n".encode() for number in range(16)]
        build.finish(Result())


def test_two_builds_share_a_session(client: Client, session: Session, steps: Steps) -> None:
    """Builds of one session may run at once."""
    with client.build(session) as one, client.build(session) as other:
        first = one.solve(steps.definition("echo 1 > out/x"))
        second = other.solve(steps.definition("echo 2 > out/x"))
        assert first is not None
        assert second is not None
        assert (one.read_file(first, "out/x"), other.read_file(second, "out/x")) == (
            b"1\n",
            b"2\n",
        )
        other.finish(Result())
        one.finish(Result())


def test_the_status_tells_what_happens(client: Client, session: Session, steps: Steps) -> None:
    """Names, ends and output of steps are called back before finish returns."""
    seen: list[control_pb2.StatusResponse] = []
    definition = steps.definition("echo to be seen", name="a name")
    with client.build(session, on_status=seen.append) as build:
        build.solve(definition)
        build.finish(Result())
    ended = {
        vertex.name for status in seen for vertex in status.vertexes if vertex.HasField("completed")
    }
    text = b"".join(log.msg for status in seen for log in status.logs)
    assert "a name" in ended
    assert text == b"to be seen\n"


def test_an_error_of_the_callback_is_raised(client: Client, session: Session, steps: Steps) -> None:
    """What the status callback raises comes out of finish."""

    def fail(_: control_pb2.StatusResponse) -> None:
        raise LookupError("on purpose")

    with client.build(session, on_status=fail) as build:
        build.solve(steps.definition("true"))
        with pytest.raises(LookupError, match="on purpose"):
            build.finish(Result())


def test_capabilities_are_told(client: Client, session: Session) -> None:
    """What the builder can do is known when a build begins."""
    with client.build(session) as build:
        can = build.capabilities
        build.finish(Result())
    assert {"source.http.checksum", "exec.meta.base", "file.base"} <= can.llb
    assert "readdir" in can.frontend
    assert can.missing(frozenset({"file.base", "no.such.capability"})) == ("no.such.capability",)
    assert [worker.platforms[0] for worker in client.workers()] == ["linux/amd64"]
    assert client.info().package == "github.com/moby/buildkit"


def test_a_failed_build_tells_the_history_why(client: Client, session: Session) -> None:
    """A build may end with an error of the client's own."""
    with client.build(session) as build:
        build.fail("the client does not like it")
    assert client.workers()


def test_a_failure_is_gone_with_its_build(client: Client, session: Session, steps: Steps) -> None:
    """Who builds a failed step again at once, with other settings, is not told of the old end."""
    for _ in range(20):
        nonce = secrets.token_hex(8)
        bad, good = (
            marshal(steps.shell('[ "$no_proxy" = good ]', nonce=nonce, proxy=Proxy(no=word)))[0]
            for word in ("bad", "good")
        )
        with pytest.raises(BuildFailed), client.build(session) as build:
            build.solve(bad)
        with client.build(session) as build:
            assert build.solve(good) is not None
            build.finish(Result())


def test_a_cached_build_costs_little(client: Client, session: Session, steps: Steps) -> None:
    """Session, build, a cached solve and its end take less than 150 ms at best."""
    definition = steps.definition("true")
    with client.build(session) as build:
        build.solve(definition)
        build.finish(Result())
    best_s = 1000.0
    for _ in range(5):
        begin = time.perf_counter()
        with client.session() as own, client.build(own, internal=True) as build:
            build.solve(definition)
            build.finish(Result())
        best_s = min(best_s, time.perf_counter() - begin)
    assert best_s < 0.15


def test_the_cache_is_listed_and_pruned(client: Client) -> None:
    """Records of the cache are told, and a filter that finds none frees nothing."""
    assert client.disk_usage()
    assert client.prune(["id==nosuchrecord"]) == 0
