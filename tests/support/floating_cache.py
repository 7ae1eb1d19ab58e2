"""Caches by real Nix that tell what open outputs came to. Effects: Nix, files.

An output is open whose path does not follow from its recipe: it floats, or waits for one that does.
"""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from binary_caches import MAKE, SigningKey, nix
from engines import start
from projects import SEED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

EXPRESSION: Final = (
    """
{ salt, seedPath }:
let
"""
    + MAKE
    + """\
  floats = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
in
rec {
  float = make "float" (floats // { outputs = [ "out" "dev" ]; })
    "mkdir $out $dev; echo $salt > $out/x; echo $out > $dev/y";
  # refers to one that floats
  above = make "above" (floats // { inherit float; }) "mkdir $out; echo $float > $out/x";
  # waits for one that floats
  waiting = make "waiting" { inherit above; } "mkdir $out; echo $above > $out/x";
  other = make "other" { inherit float; } "mkdir $out; cat $float/x > $out/x; echo $float > $out/y";
  # its path is known, and what it is built from is not
  fixed = make "fixed"
    { inherit float; outputHashMode = "flat"; outputHashAlgo = "sha256";
      outputHash = builtins.hashString "sha256" "${salt}\\n"; }
    "cat $float/x > $out";
  own = make "own" (floats // { inherit float; allowSubstitutes = false; })
    "mkdir $out; echo own $float > $out/x";
}
"""
)
NAMES: Final = ("float", "above", "waiting", "other", "fixed", "own")


@dataclass(frozen=True)
class FloatingCache:
    """What real Nix built of :data:`EXPRESSION`, and how it tells of it.

    Attributes:
        source: the folder of the expression.
        key: that signed all when it was built.
        paths: by name and output, ``float^dev``.
        ids: what real Nix calls the outputs, likewise.
        scratch: for caches.
    """

    source: Path
    key: SigningKey
    paths: Mapping[str, str]
    ids: Mapping[str, str]
    scratch: Path

    @classmethod
    def make(cls, folder: Path) -> FloatingCache:
        """Build it, new to everybody."""
        if not SEED.exists():
            start("mirror")
        source = folder / "source"
        shutil.copytree(SEED, source / "seed", symlinks=True)
        (source / "floating.nix").write_text(EXPRESSION)
        file, salt = source / "default.nix", secrets.token_hex(6)
        file.write_text(f'import ./floating.nix {{ salt = "{salt}"; seedPath = ./seed; }}\n')
        key = SigningKey.make(folder)
        signing = ["--option", "secret-key-files", str(key.file)]
        nix("nix", "build", "--no-link", *signing, "-f", file, *(f"{name}^*" for name in NAMES))
        paths, ids = {}, {}
        for name in NAMES:
            shown = nix("nix", "build", "--no-link", "--json", "-f", file, f"{name}^*")
            for output, path in json.loads(shown)[0]["outputs"].items():
                paths[f"{name}^{output}"] = path
            found = nix("nix", "realisation", "info", "--json", "-f", file, f"{name}^*")
            for entry in json.loads(found):
                ids[f"{name}^{entry['id'].partition('!')[2]}"] = entry["id"]
        return cls(source, key, paths, ids, folder)

    def write_expression(self, folder: Path) -> None:
        """Write a ``default.nix`` of the same derivations."""
        shutil.copytree(self.source, folder, symlinks=True, dirs_exist_ok=True)

    def cache(self, outputs: Iterable[str]) -> Path:
        """A new cache of some outputs alone, with what they refer to."""
        folder = self.scratch / f"cache-{secrets.token_hex(4)}"
        target = f"file://{folder}?secret-key={self.key.file}&compression=zstd"
        wanted = list(outputs)
        if wanted:
            nix("nix", "copy", "--to", target, "-f", self.source / "default.nix", *wanted)
        kept = {f"{self.ids[name]}.doi" for name in wanted if name in self.ids}
        for file in (folder / "realisations").glob("*.doi"):
            if file.name not in kept:
                file.unlink()
        return folder

    def told(self, folder: Path, output: str) -> Path:
        """The file in which a cache tells of an output."""
        return folder / "realisations" / f"{self.ids[output]}.doi"
