"""From one recipe to one operation. Pure.

A step is an exec whose root begins as :func:`nixbk.planner.base.base_root` and whose inputs are
mounted read-only at their own paths below ``/nix/store``: exactly the closure, by references, of
what the derivation names. Which paths those are is known once the inputs are realised, so a
derivation is compiled when all of its inputs are.

Every step is compiled in two flavours that BuildKit's cache cannot tell apart, since how a cache
mount is shared, the IP of an extra host, the URL of a checksummed download and the proxies are not
part of its keys:

* ``RUN``, which is executed;
* ``PROBE``, which is found in the cache or fails before anything starts. It is the same on every
  machine and for every setting, so its digest also names the step.

A step that is to run although it is cached, or never to be cached for others, has a variable of
its own beside the document, which its builder does not see.

Source: ``ExecOp.CacheMap``, BuildKit ``solver/llbsolver/ops/exec.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.llb.file import Copy, file
from nixbk.llb.layers import merge
from nixbk.llb.mounts import Mount
from nixbk.nix.derivation import DerivationError, DerivationKind
from nixbk.nix.hashes import HashAlgorithm
from nixbk.planner.operations import FETCHED_FILE, Operations
from nixbk.planner.realisation import byte_text
from nixbk.planner.steps import (
    StepDocument,
    UnsupportedDerivationError,
    build_document,
    fetch_document,
    refuse_special_wishes,
    substitutes_document,
    unpack_document,
)
from nixbk.planner.workshop import NO_SANDBOX, Again, Flavour, Place, Recipe, Step, StoreObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nixbk.llb.mounts import ContentCache
    from nixbk.llb.origin import Origin
    from nixbk.llb.vertex import Output
    from nixbk.nix.derivation import Derivation
    from nixbk.nix.environment import ReferenceInfo
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.leaves import Unpacking
    from nixbk.schema.lock import LockedSource

FETCH_BUILDER: Final = "builtin:fetchurl"
BUILTINS: Final = frozenset({FETCH_BUILDER, "builtin:buildenv", "builtin:unpack-channel"})
"""Source: ``RegisterBuiltinBuilder``, Nix ``src/libstore/builtins``."""
CA_SECRET: Final = "nixbk-ca"  # noqa: S105  a name
NETRC_SECRET: Final = "nixbk-netrc"  # noqa: S105  a name
SECRETS: Final = {"/.nixbk/ca.pem": CA_SECRET, "/.nixbk/netrc": NETRC_SECRET}
"""What a session may have for downloads: where it is mounted, and its name there."""
CA_FILE: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where builders with network find whom to trust, as Nix's ``ssl-cert-file`` has them."""
_HTTP: Final = ("http://", "https://")
TOGETHER: Final = "all that is needed"
RESULT_FOLDER: Final = "/.nixbk/result"
RESULT_FILE: Final = f"{RESULT_FOLDER}/result.json"
NAR_FILE: Final = f"{RESULT_FOLDER}/nar"
SYSTEMS: Final = {
    "x86_64-linux": "linux/amd64",
    "i686-linux": "linux/amd64",
    "aarch64-linux": "linux/arm64",
}


