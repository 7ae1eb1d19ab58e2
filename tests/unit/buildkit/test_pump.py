"""Bytes between two sockets."""

from __future__ import annotations

import os
import socket
import threading

from nixbk.buildkit.pump import private_folder, pump


def test_bytes_go_both_ways_until_one_side_ends() -> None:
    """Much at once in both directions arrives in order, and what was sent last is delivered."""
    near, left = socket.socketpair()
    right, far = socket.socketpair()

    def carry() -> None:
        with left, right:
            pump(left, right)

    thread = threading.Thread(target=carry)
    thread.start()
    there, back = os.urandom(3_000_000), os.urandom(2_000_000)
    received: dict[str, bytes] = {}

    def read(name: str, sock: socket.socket, size: int) -> None:
        data = bytearray()
        while len(data) < size:
            data += sock.recv(100_000)
        received[name] = bytes(data)

    threads = [
        threading.Thread(target=near.sendall, args=(there,)),
        threading.Thread(target=far.sendall, args=(back,)),
        threading.Thread(target=read, args=("far", far, len(there))),
        threading.Thread(target=read, args=("near", near, len(back))),
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    near.sendall(b"last words")
    near.close()
    assert far.recv(100) == b"last words"
    assert far.recv(100) == b""
    thread.join(5)
    assert not thread.is_alive()
    assert received == {"far": there, "near": back}
    far.close()


def test_sockets_are_private() -> None:
    """Nobody else may enter the folder of a socket, and its path is short enough for one."""
    folder = private_folder()
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder / "s")) < 100
    finally:
        folder.rmdir()
