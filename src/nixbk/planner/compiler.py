"""From one recipe to one operation. Pure.

A step is an exec whose root begins as :func:`nixbk.planner.base.base_root` and whose inputs are
mounted read-only at their own paths below ``/nix/store``: exactly the closure, by references, of
what the derivation names. Which paths those are is known once the inputs are realised, so a
derivation is compiled when all of its inputs are.

Every step is compiled in two flavours that BuildKit's cache cannot tell apart, since the IP of an
extra host, the URL of a checksummed download and the proxies are not part of its keys:

* ``RUN``, which is executed;
* ``PROBE``, which is found in the cache or fails before anything starts. It is the same on every
  machine and for every setting, so its digest also names the step.

Source: ``ExecOp.CacheMap``, BuildKit ``solver/llbsolver/ops/exec.go``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError
from nixbk.llb.exec import ExtraHost, Proxy, exec_
from nixbk.llb.mounts import Mount
from nixbk.llb.sources import http
from nixbk.nix.environment import ReferenceInfo, build_environment
from nixbk.nix.hashes import HashAlgorithm
from nixbk.planner.base import base_root
from nixbk.planner.steps import (
    StepDocument,
    UnsupportedDerivationError,
    build_document,
    fetch_document,
    run_settings,
    unpack_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nixbk.llb.mounts import ContentCache
    from nixbk.llb.origin import Origin
    from nixbk.llb.platforms import Platform
    from nixbk.llb.vertex import Output
    from nixbk.nix.derivation import Derivation
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.realisation import RealisedOutput
    from nixbk.schema.lock import LockedSource

FETCH_BUILDER: Final = "builtin:fetchurl"
TOGETHER: Final = "all that is needed"
PROBE_HOST: Final = "nixbk.invalid"
PROBE_IP: Final = "no build: this is a probe"
RUN_IP: Final = "127.0.0.1"
REFUSED_URL: Final = "http://127.0.0.1:1/"
NO_PROXY: Final = Proxy()
FETCHED_FILE: Final = "download"
RESULT_FOLDER: Final = "/.nixbk/result"
RESULT_FILE: Final = "result.json"
SYSTEMS: Final = {
    "x86_64-linux": "linux/amd64",
    "i686-linux": "linux/amd64",
    "aarch64-linux": "linux/arm64",
}


class Flavour(Enum):
    """What an operation is for; the cache cannot tell them apart."""

    RUN = RUN_IP
    PROBE = PROBE_IP


@dataclass(frozen=True, slots=True)
class HelperFile:
    """A helper program as BuildKit is to fetch it.

    Attributes:
        url: where the client's session serves it.
        sha256: 64 hexadecimal digits.
    """

    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Workshop:
    """What is common to all steps of one platform.

    Attributes:
        platform: what builders run on.
        build_helper: runs builders and fetches.
        unpack_helper: unpacks NARs, collects results, assembles layers.
        upload_url: where the session serves the bytes with a SHA-256, given in hexadecimal.
        cores: what ``NIX_BUILD_CORES`` is to be; None for all there are.
        proxy: proxy variables for fixed-output builds.
    """

    platform: Platform
    build_helper: HelperFile
    unpack_helper: HelperFile
    upload_url: Callable[[str], str]
    cores: int | None = None
    proxy: Proxy = NO_PROXY


@dataclass(frozen=True, slots=True)
class StoreObject:
    """A store path, where it lies, and what is known of it.

    Attributes:
        info: path, references and type; size and hash where they are known.
        root: the file system that has it at its own path.
        siblings: the other store paths in that file system.
        by_content: whether its content, not only its recipe, is to key what uses it.
        content_address: how its path follows from its content (``fixed:r:sha256:…``), or empty.
    """

    info: RealisedOutput
    root: Output
    siblings: tuple[StorePath, ...] = ()
    by_content: bool = False
    content_address: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One compiled exec.

    Attributes:
        root: the file system with the outputs.
        result: the file system with the result file.
    """

    root: Output
    result: Output

    @property
    def digest(self) -> str:
        """Digest of the operation, ``sha256:…``."""
        return self.root.vertex.digest


