"""What a fresh interpreter loads for a client; needs no engine."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import nixbk.buildkit.address, nixbk.buildkit.errors, nixbk.buildkit.protocols
assert not {"grpc", "google.protobuf"} & set(sys.modules), "loaded too early"
import nixbk.buildkit.client
assert "grpc.aio._channel" not in sys.modules, "grpc.aio is loaded"
import grpc
assert isinstance(grpc.aio.Channel, type), "grpc.aio does not load any more"
"""


def test_grpc_loads_late_and_without_its_other_half() -> None:
    """Addresses need no gRPC, the client no grpc.aio, and others may still use both."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
