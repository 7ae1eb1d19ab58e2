"""Evaluation by the ``nix`` command, 2.18 and later.

Nothing is put together as Nix code: the expressions are ``evaluate.nix`` and ``pin.nix`` beside
this module, and what they are asked goes to them as arguments. Flakes are evaluated in Nix's pure
mode by locked references; plain files in its restricted mode, where they see their own folder and
the manifest's, the trees of the inputs, and no search path. No registry is asked.

Effect: runs ``nix``, ``nix-instantiate`` and ``nix-store``; Nix fetches inputs, writes
derivations to its store, and builds what an evaluation imports.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import platform
import subprocess
import tempfile
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from nixbk.errors import NixbkError
from nixbk.nix import nar
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.store_path import StorePath, source_path
from nixbk.resolve.evaluator import (
    Evaluated,
    EvaluationError,
    InputRequest,
    NixMissingError,
    PathInfo,
    ResolvedInput,
    Wish,
)
from nixbk.resolve.filesystem import CHUNK_BYTES, nar_of, scan
from nixbk.resolve.flake_url import flake_url, local_root
from nixbk.resolve.nix_messages import hint_for, summary, too_old
from nixbk.resolve.process import ended, run
from nixbk.resolve.trees import unpack, without
from nixbk.schema.installable import ALL_OUTPUTS, InstallableKind
from nixbk.schema.lock import LockedInput
from nixbk.schema.platform import MACHINES, SYSTEMS
from nixbk.schema.problems import quote_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

OLDEST: Final = (2, 18)
INSTALL_HINT: Final = (
    "install Nix 2.18 or later (https://nixos.org/download), or 'nix-bin' of Debian"
)
BATCH: Final = 200
"""How many installables go to one process: a request is one argument of a command."""

_FEATURES: Final = (
    "--option",
    "extra-experimental-features",
    # What nixbk uses; then what derivations may, so that what cannot be locked is said by nixbk.
    "nix-command flakes ca-derivations impure-derivations dynamic-derivations git-hashing",
)
_NO_REGISTRY: Final = ("--option", "flake-registry", "")


class NixCommand:
    """Nix as it is installed on this machine.

    Args:
        folder: the manifest's; paths of installables and inputs are relative to it.
        on_line: takes what Nix says while it works.
        environ: what programs are found by and run with.
        without: files and folders that are no part of a flake they lie in: a lock that were a
            part of what it locks could never be up to date.
    """

    def __init__(
        self,
        folder: Path,
        on_line: Callable[[str], None] | None = None,
        environ: Mapping[str, str] | None = None,
        without: Iterable[Path] = (),
    ) -> None:
        self._folder = folder.resolve()
        self._on_line = on_line
        self._without = tuple(path.parent.resolve() / path.name for path in without)
        self._environ = {**(os.environ if environ is None else environ), "NIX_PATH": ""}

    # Inputs -------------------------------------------------------------------------------

    def lock_input(self, request: InputRequest) -> ResolvedInput:
        """Pin an input; see `Evaluator`."""
        if request.flake:
            # A lock file that would have to change would pin nothing.
            command = ["nix", "flake", "metadata", "--json", "--no-update-lock-file"]
        else:
            command = ["nix", "flake", "prefetch", "--json"]
        found = json.loads(self._nix([*command, *_FEATURES, *_NO_REGISTRY, "--", request.url]))
        attributes = dict(found.get("locked") or self._pin(request.url))
        attributes.setdefault("narHash", found.get("hash"))
        nar_hash = Hash.parse(str(attributes["narHash"]), HashAlgorithm.SHA256)
        attributes["narHash"] = nar_hash.sri()
        store_path = StorePath.parse(found.get("path") or found["storePath"])
        root = local_root(attributes)
        if root is not None:
            return self._local(request, attributes, Path(root), store_path)
        reference = flake_url(attributes)
        rev, modified = attributes.get("rev"), attributes.get("lastModified")
        locked = LockedInput(
            request.name, request.url, request.flake, reference, rev, nar_hash, modified
        )
        return ResolvedInput(locked, reference, store_path)

    def _pin(self, url: str) -> dict[str, Any]:
        """The attributes of a locked reference, which Nix before 2.19 and Lix do not print."""
        if url.startswith(("path:", "/", ".")):
            place = unquote(url.removeprefix("path:").partition("?")[0])
            return {"type": "path", "path": str(self._folder / place)}
        command = ["nix-instantiate", "--eval", "--strict", "--json", *_FEATURES, *_NO_REGISTRY]
        command += ["--argstr", "url", url, "--expr", _expression("pin.nix")]
        found: dict[str, Any] = json.loads(self._nix(command))
        return found

    def _local(
        self, request: InputRequest, attributes: dict[str, Any], root: Path, store_path: StorePath
    ) -> ResolvedInput:
        """Pin what lies in the file system: to its files, since its revision may not tell."""
        root = root.resolve()
        tree = Path(str(store_path))
        own = {str(p.relative_to(root)) for p in self._without if p.is_relative_to(root)}
        # Committing a lock makes a revision: where there is a lock, there is none to tell of.
        has_revision = "rev" in attributes and not own
        own = {path for path in own if os.path.lexists(tree / path)}
        if own:
            with tempfile.TemporaryDirectory(prefix="nixbk-") as folder:
                copy = Path(folder) / "source"
                unpack(without(scan(tree), own), copy)
                added = self._nix(["nix-store", "--add", str(copy)])
            store_path = StorePath.parse(added.decode().strip())
        nar_hash, _ = nar.nar_hash(self.nar(store_path))
        attributes["narHash"] = nar_hash.sri()
        if not has_revision:
            attributes = {**attributes, "type": "path", "path": str(store_path)}
            attributes.pop("rev", None)
        locked = LockedInput(request.name, request.url, request.flake, request.url, None, nar_hash)
        return ResolvedInput(locked, flake_url(attributes), store_path, is_local=True)

    def fetch_input(self, locked: LockedInput) -> ResolvedInput:
        """Have the tree of a pinned input; see `Evaluator`."""
        path = source_path("source", locked.nar_hash.digest)
        if not Path(str(path)).exists():
            command = ["nix", "flake", "prefetch", "--json", *_FEATURES, *_NO_REGISTRY]
            found = json.loads(self._nix([*command, "--", locked.locked]))
            path = StorePath.parse(found["storePath"])
            if Hash.parse(found["hash"], HashAlgorithm.SHA256) != locked.nar_hash:
                raise EvaluationError(
                    f"the input hashes to {found['hash']!r}, not to {locked.nar_hash.sri()!r}",
                    hint="what it is fetched from gives other files now; run 'nixbk lock --update'",
                )
        return ResolvedInput(locked, locked.locked, path)

    # Installables -------------------------------------------------------------------------

    def evaluate(
        self, wishes: Sequence[Wish], inputs: Mapping[str, StorePath]
    ) -> Sequence[Evaluated | EvaluationError]:
        """The derivations of *wishes*; see `Evaluator`."""
        results: dict[Wish, Evaluated | EvaluationError] = {}
        batches: dict[tuple[str, ...], list[Wish]] = {}
        for wish in dict.fromkeys(wishes):
            installable = wish.installable
            if installable.kind is InstallableKind.STORE:
                path = StorePath.parse(installable.target)
                results[wish] = Evaluated(path, ALL_OUTPUTS)
            elif installable.kind is InstallableKind.FILE:
                batches.setdefault(self._restricted(wish, inputs), []).append(wish)
            else:
                batches.setdefault(("--option", "pure-eval", "true"), []).append(wish)
        for options, members in batches.items():
            for start in range(0, len(members), BATCH):
                batch = members[start : start + BATCH]
                results.update(zip(batch, self._batch(batch, options, inputs), strict=True))
        return [results[wish] for wish in wishes]

    def _restricted(self, wish: Wish, inputs: Mapping[str, StorePath]) -> tuple[str, ...]:
        """The options for a plain file: what it may see."""
        folders = dict.fromkeys([self._folder, self._file(wish).parent])
        shown = [f"nixbk={folder}" for folder in folders]
        shown += [f"nixbk-{name}={path}" for name, path in sorted(inputs.items())]
        options = ["--option", "restrict-eval", "true", "--option", "eval-system", wish.system]
        if wish.system != SYSTEMS.get(MACHINES.get(platform.machine(), "")):
            options += ["--option", "system", wish.system]
        return (*options, *(part for entry in shown for part in ("-I", entry)))

    def _file(self, wish: Wish) -> Path:
        path = self._folder / wish.installable.target
        return path.parent.resolve() / path.name

    def _batch(
        self, wishes: list[Wish], options: tuple[str, ...], inputs: Mapping[str, StorePath]
    ) -> list[Evaluated | EvaluationError]:
        trees = {name: str(path) for name, path in inputs.items()}
        if options[1] == "pure-eval":
            trees = {}
        request = {"inputs": trees, "wishes": [self._wish(wish) for wish in wishes]}
        command = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode"]
        command += [*_FEATURES, *_NO_REGISTRY, *options]
        command += [
            "--argstr",
            "request",
            json.dumps(request),
            "--expr",
            _expression("evaluate.nix"),
        ]
        try:
            rows = json.loads(self._nix(command))
        except EvaluationError as error:
            if len(wishes) == 1:
                return [error]
            # One that fails takes the others with it: ask for each, to know which.
            return [self._batch([wish], options, inputs)[0] for wish in wishes]
        return [_evaluated(wish, row) for wish, row in zip(wishes, rows, strict=True)]

    def _wish(self, wish: Wish) -> dict[str, Any]:
        row: dict[str, Any] = {"system": wish.system, "paths": attribute_paths(wish)}
        if wish.reference is not None:
            row |= {"flake": wish.reference, "narHash": wish.nar_hash and wish.nar_hash.sri()}
        else:
            row["file"] = str(self._file(wish))
        return row

    # The store ----------------------------------------------------------------------------

    def derivation(self, path: StorePath) -> bytes:
        """The text of a derivation; see `Evaluator`."""
        try:
            return Path(str(path)).read_bytes()
        except OSError:
            events = nar.read(self._dump(path))
            return b"".join(event.chunk for event in events if isinstance(event, nar.Data))

    def build(self, drv_path: StorePath, output: str) -> StorePath:
        """The path of an output, built as for an import from a derivation; see `Evaluator`."""
        command = ["nix", "build", "--no-link", "--print-out-paths", *_FEATURES, *_NO_REGISTRY]
        return StorePath.parse(self._nix([*command, f"{drv_path}^{output}"]).decode().strip())

    def infos(self, paths: Iterable[StorePath]) -> Mapping[StorePath, PathInfo]:
        """What the store knows of *paths*; see `Evaluator`."""
        wanted = sorted(set(paths))
        found: dict[StorePath, PathInfo] = {}
        for start in range(0, len(wanted), BATCH * 5):
            batch = [str(path) for path in wanted[start : start + BATCH * 5]]
            text = self._nix(["nix-store", "--dump-db", *batch]).decode()
            found.update((info.path, info) for info in parse_registration(text))
        return found

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """The archive of a store path; see `Evaluator`."""
        place = Path(str(path))
        if os.path.lexists(place):
            return nar_of(place)
        return self._dump(path)

    def _dump(self, path: StorePath) -> Iterator[bytes]:
        """The archive of a path in a store that is not on this machine's disk."""
        process = subprocess.Popen(
            ["nix-store", "--dump", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environ,
        )
        assert process.stdout is not None  # noqa: S101 - it was asked for
        with ended(process):
            while chunk := process.stdout.read(CHUNK_BYTES):
                yield chunk
            if process.wait():
                raise EvaluationError("the store has no such path", where=str(path))

    def _nix(self, command: list[str]) -> bytes:
        try:
            done = run(
                command, folder=self._folder, environment=self._environ, on_line=self._on_line
            )
        except FileNotFoundError as error:
            raise NixMissingError(
                f"there is no {command[0]!r} command to evaluate with", hint=INSTALL_HINT
            ) from error
        if done.status:
            if self._too_old is not None:
                raise NixMissingError(f"Nix {self._too_old} is too old", hint=INSTALL_HINT)
            message = summary(done.messages, done.status)
            raise EvaluationError(message, hint=hint_for(message))
        return done.output

    @cached_property
    def _too_old(self) -> str | None:
        """The version of a Nix that is too old; asked when Nix failed, for it costs a process."""
        with contextlib.suppress(FileNotFoundError):
            done = run(["nix", "--version"], folder=self._folder, environment=self._environ)
            return too_old(done.output.decode(errors="replace"), OLDEST)
        return None


@cache
def _expression(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def attribute_paths(wish: Wish) -> list[list[str]]:
    """Where an installable's attribute may be, in the order Nix looks.

    Source: ``SourceExprCommand::getDefaultFlakeAttrPaths`` and ``…Prefixes``, Nix
        ``src/libcmd/installables.cc``.
    """
    path, system = list(wish.installable.attribute), wish.system
    if wish.reference is None or wish.installable.absolute:
        return [path]
    if not path:
        return [["packages", system, "default"], ["defaultPackage", system]]
    return [["packages", system, *path], ["legacyPackages", system, *path], path]


def _evaluated(wish: Wish, row: Mapping[str, Any]) -> Evaluated | EvaluationError:
    """A row of the answer of ``evaluate.nix``."""
    names = [str(name) for name in row.get("names", ())]
    dotted = ".".join(quote_key(str(name)) for name in row.get("path", ()))
    wanted = wish.installable.attribute
    if row.get("error") == "attribute":
        near = difflib.get_close_matches(str(row["path"][-1]), names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else _some(names)
        return EvaluationError(f"there is no attribute {dotted!r}", hint=hint)
    if "error" in row:
        what = f"the attribute {'.'.join(wanted)!r}" if wanted else "the value"
        return EvaluationError(f"{what} is a {row['type']}, not a derivation", hint=_some(names))
    return Evaluated(StorePath.parse(row["drvPath"]), _default_outputs(wish, row))


def _some(names: list[str]) -> str | None:
    if not names:
        return None
    shown = ", ".join(names[:10])
    return f"there is {shown}{', …' if len(names) > 10 else ''}"  # noqa: PLR2004 - as above


def _default_outputs(wish: Wish, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The outputs to install when the user names none.

    Source: ``InstallableFlake::toDerivedPaths`` for flakes, ``nix-build`` for files.
    """
    if row["outputSpecified"]:
        return (str(row["outputName"]),)
    if row["outputsToInstall"]:
        return tuple(cast("list[str]", row["outputsToInstall"]))
    if wish.reference is not None and "out" in row["outputs"]:
        return ("out",)
    return (str(row["outputName"]),)


def parse_registration(text: str) -> Iterator[PathInfo]:
    """What ``nix-store --dump-db`` prints.

    ::

        entry = path hash size deriver count *reference ; each on a line

    Source: ``Store::makeValidityRegistration``, Nix ``src/libstore/store-api.cc``.

    Raises:
        EvaluationError: the text is something else.
    """
    lines = iter(text.splitlines())
    try:
        for path in lines:
            nar_hash, size, _deriver, count = (next(lines) for _ in range(4))
            references = tuple(StorePath.parse(next(lines)) for _ in range(int(count)))
            yield PathInfo(
                StorePath.parse(path),
                Hash.parse(nar_hash, HashAlgorithm.SHA256),
                int(size),
                references,
            )
    except (RuntimeError, StopIteration, ValueError, NixbkError) as error:
        raise EvaluationError("cannot read what 'nix-store --dump-db' printed") from error
