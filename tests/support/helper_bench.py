"""Runs helper steps on real engines; every step is new to the engine's cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import subprocess
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.buildkit.errors import BuildFailed
from nixbk.buildkit.protocols import Exporter, Result
from nixbk.buildkit.session import Attachables
from nixbk.buildkit.uploads import Upload, Uploads
from nixbk.helper import helper_binary
from nixbk.llb.exec import Proxy, exec_
from nixbk.llb.marshal import marshal
from nixbk.llb.mounts import Mount
from nixbk.llb.platforms import LINUX_AMD64
from nixbk.llb.sources import http
from nixbk.nix import nar
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.planner.base import base_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixbk.buildkit.build import GatewayBuild
    from nixbk.buildkit.client import Client
    from nixbk.buildkit.protocols import Ref
    from nixbk.helper import HelperKind
    from nixbk.llb.exec import Exec, Network
    from nixbk.llb.vertex import Output
    from nixbk.proto.control_pb2 import StatusResponse

ROOT: Final = Path(__file__).parents[2]
SEED: Final = "/nix/store/00000000000000000000000000000001-seed"
OUT: Final = f"/nix/store/{'a' * 32}-x"
DEV: Final = f"/nix/store/{'b' * 32}-x-dev"
_RESULT: Final = "/.nixbk/result"


def engines() -> list[str]:
    """The engines of this run: NIXBK_TEST_ENGINES, else one Docker and buildkitd."""
    return re.split(r"[\s,]+", os.environ.get("NIXBK_TEST_ENGINES") or "docker,buildkitd")


def address_of(name: str) -> str:
    """Start an engine and return its address."""
    command = [str(ROOT / "dev" / "engines"), "start", name, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    variables = json.loads(done.stdout)[name]
    if "BUILDKIT_HOST" in variables:
        return str(variables["BUILDKIT_HOST"])
    return "docker+" + str(variables["DOCKER_HOST"])


@dataclass(frozen=True)
class Done:
    """How a step ended.

    Attributes:
        result: the result file, or None when the step failed.
        exit_code: of the helper.
        log: what the step wrote.
        files: type, mode, owner, time and target by path, of what the step added to its root.
        text: of the result file.
        data: of the other file that was asked for.
    """

    result: dict[str, dict[str, object]] | None
    exit_code: int
    log: str
    files: dict[str, str] = field(default_factory=dict)
    text: str = ""
    data: bytes = b""

    @property
    def report(self) -> str:
        """The helper's last words."""
        return self.log[self.log.rfind("\nnixbk: ") + 1 :].rstrip("\n")