class Compiler(Operations):
    """Compiles steps of one flavour."""

    def source(self, source: LockedSource, origin: Origin | None = None) -> Step:
        """The step that unpacks a local source, whose bytes the session serves."""
        digest = source.nar_hash.digest.hex()
        nar = self._download(
            self._workshop.upload_url(digest), digest, f"{source.path.name}.nar", origin
        )
        return self._unpack(unpack_document([source]), [nar], source.path.name, origin)

    def substitutes(self, unpackings: Sequence[Unpacking], origin: Origin | None = None) -> Step:
        """The step that unpacks substitutes, each from the archive that was chosen."""
        nars = [self._archive(found, origin) for found in unpackings]
        name = unpackings[0].substitute.path.name
        if len(unpackings) > 1:
            name += f" and {len(unpackings) - 1} more"
        roots = 1 + max(found.root for found in unpackings)
        document = substitutes_document(unpackings)
        step = self._unpack(document, nars, name, origin, roots=roots)
        return step._replace(archives=tuple(nars))

    def _archive(self, found: Unpacking, origin: Origin | None) -> Output:
        digest = found.archive.file_hash.digest.hex()
        url = ""  # which no probe has
        if self._flavour is Flavour.RUN:
            shop = self._workshop
            ours = found.through_session
            url = shop.upload_url(digest) if ours else shop.archive_url(found.archive)
        return self._download(url, digest, f"archive of {found.substitute.path.name}", origin)

    def _unpack(
        self,
        document: StepDocument,
        nars: Sequence[Output],
        name: str,
        origin: Origin | None,
        *,
        roots: int = 1,
    ) -> Step:
        mounts = [
            Mount(
                f"/.nixbk/nar/{index}",
                source=nar,
                selector=f"/{FETCHED_FILE}",
                content_cache="off",
            )
            for index, nar in enumerate(nars)
        ]
        others = [f"/.nixbk/root/{index}" for index in range(1, roots)]
        return self._step("unpack", document, mounts, name=name, origin=origin, others=others)

    def refuse(self, derivation: Derivation) -> None:
        """Refuse a derivation, resolved or not, that cannot be built here.

        Raises:
            UnsupportedDerivationError: it asks for what nixbk or the builder cannot give.
        """
        if derivation.is_builtin:
            if derivation.builder not in BUILTINS:
                raise UnsupportedDerivationError(
                    f"there is no builder {derivation.builder!r}",
                    where=derivation.name,
                    hint=f"there are {', '.join(sorted(BUILTINS))}, and programs",
                )
        elif SYSTEMS.get(derivation.system) != str(self._workshop.platform):
            raise UnsupportedDerivationError(
                f"cannot build for {derivation.system!r} on {str(self._workshop.platform)!r}",
                where=derivation.name,
                hint="name a builder of that platform with --builder",
            )
        refuse_special_wishes(derivation, self._workshop.features)

    def derivation(  # noqa: PLR0913  as many things differ between derivations
        self,
        recipe: Recipe,
        inputs: Sequence[StoreObject],
        *,
        sandbox: Mapping[str, Place] = NO_SANDBOX,
        beside: Sequence[StoreObject] = (),
        origin: Origin | None = None,
        again: tuple[Again, str] | None = None,
    ) -> Step:
        """The step that builds one derivation.

        Args:
            recipe: what is built.
            inputs: the closure of what it names, in any order.
            sandbox: what the builder finds that is no input of it, by where.
            beside: what that needs and the derivation does not, in any order.
            origin: key of the manifest that asked for it.
            again: why it runs beside what is cached, and what makes it another step.

        Raises:
            UnsupportedDerivationError: it asks for what nixbk or the builder cannot give.
        """
        from nixbk.nix.environment import build_environment  # noqa: PLC0415  not for what is fetched

        derivation = recipe.derivation
        self.refuse(derivation)
        key = "-".join(again) if again else ""
        if derivation.kind is DerivationKind.IMPURE:
            key = f"{key or 'impure'}-{self._workshop.nonce}"
        if _is_download(derivation) and not (again and again[0] == "download"):
            return self._fetch(recipe, origin, key)
        ordered = sorted(inputs, key=lambda found: found.info.path)
        hidden = sorted(beside, key=lambda found: found.info.path)
        environment = build_environment(derivation, graph=_look_up(ordered), outputs=recipe.outputs)
        document = build_document(
            derivation,
            recipe.outputs,
            environment,
            [found.info for found in ordered],
            hidden=[found.info for found in hidden],
            keep_failed=again is not None and again[0] == "keep-failed",
        )
        mounts = [_input_mount(found) for found in ordered if found.info.file_type != "symlink"]
        mounts += [
            # BuildKit's own is small and not executable; Nix has no /sys at all.
            Mount("/dev/shm", kind="tmpfs"),  # noqa: S108  a path inside the sandbox
            Mount("/sys", kind="tmpfs"),
        ]
        if not derivation.has_network:
            # BuildKit mounts hosts and resolv.conf of its own; this hides them.
            mounts.append(Mount("/etc", source=self.base, selector="/etc", content_cache="off"))
        elif CA_FILE not in sandbox:
            mounts.append(Mount(CA_FILE, kind="secret", id=CA_SECRET, mode=0o444, optional=True))
        if derivation.builder == FETCH_BUILDER:
            mounts += [
                Mount(place, kind="secret", id=name, optional=True)
                for place, name in SECRETS.items()
            ]
        mounts += [_input_mount(found) for found in hidden if found.info.file_type != "symlink"]
        mounts += [
            Mount(
                target,
                source=place.found.root,
                selector=place.path,
                content_cache="on" if place.found.by_content else "off",
            )
            for target, place in sorted(sandbox.items())
        ]
        return self._step(
            "build",
            document,
            mounts,
            places={target: place.path for target, place in sandbox.items() if place.in_key},
            name=derivation.name,
            origin=origin,
            network=derivation.has_network,
            key=key,
            helper=self._builtin_helper if derivation.is_builtin else None,
        )

    def below(self, root: Output) -> Output:
        """What is in a step's root beside its outputs: the base, and the result file."""
        copy = Copy(root, RESULT_FILE, RESULT_FILE)
        return file(self.base, [copy], name=f"result of {root.vertex.name}")

    def compare(self, first: StoreObject, second: StoreObject) -> Output:
        """A root with the list of the differences between two trees, neither of them a symlink."""
        mounts = [
            Mount(place, source=found.root, selector=str(found.info.path), content_cache="off")
            for place, found in (("/.nixbk/a", first), ("/.nixbk/b", second))
        ]
        name = f"differences of {first.info.path.name}"
        document = StepDocument.of("compare", {})
        return self._step("compare", document, mounts, name=name, origin=None).root

    def pack(self, found: StoreObject, compression: str) -> Output:
        """A root with the compressed NAR of a store object, and a result file that tells of it."""
        info = found.info
        is_link = info.file_type == "symlink"  # which is told, as no mount can bring it
        fields = {
            "path": str(info.path),
            "compression": compression,
            "links": {str(info.path): byte_text(info.target)} if is_link else None,
        }
        mounts = [] if is_link else [_input_mount(found)]
        name = f"archive of {info.path.name}"
        document = StepDocument.of("pack", fields)
        return self._step("pack", document, mounts, name=name, origin=None).root

    def collect(self, roots: Iterable[Output]) -> Output:
        """A root with one file of the result files of many steps, a line each, in their order."""
        mounts = [
            Mount(f"/.nixbk/in/{index}", source=root, selector=RESULT_FOLDER, content_cache="off")
            for index, root in enumerate(roots)
        ]
        document = StepDocument.of("collect", {})
        step = self._step("collect", document, mounts, name="results of all steps", origin=None)
        return step.root

    def merged(self, roots: Sequence[Output]) -> Output:
        """All of *roots*, of which there is at least one, as one file system."""
        found = merge(roots, name=TOGETHER)
        assert found is not None  # noqa: S101  only nothing at all merges to nothing
        return found

    def together(self, roots: Iterable[Output]) -> Output:
        """A vertex that needs all of *roots* and, as a probe, never runs."""
        mounts = [
            Mount(f"/.nixbk/in/{index}", source=root, content_cache="off")
            for index, root in enumerate(roots)
        ]
        document = StepDocument.of("probe", {})
        return self._step("probe", document, mounts, name=TOGETHER, origin=None).root

    def _fetch(self, recipe: Recipe, origin: Origin | None, key: str) -> Step:
        """The step that has BuildKit download one file, by its SHA-256."""
        derivation = recipe.derivation
        document = fetch_document(derivation, recipe.outputs["out"])
        content = derivation.outputs["out"].content_hash
        assert content is not None  # noqa: S101  it is a download
        name, digest = derivation.name, content.digest.hex()
        url = self._workshop.download_url(_url_of(derivation), digest)
        download = self._download(url, digest, f"download of {name}", origin)
        mounts = [Mount("/.nixbk/fetched", source=download, content_cache="off")]
        return self._step("fetch", document, mounts, name=name, origin=origin, key=key)


