"""Folders of blobs as a builder uses them, and as it might misuse them."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import pytest

from nixbk.buildkit.content import STORE_KEY, content_service
from nixbk.buildkit.content_folder import ContentError, ContentFolder
from nixbk.proto import content_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE = "local:/somewhere"
DATA = b"some bytes " * 1000


class _AbortedError(Exception):
    """What a call ended with."""


class _Context:
    """A call with metadata, which raises what it is aborted with."""

    def __init__(self, store: str = STORE) -> None:
        self._store = store

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The folder that is meant."""
        return ((STORE_KEY, self._store),)

    def abort(self, code: Any, message: str) -> None:
        """End the call."""
        raise _AbortedError(code.name, message)


class _Caller:
    """Calls the service as gRPC does, with bytes."""

    def __init__(self, folder: Path) -> None:
        self._handlers = content_service({STORE: ContentFolder(folder)}).handlers

    def one(self, method: str, request: Any, store: str = STORE) -> bytes:
        """Call a method with one response."""
        handler = cast("Any", self._handlers[method])
        return cast("bytes", handler.unary_unary(request.SerializeToString(), _Context(store)))

    def many(self, method: str, request: Any) -> list[bytes]:
        """Call a method with many responses."""
        handler = cast("Any", self._handlers[method])
        return list(handler.unary_stream(request.SerializeToString(), _Context()))

    def write(self, *requests: pb.WriteContentRequest) -> list[pb.WriteContentResponse]:
        """Write a blob."""
        handler = cast("Any", self._handlers["Write"])
        stream = (request.SerializeToString() for request in requests)
        answers: Iterator[bytes] = handler.stream_stream(stream, _Context())
        with closing(cast("Any", answers)):
            return [pb.WriteContentResponse.FromString(raw) for raw in answers]


@pytest.fixture
def caller(tmp_path: Path) -> _Caller:
    """The service of an empty folder."""
    return _Caller(tmp_path)


def _digest(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def _writing(data: bytes, expected: str, total: int | None = None) -> list[pb.WriteContentRequest]:
    """What BuildKit sends for a blob."""
    half = len(data) // 2
    return [
        pb.WriteContentRequest(action=pb.STAT, ref="r", total=len(data), expected=expected),
        pb.WriteContentRequest(action=pb.WRITE, offset=0, data=data[:half]),
        pb.WriteContentRequest(action=pb.WRITE, offset=half, data=data[half:]),
        pb.WriteContentRequest(
            action=pb.COMMIT,
            offset=len(data),
            total=len(data) if total is None else total,
            expected=expected,
        ),
    ]


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_blob_is_written_and_read(caller: _Caller, tmp_path: Path) -> None:
    """What was written is told, listed and read, whole and in part."""
    digest = _digest(DATA)
    answers = caller.write(*_writing(DATA, digest))
    half = len(DATA) // 2
    assert [answer.offset for answer in answers] == [0, half, len(DATA), len(DATA)]
    assert answers[-1].digest == digest
    assert _files(tmp_path) == [f"blobs/sha256/{digest[7:]}"]
    info = pb.InfoResponse.FromString(caller.one("Info", pb.InfoRequest(digest=digest))).info
    assert (info.digest, info.size) == (digest, len(DATA))
    listed = caller.many("List", pb.ListContentRequest())
    assert [found.digest for raw in listed for found in pb.ListContentResponse.FromString(raw).info]
    for offset, size in ((0, 0), (5, 0), (5, 10), (len(DATA), 0)):
        request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
        pieces = map(pb.ReadContentResponse.FromString, caller.many("Read", request))
        end = offset + size if size else None
        assert b"".join(piece.data for piece in pieces) == DATA[offset:end]


def test_a_write_may_begin_anew(caller: _Caller) -> None:
    """An offset of 0 forgets what was written before."""
    digest = _digest(b"two")
    answers = caller.write(
        pb.WriteContentRequest(action=pb.WRITE, ref="r", data=b"one"),
        pb.WriteContentRequest(action=pb.COMMIT, data=b"two", expected=digest),
    )
    assert answers[-1].digest == digest


REFUSED = {
    "other bytes": (_writing(DATA, _digest(b"x")), "FAILED_PRECONDITION"),
    "too few": (_writing(DATA, _digest(DATA), len(DATA) + 1), "FAILED_PRECONDITION"),
    "no name": ([pb.WriteContentRequest(action=pb.WRITE, data=b"x")], "INVALID_ARGUMENT"),
    "a gap": (
        [pb.WriteContentRequest(action=pb.WRITE, ref="r", data=b"x", offset=7)],
        "FAILED_PRECONDITION",
    ),
    "a path for a digest": (
        [pb.WriteContentRequest(action=pb.STAT, ref="r", expected="sha256:../../../etc/passwd")],
        "INVALID_ARGUMENT",
    ),
}


@pytest.mark.parametrize(("requests", "code"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_write_leaves_nothing(
    caller: _Caller, tmp_path: Path, requests: list[pb.WriteContentRequest], code: str
) -> None:
    """What is not what was expected is refused, and no file of it stays."""
    with pytest.raises(_AbortedError) as caught:
        caller.write(*requests)
    assert caught.value.args[0] == code
    assert _files(tmp_path) == []


def test_a_write_that_ends_early_leaves_nothing(caller: _Caller, tmp_path: Path) -> None:
    """Without a commit there is no blob."""
    caller.write(*_writing(DATA, _digest(DATA))[:-1])
    assert _files(tmp_path) == []


def test_what_is_there_is_not_written_again(caller: _Caller) -> None:
    """A blob that is there is told so at once."""
    requests = _writing(DATA, _digest(DATA))
    caller.write(*requests)
    with pytest.raises(_AbortedError) as caught:
        caller.write(requests[0])
    assert caught.value.args[0] == "ALREADY_EXISTS"


def test_one_write_to_a_name(tmp_path: Path) -> None:
    """A second write of the same name has to wait."""
    folder = ContentFolder(tmp_path)
    with folder.writing("r"), pytest.raises(ContentError) as caught, folder.writing("r"):
        pass
    assert caught.value.reason == "busy"
    with folder.writing("r"):
        assert [found.ref for found in folder.all_written()] == ["r"]


@pytest.mark.parametrize(
    "digest", ["", "sha256:", f"sha256:{'A' * 64}", "sha512:" + "a" * 128, "a/b"]
)
def test_only_digests_name_blobs(caller: _Caller, digest: str) -> None:
    """No other text is ever part of a path."""
    with pytest.raises(_AbortedError) as caught:
        caller.one("Info", pb.InfoRequest(digest=digest))
    assert caught.value.args[0] == "INVALID_ARGUMENT"


def test_links_are_not_followed(caller: _Caller, tmp_path: Path) -> None:
    """A link in the place of a blob is no blob."""
    digest = _digest(DATA)
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(DATA)
    (blobs / digest[7:]).symlink_to(tmp_path / "secret")
    with pytest.raises(_AbortedError) as caught:
        caller.many("Read", pb.ReadContentRequest(digest=digest))
    assert caught.value.args == ("NOT_FOUND", f"the blob {digest} is no file")


def test_another_folder_is_not_found(caller: _Caller) -> None:
    """A builder names folders by the ids that it was given."""
    with pytest.raises(_AbortedError) as caught:
        caller.one("Info", pb.InfoRequest(digest=_digest(b"")), store="local:/etc")
    assert caught.value.args == ("NOT_FOUND", "there is no folder 'local:/etc'")


def test_tags_are_moved(tmp_path: Path) -> None:
    """A tag names what had it last; other tags and annotations stay."""
    folder = ContentFolder(tmp_path)
    one, two = {"digest": _digest(b"1"), "size": 1}, {"digest": _digest(b"2"), "size": 1}
    assert folder.tagged("latest") is None
    folder.tag({**one, "annotations": {"a": "b"}}, "other")
    folder.tag(one, "latest")
    folder.tag(two, "latest")
    assert (folder.tagged("latest"), folder.tagged("other")) == (two["digest"], one["digest"])
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["manifests"][0]["annotations"] == {
        "a": "b",
        "org.opencontainers.image.ref.name": "other",
    }
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"manifests": 3}', '{"manifests": ["x"]}'],
    ids=["empty", "list", "number", "text"],
)
def test_a_malformed_index_is_told(tmp_path: Path, text: str) -> None:
    """An index that is none is an error with its path."""
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ContentError) as caught:
        ContentFolder(tmp_path).tagged("latest")
    assert (caught.value.reason, str(tmp_path) in str(caught.value)) == ("malformed", True)


