"""A stand-in for the cache service of GitHub Actions, as BuildKit talks to it. Effects: a socket.

It speaks both of its protocols. The first has reservations, chunks and commits of its own; of the
second the files go to what behaves like a block blob of Azure, at an address that needs no token.

Source: ``cache.go`` and ``cache_v2.go`` of github.com/tonistiigi/go-actions-cache; the operations
Put Blob, Put Block and Put Block List of Azure's Blob service.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from binary_caches import ranged
from http_server import Answer, Request, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READ_AND_WRITE: Final = 3
SCOPE: Final = "refs/heads/main"
_V1: Final = "/_apis/artifactcache/"
_V2: Final = "/twirp/github.actions.results.api.v1.CacheService/"
_BLOB: Final = "/blobs/"
_START: Final = re.compile(r"bytes (\d+)-")
_BLOCK: Final = re.compile(r"<Latest>([^<]*)</Latest>")
_HOUR_S: Final = 3600


def _part(value: Mapping[str, object]) -> str:
    text = json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def job_token(secret: str, scope: str = SCOPE) -> str:
    """A token as jobs have it; *secret* stands in for the signature."""
    now = int(time.time())
    access = json.dumps([{"Scope": scope, "Permission": READ_AND_WRITE}])
    claims = {"ac": access, "exp": now + _HOUR_S, "nbf": now - _HOUR_S}
    return f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}.{secret}"


class ActionsCache(Server):
    """The service; what is committed can be had from then on, and is never changed.

    Args:
        token: that every question has to bring along.

    Attributes:
        entries: what is committed, by key and version, in that order.
    """

    def __init__(self, token: str) -> None:
        super().__init__(self._respond)
        self.entries: dict[tuple[str, str], bytes] = {}
        self._token = token
        self._reserved: list[tuple[str, str]] = []
        self._parts: dict[int, dict[Any, bytes]] = {}
        self._changing = threading.Lock()

    @property
    def environ(self) -> dict[str, str]:
        """What a job of today finds in its environment."""
        return {
            "ACTIONS_CACHE_SERVICE_V2": "True",
            "ACTIONS_RESULTS_URL": f"{self.url}/",
            "ACTIONS_RUNTIME_TOKEN": self._token,
        }

    def _respond(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        with self._changing:
            if parts.path.startswith(_BLOB):
                return self._blob(request, int(parts.path.removeprefix(_BLOB)))
            if request.headers.get("authorization") != f"Bearer {self._token}":
                return _json({"message": "who are you?"}, 401)
            if parts.path.startswith(_V2):
                call = self._calls.get(parts.path.removeprefix(_V2))
                return _json({}, 404) if call is None else call(self, json.loads(request.body))
            return self._first(request, parts.path.removeprefix(_V1), parse_qs(parts.query))

    # The first protocol

    def _first(self, request: Request, path: str, query: Mapping[str, list[str]]) -> Answer:
        method, _, number = (request.method, *path.partition("/")[::2])
        if method == "GET" and path == "cache":
            found = self._find(query["keys"][0].split(","), query["version"][0])
            if found is None:
                return Answer(204)
            place = f"{self.url}{_BLOB}{self._reserved.index(found)}"
            return _json({"cacheKey": found[0], "scope": SCOPE, "archiveLocation": place})
        if method == "POST" and path == "caches":
            asked = json.loads(request.body)
            place_number = self._reserve(asked["key"], asked["version"])
            if place_number is None:
                message = {"message": "it is there", "typeKey": "ArtifactCacheItemAlreadyExists"}
                return _json(message, 409)
            return _json({"cacheID": place_number + 1})
        index = int(number) - 1
        if method == "PATCH":
            start = _START.match(request.headers["content-range"])
            assert start is not None
            self._parts[index][int(start[1])] = request.body
            return Answer(204)
        chunks = self._parts[index]
        data = b"".join(chunks[offset] for offset in sorted(chunks))
        return self._commit(index, data, json.loads(request.body)["size"], Answer(204))

    # The second protocol

    def _create(self, asked: Mapping[str, str]) -> Answer:
        number = self._reserve(asked["key"], asked["version"])
        if number is None:
            return _json({"code": "already_exists", "msg": "it is there"}, 409)
        return _json({"ok": True, "signed_upload_url": f"{self.url}{_BLOB}{number}"})

    def _finalize(self, asked: Mapping[str, Any]) -> Answer:
        number = self._reserved.index((asked["key"], asked["version"]))
        done = _json({"ok": True, "entry_id": str(number)})
        return self._commit(number, self._parts[number][""], int(asked["size_bytes"]), done)

    def _look_up(self, asked: Mapping[str, Any]) -> Answer:
        found = self._find([asked["key"], *asked.get("restore_keys", ())], asked["version"])
        if found is None:
            return _json({"ok": False})
        place = f"{self.url}{_BLOB}{self._reserved.index(found)}"
        return _json({"ok": True, "signed_download_url": place, "matched_key": found[0]})

    _calls: Final[dict[str, Callable[[ActionsCache, Any], Answer]]] = {
        "CreateCacheEntry": _create,
        "FinalizeCacheEntryUpload": _finalize,
        "GetCacheEntryDownloadURL": _look_up,
    }

    def _blob(self, request: Request, number: int) -> Answer:
        if request.method == "GET":
            asked = request.headers.get("x-ms-range", "")
            headers = {**request.headers, **({"range": asked} if asked else {})}
            whole = self.entries[self._reserved[number]]
            return ranged(whole, Request("GET", request.path, headers))
        query = parse_qs(urlsplit(request.path).query)
        blocks = self._parts[number]
        if query.get("comp") == ["block"]:
            blocks[unquote(query["blockid"][0])] = request.body
        elif query.get("comp") == ["blocklist"]:
            names = _BLOCK.findall(request.body.decode())
            blocks[""] = b"".join(blocks[name] for name in names)
        else:
            blocks[""] = request.body
        return Answer(201, b"", {"x-ms-request-id": "1"})

    # What both do

    def _reserve(self, key: str, version: str) -> int | None:
        if (key, version) in self._reserved:
            return None
        self._reserved.append((key, version))
        self._parts[len(self._reserved) - 1] = {}
        return len(self._reserved) - 1

    def _commit(self, number: int, data: bytes, size: int, done: Answer) -> Answer:
        if len(data) != size:
            return _json({"message": f"{len(data)} of {size} bytes came"}, 400)
        self.entries[self._reserved[number]] = data
        return done

    def _find(self, keys: list[str], version: str) -> tuple[str, str] | None:
        """The newest of what begins with one of *keys*, the first that anything begins with."""
        for key in keys:
            if (key, version) in self.entries:
                return key, version
            for found in reversed(self.entries):
                if found[0].startswith(key) and found[1] == version:
                    return found
        return None


def _json(value: Mapping[str, object], status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})
