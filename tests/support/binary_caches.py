"""Binary caches that real Nix made, and servers of them. Effects: Nix, files, a socket, threads.

Their paths are small, new in every session, and built by real Nix in its own store.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from http_server import Answer, Server
from projects import SEED
from real_nix import FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from http_server import Request

COMPRESSIONS: Final = ("xz", "zstd", "gzip", "bzip2", "none")
"""All that nixbk takes; Nix can make more."""
STORE: Final = "/nix/store/"
HASH_LENGTH: Final = 32
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")

MAKE: Final = """\
  seed = builtins.path { path = seedPath; name = "cache-seed"; };
  make = name: args: script: derivation ({
    inherit name salt;
    system = "x86_64-linux";
    builder = "${seed}/bin/bash";
    PATH = "${seed}/bin";
    args = [ "-euc" script ];
  } // args);
"""
"""Nix code between ``let`` and ``in``: what makes a store path that is new to all caches."""

PACKAGES: Final = (
    """
# Files of some dozen kilobytes that do not compress away; a table of names and their lengths.
{ salt, seedPath, sizes }:
let
"""
    + MAKE
    + """\
  numbers = ''awk -v n=$lines -v s=$((0x$(echo "$name $salt" | md5sum | head -c 7))) \
    'BEGIN { srand(s); for (i = 0; i < n; i++) printf "%d\\n", rand() * 1000000000 }' '';
  data = builtins.mapAttrs
    (name: lines: make name { inherit lines; } "mkdir $out; ${numbers} > $out/data")
    sizes;
in
data // rec {
  lib = make "lib" { lines = 3000; } "mkdir $out; ${numbers} > $out/text";
  # refers to lib and to itself
  app = make "app" { inherit lib; lines = 2000; } ''
    mkdir -p $out/bin; ${numbers} > $out/data
    printf '#!/bin/sh\\n# %s\\necho %s\\n' $out/data $lib/text > $out/bin/app
    chmod +x $out/bin/app
  '';
  # what mounts of BuildKit cannot be
  link = make "link" { inherit lib; } "ln -s $lib/text $out";
  # short ones are looked into when locking
  tiny = make "tiny" { } "echo $salt > $out";
  # Nix never asks caches for it
  own = make "own" { inherit lib; allowSubstitutes = false; } "cat $lib/text > $out";
  # its own text says what its path is
  fixed = make "fixed"
    { outputHashMode = "flat"; outputHashAlgo = "sha256";
      outputHash = builtins.hashString "sha256" (salt + fill); }
    "printf %s '${salt}${fill}' > $out";
  fill = builtins.concatStringsSep "" (builtins.genList (n: "${toString n} of ${salt}\\n") 500);
}
"""
)


def nix(*command: str | Path) -> str:
    """What a command of real Nix prints."""
    environ = {**os.environ, "NIX_CONFIG": f"extra-experimental-features = {FEATURES}"}
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that real Nix made.

    Attributes:
        name: before the colon.
        file: where the secret part is.
        public: the public part, as manifests and ``nix.conf`` have it.
    """

    name: str
    file: Path
    public: str

    @classmethod
    def make(cls, folder: Path, name: str = "cache.test-1") -> SigningKey:
        """Make one, with its files in *folder*."""
        secret, public = folder / f"{name}.sec", folder / f"{name}.pub"
        nix("nix-store", "--generate-binary-cache-key", name, secret, public)
        return cls(name, secret, public.read_text().strip())


def write_packages(folder: Path, salt: str, sizes: Mapping[str, int]) -> Path:
    """Write :data:`PACKAGES` with its arguments, and its seed, to a folder; the file."""
    shutil.copytree(SEED, folder / "seed", symlinks=True, dirs_exist_ok=True)
    (folder / "packages.nix").write_text(PACKAGES)
    file = folder / "default.nix"
    table = " ".join(f"{json.dumps(name)} = {lines};" for name, lines in sizes.items())
    file.write_text(
        f'import ./packages.nix {{ salt = "{salt}"; seedPath = ./seed; sizes = {{ {table} }}; }}\n'
    )
    return file


