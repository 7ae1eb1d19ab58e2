"""Keeps unit and property tests away from sockets and processes, and signals as they should be.

Tests may run in several processes (``-n``): those of one engine in one of them, one after the
other; those of every other file, too. Pages of the documentation continue each other's projects.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest
from engines import ENGINES

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_TOGETHER: Final = ("docs",)
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests keep together, and start with those that wait for engines."""
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: groups[item] not in ENGINES)


def _group(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec else ():
        if isinstance(value, str) and value in ENGINES:
            return value
    folder, *_ = parts = item.path.relative_to(item.config.rootpath / "tests").parts
    return folder if folder in _TOGETHER else "/".join(parts)


@pytest.fixture(autouse=True)
def _no_effects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forbid sockets and processes while a unit or property test runs."""
    folder = request.path.relative_to(request.config.rootpath / "tests").parts[0]
    _GUARD.active = folder in _PURE_FOLDERS
    yield
    _GUARD.active = False
