"""The guard that keeps unit tests pure can fail."""

from __future__ import annotations

import socket
import subprocess

import pytest


def test_no_process() -> None:
    """A unit test cannot start a process."""
    with pytest.raises(RuntimeError, match=r"may not do this: subprocess\.Popen"):
        subprocess.run(["true"], check=True)


def test_no_socket() -> None:
    """A unit test cannot open a connection."""
    with socket.socket() as client, pytest.raises(RuntimeError, match=r"socket\.connect"):
        client.connect(("127.0.0.1", 9))