class Bench:
    """One engine, and what steps need there.

    Attributes:
        rooted: whether scratch folders and results are part of a step's root, and no mounts.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.rooted = False
        self.uploads = Uploads()

    def is_able(self, capability: str) -> bool:
        """Whether the engine has a capability of LLB."""
        with (
            self._client.session(Attachables()) as session,
            self._client.build(session, internal=True) as build,
        ):
            return capability in build.capabilities.llb

    def upload(self, data: bytes, filename: str, mode: int = 0o644) -> Output:
        """A source of *data* as one file."""
        digest = Hash(HashAlgorithm.SHA256, hashlib.sha256(data).digest()).base16()
        url = self.uploads.add(Upload(digest, len(data), lambda: BytesIO(data)))
        return http(url, checksum=f"sha256:{digest}", filename=filename, mode=mode, name=filename)

    def exec(  # noqa: PLR0913  # the parts of a step
        self,
        kind: str,
        step: Mapping[str, object],
        *,
        mounts: Sequence[Mount] = (),
        program: HelperKind = "build",
        settings: str = "",
        network: Network = "none",
    ) -> Exec:
        """The operation of a step."""
        helper = self.upload(helper_binary(program, "amd64").path.read_bytes(), "helper", 0o755)
        base = base_root()
        text = json.dumps({"version": 1, "kind": kind, **step})
        parts = [text[i : i + 100_000] for i in range(0, len(text), 100_000)]
        names = ["NIXBK_STEP", *(f"NIXBK_STEP_{i}" for i in range(1, len(parts)))]
        return exec_(
            ["/.nixbk/helper", kind],
            env=[
                *(f"{name}={part}" for name, part in zip(names, parts, strict=True)),
                f"NONCE={secrets.token_hex(8)}",
            ],
            mounts=[
                Mount("/", base, readonly=False, output=True),
                Mount("/.nixbk/helper", helper, selector="helper"),
                *(Mount(path, readonly=False) for path in ("/build", "/tmp") if not self.rooted),
                *([] if self.rooted else [Mount(_RESULT, readonly=False, output=True)]),
                *([Mount("/etc", base, selector="etc")] if network == "none" else []),
                *(Mount(path, kind="tmpfs") for path in ("/dev/shm", "/sys") if kind == "build"),
                *mounts,
            ],
            network=network,
            hostname="localhost",
            proxy=Proxy(no=settings) if settings else None,
            platform=LINUX_AMD64,
            name=f"{kind} step",
        )

    def seed(self) -> Mount:
        """A static bash and busybox as an input, unpacked by the helper itself."""
        found = ROOT / "examples" / "minipkgs" / "seed" / "bin"
        shell = (found / "bash").resolve().read_bytes()
        box = (found / "busybox").resolve().read_bytes()
        applets = sorted(path.name for path in found.iterdir() if path.name != "bash")
        events: list[nar.Event] = [nar.Directory(""), nar.Directory("bin")]
        for name in sorted({*applets, "bash", "busybox"}, key=str.encode):
            if name in {"bash", "busybox"}:
                data = shell if name == "bash" else box
                events += [
                    nar.RegularFile(f"bin/{name}", len(data), executable=True),
                    nar.Data(data),
                ]
            else:
                events.append(nar.Symlink(f"bin/{name}", "busybox"))
        archive = b"".join(nar.write(events))
        step = {"nars": [self.nar(SEED, archive)]}
        unpacked = self.exec("unpack", step, program="unpack", mounts=[self.nar_mount(0, archive)])
        path = SEED.removeprefix("/")
        return Mount(SEED, unpacked.root, selector=path)

    def nar(self, path: str, archive: bytes, /, **changes: object) -> dict[str, object]:
        """What an unpack step says of an archive."""
        digest, size_bytes = nar.nar_hash([archive])
        fields = {"path": path, "narHash": digest.sri(), "narSize": size_bytes}
        return {**fields, "compression": "none", "references": [], **changes}

    def nar_mount(self, number: int, archive: bytes) -> Mount:
        """Where an unpack step finds an archive."""
        return Mount(f"/.nixbk/nar/{number}", self.upload(archive, "nar"), selector="nar")

    def build(  # noqa: PLR0913  # the parts of a step
        self,
        script: str,
        *,
        settings: str = "",
        network: Network = "none",
        outputs: Mapping[str, str] = {"out": OUT},
        env: Mapping[str, str] = {},
        mounts: Sequence[Mount] = (),
        file: str = "",
        listed: bool = True,
        **changes: object,
    ) -> Done:
        """Build *script*, which the seed's bash runs with `-eu`; *file* is one of the results."""
        step: dict[str, object] = {
            "outputs": outputs,
            "builder": f"{SEED}/bin/bash",
            "args": ["-euc", script],
            "env": {"PATH": f"{SEED}/bin", **outputs, **env},
            **changes,
        }
        if network != "none":
            step["network"] = True
        program: HelperKind = "builtin" if str(step["builder"]).startswith("builtin:") else "build"
        mounts = [self.seed(), *mounts]
        made = self.exec(
            "build", step, mounts=mounts, settings=settings, network=network, program=program
        )
        return self.run(made, file=file, listed=listed)

    def run(
        self, step: Exec, *, result: str = "result.json", file: str = "", listed: bool = True
    ) -> Done:
        """Run a step to its end, read one more *file* of its results, list what it added."""
        log: list[bytes] = []
        place = f"{_RESULT}/" if self.rooted else ""

        def on_status(status: StatusResponse) -> None:
            log.extend(line.msg for line in status.logs if line.vertex == step.vertex.digest)

        with (
            self._client.session(Attachables(uploads=self.uploads)) as session,
            self._client.build(session, on_status=on_status) as build,
        ):
            try:
                where = step.root if self.rooted else step.output(_RESULT)
                ref = build.solve(marshal(where)[0])
            except BuildFailed as error:
                code = error.failure.exit_code
                text = b"".join(log).decode("utf-8", "surrogateescape")
                return Done(None, -1 if code is None else code, text)
            content = ""
            if result:
                assert ref is not None
                content = build.read_file(ref, f"{place}{result}").decode()
            data = b""
            if file:
                assert ref is not None
                data = build.read_file(ref, f"{place}{file}")
            files = self._added(build, step.root) if listed else {}
            build.finish(Result(None))
        text = b"".join(log).decode("utf-8", "surrogateescape")
        outputs = json.loads(content.splitlines()[0]).get("outputs") if content else None
        return Done(outputs, 0, text, files, content, data)

    def _added(self, build: GatewayBuild, root: Output) -> dict[str, str]:
        """What *root* has beyond the base, with the folders above it.

        A DiffOp would tell, but Docker's old image store has none.
        """
        trees: list[dict[str, str]] = []
        for tree in (base_root(), root):
            trees.append({})
            ref = build.solve(marshal(tree)[0])
            if ref is not None:
                self._list(build, ref, "/", trees[-1])
        before, after = trees
        changed = [
            path
            for path, state in after.items()
            if _lasting(before.get(path, "")) != _lasting(state)
        ]
        return {
            path: state
            for path, state in after.items()
            if any(f"{one}/".startswith(f"{path}/") for one in changed)
        }

    def _list(self, build: GatewayBuild, ref: Ref, folder: str, files: dict[str, str]) -> None:
        for entry in build.read_dir(ref, folder):
            path = f"{folder.rstrip('/')}/{entry.path}"
            is_dir = bool(entry.mode & 1 << 31)
            kind = "d" if is_dir else "l" if entry.mode & 1 << 27 else "-"
            mode = "" if kind == "l" else f" {entry.mode & 0o777:o}"
            special = entry.mode & (1 << 23 | 1 << 22 | 1 << 20)
            time = entry.mtime_ns / 1e9
            text = f"{kind}{mode}{' special' if special else ''} {entry.uid}:{entry.gid} {time:g}"
            files[path] = text + (f" -> {entry.target}" if entry.target else "")
            if is_dir:
                self._list(build, ref, path, files)

    def export(self, output: Output | None, target: Path) -> None:
        """Write a file system to a folder, as a tar archive."""
        with (
            target.open("wb") as file,
            self._client.session(Attachables(uploads=self.uploads)) as session,
            self._client.build(session, exporters=[Exporter("tar", output=file.write)]) as build,
        ):
            build.finish(Result(build.solve(marshal(output)[0])))


def _lasting(state: str) -> str:
    """All but the time of a folder, which moves with the mount points that BuildKit makes in it."""
    return state.rpartition(" ")[0] if state.startswith("d") else state