def _is_download(derivation: Derivation) -> bool:
    """Whether BuildKit itself can download a derivation's output."""
    output = derivation.outputs.get("out")
    return (
        derivation.builder == FETCH_BUILDER
        and output is not None
        and output.method == "flat"
        and output.content_hash is not None
        and output.algorithm is HashAlgorithm.SHA256
        and derivation.env.get("unpack", "") != "1"
        and _url_of(derivation).startswith(_HTTP)
    )


def _url_of(derivation: Derivation) -> str:
    return derivation.env.get("url") or derivation.env.get("urls", "").partition(" ")[0]


def _input_mount(found: StoreObject) -> Mount:
    path = str(found.info.path)
    cache: ContentCache = "on" if found.by_content else "off"
    return Mount(path, source=found.root, selector=path, content_cache=cache)


def _look_up(inputs: Sequence[StoreObject]) -> Callable[[StorePath], ReferenceInfo]:
    """What is known of a build's inputs, for exported reference graphs."""
    from nixbk.nix.environment import ReferenceInfo  # noqa: PLC0415  not for what is fetched

    by_path = {found.info.path: found for found in inputs}

    def look_up(path: StorePath) -> ReferenceInfo:
        found = by_path.get(path)
        if found is None:
            raise DerivationError(
                f"cannot export references of path '{path}' because it is not in the input closure"
                " of the derivation"
            )
        if found.outputs is None:
            raise DerivationError(
                f"cannot export references of '{path}': its outputs are known only once it is built"
            )
        info = found.info
        return ReferenceInfo(
            info.path,
            info.nar_hash,
            info.nar_size_bytes,
            info.references,
            ca=found.content_address,
            outputs=found.outputs,
        )

    return look_up