# What nothing needs any more


def _put(folder: ContentFolder, data: bytes) -> str:
    """Write a blob an hour ago."""
    with folder.writing("x") as writing:
        writing.write(data)
        folder.commit(writing)
        path = folder.folder / "blobs/sha256" / writing.digest.removeprefix("sha256:")
    then_s = time.time() - 3600
    os.utime(path, (then_s, then_s))
    return writing.digest


def _manifest(folder: ContentFolder, kind: str, **parts: Any) -> dict[str, Any]:
    """Write a manifest; its descriptor."""
    data = json.dumps(parts).encode()
    return {
        "digest": _put(folder, data),
        "size": len(data),
        "mediaType": f"application/vnd.{kind}+json",
    }


def test_a_sweep(tmp_path: Path) -> None:
    """What any entry of the index leads to stays, and what is new; all else goes."""
    folder = ContentFolder(tmp_path / "cache")
    kept = [{"digest": _put(folder, name.encode()), "mediaType": "x"} for name in "abc"]
    gone = _put(folder, b"gone")
    image = _manifest(folder, "oci.image.manifest.v1", config=kept[0], layers=[kept[1]])
    index = _manifest(folder, "oci.image.index.v1", manifests=[image, kept[2]])
    listed = _manifest(folder, "docker.distribution.manifest.list.v2", manifests=[image])
    folder.tag(index, "one")
    folder.tag(listed, "two")
    began_s = time.time() - 60
    with folder.writing("new") as writing:
        writing.write(b"of somebody else")
        folder.commit(writing)
    folder.sweep(began_s)
    left = {blob.digest for blob in folder.blobs()}
    needed = {entry["digest"] for entry in (*kept, image, index, listed)}
    assert left == {*needed, writing.digest}
    assert gone not in left
    folder.sweep(began_s)
    assert {blob.digest for blob in folder.blobs()} == left


BROKEN = {"no JSON": b"{", "a list": b"[]", "no list": b'{"layers": 7}'}


@pytest.mark.parametrize("name", [*BROKEN, "absent"])
def test_a_sweep_that_cannot_tell(tmp_path: Path, name: str) -> None:
    """Nothing goes where it is not known what is needed."""
    folder = ContentFolder(tmp_path / "cache")
    other = _put(folder, b"other")
    digest = f"sha256:{'0' * 64}" if name == "absent" else _put(folder, BROKEN[name])
    described = {"digest": digest, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    folder.tag(described, "one")
    with pytest.raises(ContentError):
        folder.sweep(time.time())
    assert folder.find(other).size == len(b"other")
