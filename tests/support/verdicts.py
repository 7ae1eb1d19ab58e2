"""What real Nix and nixbk make of the same derivations. Effects: processes and files."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from graphs import COUNT, specification
from projects import NIXBK, ROOT, SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

CASES: Final = ROOT / "tests" / "differential" / "builds" / "cases"
HELPERS: Final = ("common", "evaluate")
GENERATED: Final = "generated"
FEATURES: Final = (
    "nix-command flakes ca-derivations dynamic-derivations impure-derivations git-hashing"
    " auto-allocate-uids"
)
JOBS: Final = 3
NO_ANSWER: Final = "no answer"
"""The kind of failure of a command that prints no document."""
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
# what both are told beside the derivations, by file
OPTIONS: Final = {
    "timeouts": ("--timeout", "3"),
    "silences": ("--max-silent-time", "3"),
}
_PROXIES: Final = {
    "http_proxy": "http://proxy.example:1",
    "https_proxy": "http://proxy.example:2",
    "ftp_proxy": "http://proxy.example:3",
    "all_proxy": "socks5://proxy.example:4",
    "no_proxy": "localhost,.example",
}
ENVIRON: Final = {"fixed": _PROXIES}
_NAME: Final = re.compile(r"^  ([a-z][a-z0-9-]*) = ", re.MULTILINE)
_PATHS: Final = re.compile(r"/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]*[0-9A-Za-z+_?=-]")
_HASHES: Final = re.compile(r"\b(?:md5|sha1|sha256|sha512)-[A-Za-z0-9+/]+=*")
# what Nix says on its way, and lists of what was to be built and of outputs
_NOISE: Final = re.compile(
    r"^(?:building|these \d+ (?:derivations|paths)|this (?:derivation|path)|warning: ).*\n"
    r"|^  /nix/store/.*\n|^       Output paths:\n(?:         /nix/store/.*\n?)*",
    re.MULTILINE,
)
# where Nix has the sandbox's files
_SCRATCH: Final = re.compile(r"/nix/store/[^\s/]*\.drv\.chroot/root")
# how Nix 2.34 words each kind of failure, first match first
KINDS: Final = {
    "dependency-failed": r"Reason: \d+ dependenc",
    "hash-mismatch": r"hash mismatch in fixed-output|must not reference store paths",
    "output-missing": r"failed to produce output path",
    "output-check": r"not allowed to refer to the following|is too large at|output check for",
    "illegal-output": (
        r"unsupported type|maximum NAR|suspicious ownership"
        r"|should be a non-executable regular"
    ),
    "cycle": r"cycle detected in build",
    "timed-out": r"timed out after",
    "unsupported": (
        r"Reason: (?:platform mismatch|missing system features)|has '__noChroot' set"
        r"|depends on impure"
    ),
    "builder-failed": r"Reason: builder failed",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One derivation, and how it is to end.

    Attributes:
        drv_path: of the derivation.
        kind: of its failure; None when it builds, empty when it is of no kind.
        mentions: what the message of its failure has to name.
        refused: what nixbk names when it refuses to begin; empty when it does as Nix does.
    """

    drv_path: str
    kind: str | None
    mentions: tuple[str, ...]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a build made, or how it failed.

    Attributes:
        outputs: path, NAR hash, NAR size and references by output name.
        kind: of the failure; None when there is none, empty when it is of no kind.
        message: of the failure.
    """

    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kind: str | None = None
    message: str = ""

    @property
    def hashes(self) -> set[str]:
        """All hashes that the message names."""
        return set(_HASHES.findall(self.message))


def case_names(file: str) -> list[str]:
    """The names of the cases in a file, which are its attributes."""
    if file == GENERATED:
        return [f"n{number:02}" for number in range(COUNT)]
    text = (CASES / f"{file}.nix").read_text()
    return _NAME.findall(text.partition("\nin\n")[2] or text.partition("}:\n")[2])


def case_files() -> list[str]:
    """The names of all files of cases."""
    return sorted(path.stem for path in CASES.glob("*.nix") if path.stem not in HELPERS)


@dataclass(frozen=True, slots=True)
class Oracle:
    """Real Nix.

    Attributes:
        tools: folder of its commands.
        salt: makes derivations new.
        url: what they download from.
        home: where its user's files are.
    """

    tools: str
    salt: str
    url: str
    home: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its commands."""
        return {
            **os.environ,
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "NIX_CONFIG": "\n".join(
                [
                    f"extra-experimental-features = {FEATURES}",
                    f"netrc-file = {self.home}/.netrc",
                    # else the builder is root to the store, where no users are set up for builds
                    f"auto-allocate-uids = {'false' if os.geteuid() else 'true'}",
                ]
            ),
        }

    def cases(self, file: str) -> dict[str, Case]:
        """Evaluate a file of cases."""
        arguments = {
            "salt": self.salt,
            "seedPath": str(SEED),
            "url": self.url,
            "specification": json.dumps(specification(self.salt)) if file == GENERATED else "",
        }
        done = self._run(
            ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode"]
            + [str(CASES / "evaluate.nix"), "--arg", "file", str(CASES / f"{file}.nix")]
            + [word for name, value in arguments.items() for word in ("--argstr", name, value)]
        )
        assert done.returncode == 0, done.stderr
        return {
            name: Case(found["drvPath"], found["kind"], tuple(found["mentions"]), found["refused"])
            for name, found in json.loads(done.stdout).items()
        }

    def build(
        self,
        cases: Mapping[str, Case],
        options: Sequence[str] = (),
        environ: Mapping[str, str] = _NOTHING,
    ) -> dict[str, Verdict]:
        """Build derivations, each by a command of its own: some failures end the whole command."""
        with ThreadPoolExecutor(JOBS) as pool:
            built = pool.map(lambda case: self._build(case, options, environ), cases.values())
            return dict(zip(cases, built, strict=True))

    def _build(self, case: Case, options: Sequence[str], environ: Mapping[str, str]) -> Verdict:
        command = ["nix", "build", "--no-link", "--json", *options, f"{case.drv_path}^*"]
        done = self._run(command, environ)
        if done.returncode:
            message = _SCRATCH.sub("", _NOISE.sub("", done.stderr))
            found = (kind for kind, words in KINDS.items() if re.search(words, message))
            return Verdict(kind=next(found, ""), message=message)
        (built,) = json.loads(done.stdout)
        paths = built["outputs"]
        asked = self._run(["nix", "path-info", "--json", "--json-format", "1", *paths.values()])
        assert asked.returncode == 0, asked.stderr
        info = json.loads(asked.stdout)
        return Verdict({name: _facts(path, info[path]) for name, path in paths.items()})

    def clean(self) -> None:
        """Remove everything with the salt in its name from the store."""
        store = Path("/nix/store")
        names = [path.name for path in store.iterdir() if self.salt in path.name]
        found = [str(store / name) for name in names if not name.endswith((".lock", ".chroot"))]
        if found:
            self._run(["nix-store", "--delete", *found])

    def _run(
        self, command: Sequence[str], environ: Mapping[str, str] = _NOTHING
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace",
            env={**self.environ, **environ}, stdin=subprocess.DEVNULL, cwd=self.home,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """nixbk on one engine.

    Attributes:
        folder: of its manifest.
        environ: the environment of its commands.
    """

    folder: Path
    environ: Mapping[str, str]

    def build(
        self,
        cases: Mapping[str, Case],
        options: Sequence[str] = (),
        environ: Mapping[str, str] = _NOTHING,
    ) -> dict[str, Verdict]:
        """Build derivations with one command; what breaks a command is sought by halves."""
        wanted = [f"{case.drv_path}^*" for case in cases.values()]
        done = subprocess.run(
            [*NIXBK, "build", "--json", "--keep-going", *options, *wanted],
            check=False, capture_output=True, text=True, errors="surrogateescape",
            env={**self.environ, **environ}, stdin=subprocess.DEVNULL, cwd=self.folder,
        )  # fmt: skip
        if done.stdout.startswith("["):
            document = json.loads(done.stdout)
            return {name: _verdict(case, document) for name, case in cases.items()}
        names = list(cases)
        if len(names) == 1:
            message = f"nixbk ended with {done.returncode}: {done.stderr}"
            return {names[0]: Verdict(kind=NO_ANSWER, message=message)}
        middle = len(names) // 2
        return {
            name: verdict
            for part in (names[:middle], names[middle:])
            for name, verdict in self.build(
                {name: cases[name] for name in part}, options, environ
            ).items()
        }


@dataclass(frozen=True, slots=True)
class Runs:
    """Cases that are built, or will be: on each engine and by real Nix at the same time."""

    _cases: Mapping[str, Future[dict[str, Case]]]
    _expected: Mapping[str, Future[dict[str, Verdict]]]
    _found: Mapping[tuple[str, str], Future[dict[str, Verdict]]]

    @classmethod
    @contextmanager
    def started(
        cls, oracle: Oracle, subjects: Mapping[str, Subject], wanted: Mapping[str, Sequence[str]]
    ) -> Iterator[Runs]:
        """Begin with all *wanted* cases, names by file."""
        pools = {name: ThreadPoolExecutor(1) for name in ("", *subjects)}

        def evaluate(file: str) -> dict[str, Case]:
            found = oracle.cases(file)
            assert sorted(found) == sorted(case_names(file)), "all names are lines of the file"
            return {name: found[name] for name in wanted[file]}

        def begin(
            pool: str, file: str, build: Callable[..., dict[str, Verdict]]
        ) -> Future[dict[str, Verdict]]:
            return pools[pool].submit(
                lambda: build(
                    cases[file].result(),
                    ("--cores", "2", *OPTIONS.get(file, ())),
                    ENVIRON.get(file, _NOTHING),
                )
            )

        cases = {file: pools[""].submit(evaluate, file) for file in wanted}
        found = {
            (name, file): begin(name, file, subject.build)
            for name, subject in subjects.items()
            for file in wanted
        }
        expected = {file: begin("", file, oracle.build) for file in wanted}
        try:
            yield cls(cases, expected, found)
        finally:
            for pool in pools.values():
                pool.shutdown(cancel_futures=True)

    def cases(self, file: str) -> dict[str, Case]:
        """What there was to build."""
        return self._cases[file].result()

    def expected(self, file: str) -> dict[str, Verdict]:
        """What real Nix made of it."""
        return self._expected[file].result()

    def found(self, engine: str, file: str) -> dict[str, Verdict]:
        """What nixbk made of it."""
        return self._found[engine, file].result()


def _verdict(case: Case, document: Sequence[Mapping[str, Any]]) -> Verdict:
    outputs = {}
    for entry in document:
        if entry["derivation"] != case.drv_path:
            continue
        if "failure" in entry:
            failure = entry["failure"]
            return Verdict(kind=failure["kind"], message=failure["message"])
        outputs[entry["output"]] = _facts(entry["path"], entry)
    return Verdict(outputs)


def _facts(path: str, info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "path": path,
        "narHash": info["narHash"],
        "narSize": info["narSize"],
        "references": sorted(info["references"]),
    }


def named_paths(message: str) -> set[str]:
    """Store paths that a message names, without those of derivations."""
    return {path for path in _PATHS.findall(message) if not path.endswith(".drv")}