def build_packages(folder: Path, salt: str, sizes: Mapping[str, int]) -> dict[str, str]:
    """Have real Nix build all of :data:`PACKAGES`; the store paths, by name.

    Args:
        folder: for the expression.
        salt: letters and digits that make all paths new.
        sizes: names of further ones, with the number of their lines (of ten bytes).
    """
    names = [*sizes, "lib", "app", "link", "tiny", "own", "fixed"]
    options = [word for name in names for word in ("-A", name)]
    file = write_packages(folder, salt, sizes)
    found = nix("nix-build", "--no-out-link", file, *options).split()
    return dict(zip(names, found, strict=True))


def make_cache(
    folder: Path, paths: Sequence[str], compression: str = "xz", key: SigningKey | None = None
) -> Path:
    """Have real Nix copy *paths*, and what they refer to, to a cache in *folder*."""
    url = f"file://{folder}?compression={compression}"
    nix("nix", "copy", "--to", f"{url}&secret-key={key.file}" if key else url, *paths)
    return folder


def closure(paths: Iterable[str]) -> tuple[str, ...]:
    """All store paths that *paths* need, themselves included."""
    return tuple(nix("nix-store", "--query", "--requisites", *paths).split())


# Files of a cache


def hash_part(path: str) -> str:
    """The first part of the name of a store path."""
    return path.removeprefix(STORE)[:HASH_LENGTH]


def narinfo_file(folder: Path, path: str) -> Path:
    """Where a cache in *folder* tells of a store path."""
    return folder / f"{hash_part(path)}.narinfo"


def narinfo(folder: Path, path: str) -> dict[str, str]:
    """What a cache in *folder* tells of a store path; the last signature of several."""
    lines = narinfo_file(folder, path).read_text().splitlines()
    return dict(line.partition(": ")[::2] for line in lines)


def with_field(name: str, value: str | None) -> Callable[[bytes], bytes]:
    """Set a field of a narinfo, or take it away."""

    def edit(data: bytes) -> bytes:
        lines = data.decode().splitlines()
        kept = [line for line in lines if line.partition(": ")[0] != name]
        return "".join(
            f"{line}\n" for line in kept + ([] if value is None else [f"{name}: {value}"])
        ).encode()

    return edit


def edit_narinfo(folder: Path, path: str, name: str, value: str | None) -> None:
    """Set a field of what a cache in *folder* tells of a store path, or take it away."""
    file = narinfo_file(folder, path)
    file.write_bytes(with_field(name, value)(file.read_bytes()))


# Servers


class CacheServer(Server):
    """Serves a folder as a binary cache, with ranges, as any server of files does.

    Args:
        folder: of the cache.
        certificate: and its key; None to serve without TLS.
        login: ``user:password`` that everybody has to send.
        token: what everybody has to send as bearer.
        writable: whether it takes what is PUT.
    """

    def __init__(
        self,
        folder: Path,
        certificate: tuple[Path, Path] | None = None,
        *,
        login: str = "",
        token: str = "",
        writable: bool = False,
    ) -> None:
        super().__init__(self._file, certificate)
        self.folder = folder
        self.writable = writable
        self._writing = threading.Lock()
        self._door = f"Bearer {token}" if token else ""
        if login:
            self._door = "Basic " + base64.b64encode(login.encode()).decode()

    def _file(self, request: Request) -> Answer:
        if self._door and request.headers.get("authorization") != self._door:
            how = self._door.partition(" ")[0]
            return Answer(401, b"who?", {"WWW-Authenticate": f'{how} realm="cache"'})
        place = (self.folder / unquote(request.path.partition("?")[0]).lstrip("/")).resolve()
        if not place.is_relative_to(self.folder.resolve()):
            return Answer(400, b"no")
        if request.method == "PUT":
            return self._put(place, request.body)
        if request.method not in {"GET", "HEAD"}:
            return Answer(405, b"no")
        if not place.is_file():
            return Answer(404, b"not found")
        return ranged(place.read_bytes(), request)

    def _put(self, place: Path, body: bytes) -> Answer:
        if not self.writable:
            return Answer(405, b"read only")
        with self._writing:
            new = not place.exists()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
        return Answer(201 if new else 204)


def ranged(data: bytes, request: Request) -> Answer:
    """All of *data*, or the range of it that is asked for."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted is None:
        return Answer(200, data, headers)
    first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
    if first >= len(data):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    part = data[first : last + 1]
    headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
    return Answer(206, part, headers)


def copy_cache(folder: Path, to: Path) -> Path:
    """A copy of a cache, for a test to spoil."""
    shutil.copytree(folder, to)
    return to