class Compiler:
    """Compiles steps of one flavour; each base, helper and download is one vertex."""

    def __init__(self, workshop: Workshop, flavour: Flavour) -> None:
        self._workshop = workshop
        self._flavour = flavour
        self.base = base_root()
        self._build_helper = self._helper(workshop.build_helper, "nixbk build helper")
        self._unpack_helper = self._helper(workshop.unpack_helper, "nixbk unpack helper")

    def source(self, source: LockedSource, origin: Origin | None = None) -> Step:
        """The step that unpacks a local source, whose bytes the session serves."""
        digest = source.nar_hash.digest.hex()
        nar = self._download(
            self._workshop.upload_url(digest), digest, f"{source.path.name}.nar", origin
        )
        selector = f"/{FETCHED_FILE}"
        mounts = [Mount("/.nixbk/nar/0", source=nar, selector=selector, content_cache="off")]
        return self._step(
            "unpack", unpack_document([source]), mounts, name=source.path.name, origin=origin
        )

    def derivation(
        self,
        derivation: Derivation,
        outputs: Mapping[str, StorePath],
        inputs: Sequence[StoreObject],
        *,
        shell: StoreObject | None,
        origin: Origin | None = None,
    ) -> Step:
        """The step that builds one derivation.

        Args:
            derivation: the recipe.
            outputs: where its outputs go.
            inputs: the closure of what it names, in any order.
            shell: what is ``/bin/sh``, a single file.
            origin: key of the manifest that asked for it.

        Raises:
            UnsupportedDerivationError: it asks for what nixbk cannot give.
        """
        if derivation.builder.startswith("builtin:"):
            return self._builtin(derivation, outputs, origin)
        if SYSTEMS.get(derivation.system) != str(self._workshop.platform):
            raise UnsupportedDerivationError(
                f"cannot build for {derivation.system!r} on {str(self._workshop.platform)!r}",
                where=derivation.name,
                hint="name a builder of that platform with --builder",
            )
        ordered = sorted(inputs, key=lambda found: found.info.path)
        infos = [found.info for found in ordered]
        environment = build_environment(derivation, graph=_look_up(ordered))
        document = build_document(derivation, outputs, environment, infos)
        mounts = [_input_mount(found) for found in ordered if found.info.file_type != "symlink"]
        mounts += [
            Mount("/build", readonly=False),
            Mount("/tmp", readonly=False),  # noqa: S108  a path inside the sandbox
            # BuildKit's own is small and not executable; Nix has no /sys at all.
            Mount("/dev/shm", kind="tmpfs"),  # noqa: S108  as above
            Mount("/sys", kind="tmpfs"),
        ]
        network = any(output.is_fixed for output in derivation.outputs.values())
        if not network:
            # BuildKit mounts hosts and resolv.conf of its own; this hides them.
            mounts.append(Mount("/etc", source=self.base, selector="/etc", content_cache="off"))
        if shell is not None:
            selector = str(shell.info.path)
            mounts.append(
                Mount("/bin/sh", source=shell.root, selector=selector, content_cache="off")
            )
        return self._step(
            "build", document, mounts, name=derivation.name, origin=origin, network=network
        )

    def collect(self, results: Iterable[Output]) -> Output:
        """One file with the result files of many steps, a line each, in the given order."""
        mounts = [
            Mount(f"/.nixbk/in/{index}", source=result, content_cache="off")
            for index, result in enumerate(results)
        ]
        document = StepDocument.of("collect", {})
        step = self._step("collect", document, mounts, name="results of all steps", origin=None)
        return step.result

    def together(self, roots: Iterable[Output]) -> Output:
        """A vertex that needs all of *roots* and, as a probe, never runs."""
        mounts = [
            Mount(f"/.nixbk/in/{index}", source=root, content_cache="off")
            for index, root in enumerate(roots)
        ]
        document = StepDocument.of("probe", {})
        return self._step("probe", document, mounts, name=TOGETHER, origin=None).result

    def _builtin(
        self, derivation: Derivation, outputs: Mapping[str, StorePath], origin: Origin | None
    ) -> Step:
        if derivation.builder != FETCH_BUILDER:
            raise UnsupportedDerivationError(
                f"the builder {derivation.builder!r} is not supported yet", where=derivation.name
            )
        document = fetch_document(derivation, outputs["out"])
        content = derivation.outputs["out"].content_hash
        if content is None or content.algorithm is not HashAlgorithm.SHA256:
            raise UnsupportedDerivationError(
                "downloads not pinned by sha256 are not supported yet", where=derivation.name
            )
        url = derivation.env.get("url") or derivation.env.get("urls", "").partition(" ")[0]
        name = derivation.name
        file = self._download(url, content.digest.hex(), f"download of {name}", origin)
        mounts = [Mount("/.nixbk/fetched", source=file, content_cache="off")]
        return self._step("fetch", document, mounts, name=name, origin=origin)

    def _helper(self, helper: HelperFile, name: str) -> Output:
        return http(
            self._url(helper.url, helper.sha256),
            checksum=f"sha256:{helper.sha256}",
            filename="helper",
            mode=0o555,
            name=name,
        )

    def _download(self, url: str, sha256: str, name: str, origin: Origin | None) -> Output:
        return http(
            self._url(url, sha256),
            checksum=f"sha256:{sha256}",
            filename=FETCHED_FILE,
            mode=0o444,
            name=name,
            origin=origin,
        )

    def _url(self, url: str, sha256: str) -> str:
        # Two operations of one URL, each in two builds, can lock each other out of BuildKit's
        # resolver caches for ever; so every download has its own.
        return REFUSED_URL + sha256 if self._flavour is Flavour.PROBE else url

    def _step(  # noqa: PLR0913  as many things differ between steps
        self,
        kind: str,
        document: StepDocument,
        mounts: Sequence[Mount],
        *,
        name: str,
        origin: Origin | None,
        network: bool = False,
    ) -> Step:
        helper = self._build_helper if kind in {"build", "fetch"} else self._unpack_helper
        step_mounts = [
            Mount("/", source=self.base, readonly=False, output=True),
            Mount(RESULT_FOLDER, readonly=False, output=True),
            Mount("/.nixbk/helper", source=helper, selector="/helper", content_cache="off"),
            *mounts,
        ]
        if document.file:
            raise NixbkError("the environment of this derivation is over 1 MB", where=name)
        made = exec_(
            ["/.nixbk/helper", kind],
            env=document.environment,
            cwd="/",
            mounts=step_mounts,
            network="sandbox" if network else "none",
            hostname="localhost",
            extra_hosts=[ExtraHost(PROBE_HOST, self._flavour.value)],
            proxy=self._proxy(network=network),
            platform=self._workshop.platform,
            name=name,
            origin=origin,
        )
        return Step(root=made.output("/"), result=made.output(RESULT_FOLDER))

    def _proxy(self, *, network: bool) -> Proxy | None:
        if self._flavour is Flavour.PROBE:
            return None
        proxy = self._workshop.proxy if network else Proxy()
        settings = run_settings(cores=self._workshop.cores)
        return replace(proxy, no=proxy.no + settings)


def _input_mount(found: StoreObject) -> Mount:
    path = str(found.info.path)
    cache: ContentCache = "on" if found.by_content else "off"
    return Mount(path, source=found.root, selector=path, content_cache=cache)


def _look_up(inputs: Sequence[StoreObject]) -> Callable[[StorePath], ReferenceInfo]:
    """What is known of a build's inputs, for exported reference graphs."""
    by_path = {found.info.path: found for found in inputs}

    def look_up(path: StorePath) -> ReferenceInfo:
        found = by_path.get(path)
        if found is None:
            raise NixbkError("a reference graph of what is no input was asked for", where=str(path))
        info = found.info
        return ReferenceInfo(
            info.path,
            info.nar_hash,
            info.nar_size_bytes,
            info.references,
            ca=found.content_address,
        )

    return look_up
