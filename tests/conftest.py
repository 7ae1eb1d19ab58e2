"""Keeps unit and property tests away from sockets and processes, and signals as they should be.

Tests may run in several processes (``-n``): those of one engine in one of them, one after the
other; those of every other file, too. Pages of the documentation continue each other's projects.
"""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest
from engines import ENGINES
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer  # type: ignore[import-untyped]

_FORBIDDEN: Final = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.sendto",
        "subprocess.Popen",
    }
)
_TOGETHER: Final = ("tests/docs",)
_ENGINE: Final = re.compile(
    rf"(?<=[\[-])({'|'.join(map(re.escape, sorted(ENGINES, key=len, reverse=True)))})(?=[-\]])"
)
_PURE_FOLDERS: Final = ("unit", "property")


class _Guard:
    """An audit hook, which Python cannot take back, with a switch."""

    active = False

    def __call__(self, event: str, _args: tuple[object, ...]) -> None:
        if self.active and event in _FORBIDDEN:
            message = f"a unit or property test may not do this: {event}"
            raise RuntimeError(message)


# A shell starts what runs in its background with SIGINT ignored, and so would be all our children.
signal.signal(signal.SIGINT, signal.default_int_handler)

_GUARD = _Guard()
sys.addaudithook(_GUARD)


class _InGroups(LoadScopeScheduling):  # type: ignore[misc]  # which has no types
    """Gives a process all tests of a group."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Deal tests out to processes in groups."""
    return _InGroups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests that wait for engines."""
    items.sort(key=lambda item: _group(item.nodeid) not in ENGINES)


def _group(nodeid: str) -> str:
    file, _, name = nodeid.partition("::")
    engine = _ENGINE.search(name)
    if engine:
        return engine[0]
    folder = "/".join(file.split("/")[:2])
    return folder if folder in _TOGETHER else file


@pytest.fixture(autouse=True)
def _no_effects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forbid sockets and processes while a unit or property test runs."""
    folder = request.path.relative_to(request.config.rootpath / "tests").parts[0]
    _GUARD.active = folder in _PURE_FOLDERS
    yield
    _GUARD.active = False
