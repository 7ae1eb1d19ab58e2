"""Keeps unit and property tests away from sockets and processes, and signals as they should be."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest

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


@pytest.fixture(autouse=True)
def _no_effects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forbid sockets and processes while a unit or property test runs."""
    folder = request.path.relative_to(request.config.rootpath / "tests").parts[0]
    _GUARD.active = folder in _PURE_FOLDERS
    yield
    _GUARD.active = False
