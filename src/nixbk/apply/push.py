"""Gives what was built on BuildKit to a binary cache, as ``nixbk cache push`` does. Effects: all.

Nothing is built by it: the builder is asked what it has, and what is packed is named as a probe.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.apply.failures import COMMAND_LINE, derivation_name, few
from nixbk.apply.interruptible import interruptible
from nixbk.apply.pack import pack_output, pack_source
from nixbk.apply.prober import CacheProber, is_miss
from nixbk.apply.project import open_project
from nixbk.apply.push_target import AT_ONCE, PushTarget, is_same, require_key, target_address
from nixbk.apply.realise import evaluate, open_locked
from nixbk.apply.rounds import until_settled
from nixbk.apply.shared_cache import remember
from nixbk.apply.verify import verify
from nixbk.apply.workbench import open_workbench
from nixbk.buildkit.errors import BuildFailed
from nixbk.errors import NixbkError
from nixbk.planner.images import wanted
from nixbk.planner.offers import ABSENT, PASSING, Offers, offers
from nixbk.planner.survey import examine
from nixbk.planner.workshop import Flavour
from nixbk.resolve.caches.cache import Cache
from nixbk.resolve.caches.logins import netrc_file
from nixbk.resolve.caches.transport import CacheClient
from nixbk.resolve.substituters import Asking, caches_of, credentials_of
from nixbk.schema.files import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nixbk.apply.pack import PackCompression, Packed
    from nixbk.apply.solver import Solver
    from nixbk.apply.workbench import Opener, Settings, Workbench
    from nixbk.llb.vertex import Output
    from nixbk.nix.narinfo import NarInfo
    from nixbk.nix.signatures import SecretKey
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.leaves import Wanted
    from nixbk.planner.offers import Offer
    from nixbk.resolve.caches.address import CacheAddress
    from nixbk.schema.lock import Lock

PARALLEL: Final = 4
"""Archives that are made and sent at once."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants to be pushed, and how.

    Attributes:
        url: of the cache.
        installables: what to push with all it refers to; empty for all of the lock.
        key: signs what is pushed.
        unsigned: whether nothing needs a signature.
        compression: of the archives.
        dry_run: whether nothing is written.
    """

    url: str
    installables: tuple[str, ...] = ()
    key: SecretKey | None = None
    unsigned: bool = False
    compression: PackCompression = "zstd"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of it.

    Attributes:
        cache: the address of the cache.
        pushed: what was pushed, or would be, with what the cache tells of it now.
        present: what it had already.
        signed: those of *present* that were signed with the user's key now, or would be.
        withheld: what was not pushed, and why.
        fetched: what is referred to and comes from binary caches.
        differing: those of *present* that it has with other content.
    """

    cache: str
    pushed: Mapping[Offer, NarInfo | None]
    present: tuple[Offer, ...]
    signed: tuple[Offer, ...]
    withheld: Mapping[StorePath, str]
    fetched: tuple[StorePath, ...]
    differing: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class _Stock:
    """What may be pushed from.

    Attributes:
        lock: the recipes.
        opener: opens a source.
        whole: whether all of the lock is meant, and not its installables alone.
        missing: what to do about what is not built.
    """

    lock: Lock
    opener: Opener
    whole: bool
    missing: str


def push(
    manifest_file: Path,
    lock_file: Path | None,
    wish: Wish,
    settings: Settings,
    say: Callable[[Offer, NarInfo | None], None],
) -> Pushed:
    """Push to a binary cache.

    Args:
        manifest_file: the manifest; with installables, there need be none.
        lock_file: its lock; beside the manifest when None.
        wish: what is pushed.
        settings: the user's.
        say: told of each path that was pushed, or would be.

    Raises:
        NixbkError: nothing more was pushed; what was is whole.
    """
    address = target_address(wish.url, Path.cwd())
    stock = _stock(manifest_file, lock_file, wish, settings)
    client = CacheClient(_cache(address, manifest_file, settings), environ=settings.environ)

    def work() -> Pushed:
        with client, open_workbench(stock.lock, stock.opener, settings) as bench:
            graph, found = until_settled(partial(_look, bench, stock))
            require_key(found.given, wish.key, unsigned=wish.unsigned)
            return _Push(bench, graph, PushTarget(client, wish.key), wish, say).run(found, stock)

    settings.interruption.calls(client.close)
    return interruptible(settings.interruption, work)


def _stock(manifest_file: Path, lock_file: Path | None, wish: Wish, settings: Settings) -> _Stock:
    if not wish.installables:
        project = open_project(manifest_file, lock_file, None)
        _ = project.manifest  # once it is there, the lock is known to be of it
        return _Stock(
            project.lock, project.open_source, whole=True, missing="run 'nixbk apply' first"
        )
    asking = Asking(settings.environ, settings.netrc_file)
    locked = evaluate(manifest_file, wish.installables, asking)
    for warning in locked.warnings:
        settings.say(warning)
    opener = partial(open_locked, locked, manifest_file.with_suffix(".lock"))
    return _Stock(locked.lock, opener, whole=False, missing="run 'nixbk build' with it first")


def _cache(address: CacheAddress, manifest_file: Path, settings: Settings) -> Cache:
    """The cache as the manifest has it, with its token and certificates, or else the bare one."""
    if manifest_file.exists():
        manifest, folder = read_manifest(manifest_file).manifest, manifest_file.parent
        for name, entry in manifest.substituters.items():
            alone = manifest._replace(substituters={name: entry})
            there = target_address(entry.url, folder)
            if there.base == address.base and _same_user(there, address):
                return caches_of(alone, folder, settings.environ, settings.netrc_file)[0]
    logins = netrc_file(settings.netrc_file, settings.environ)
    signer = credentials_of(address, settings.environ)
    return Cache(str(address), address, netrc=logins, credentials=signer)


def _same_user(there: CacheAddress, address: CacheAddress) -> bool:
    """Whether a bucket is written by whoever reads it; all others are."""
    mine, theirs = address.bucket, there.bucket
    return mine is None or not mine.profile or (theirs is not None and mine == theirs)


def _look(bench: Workbench, stock: _Stock) -> tuple[BuildGraph, Offers]:
    """What may be pushed.

    Raises:
        NixbkError: something that is to be pushed is not built.
    """
    graph = bench.graph()
    images = stock.lock.images.values()
    asked = list(dict.fromkeys(output for image in images for output in wanted(graph, image)))
    order = graph.build_order([step for step, _ in asked])
    everything = [*asked]
    if stock.whole:
        derivations = stock.lock.derivations
        everything += [(drv, name) for drv in order for name in derivations[drv].outputs]
    cache = bench.settings.cache
    with bench.solving() as solver:
        prober = CacheProber(solver, graph.compiler(Flavour.PROBE), cache)
        found = examine(graph, order, everything, bench.known, prober)
        remember(bench, graph, order, prober)
    lasting = [drv for drv in order if drv in found.cached and graph.is_lasting(drv)]
    verify(
        graph, [drv for drv in lasting if drv not in bench.read], bench.known, bench.solving, cache
    )
    made = offers(graph, _paths(graph, everything), found.cached)
    unknown = [step for step, _ in dict.fromkeys(everything) if not graph.is_known(step)]
    reasons = {drv: ABSENT if graph.is_lasting(drv) else PASSING for drv in unknown}
    withheld = {**reasons, **made.withheld}
    _require(graph, asked, withheld, stock)
    return graph, Offers(made.given, withheld, made.fetched)


def _paths(graph: BuildGraph, asked: Sequence[Wanted]) -> list[StorePath]:
    return [graph.path(step, name) for step, name in asked if graph.is_known(step)]


def _require(
    graph: BuildGraph, asked: Sequence[Wanted], withheld: Mapping[StorePath, str], stock: _Stock
) -> None:
    """See that what is asked for by name can be pushed.

    Raises:
        NixbkError: it is not built; or it was named on the command line, and is not to be pushed.
    """
    paths = graph.closure(_paths(graph, asked))
    needed = [*(step for step, _ in asked if not graph.is_known(step)), *sorted(paths)]
    absent = [path for path in dict.fromkeys(needed) if withheld.get(path) == ABSENT]
    if absent:
        names = few([derivation_name(path) for path in absent])
        are = "is" if len(absent) == 1 else "are"
        raise NixbkError(f"{names} {are} not in the builder's cache", hint=stock.missing)
    for found in stock.lock.images[COMMAND_LINE].installables if not stock.whole else ():
        for step, name in graph.wanted(found):
            path = graph.path(step, name) if graph.is_known(step) else step
            if path in withheld:
                raise NixbkError(f"it is not pushed: {withheld[path]}", where=found.text)


class _Push:
    """One push."""

    def __init__(
        self,
        bench: Workbench,
        graph: BuildGraph,
        target: PushTarget,
        wish: Wish,
        say: Callable[[Offer, NarInfo | None], None],
    ) -> None:
        self._bench = bench
        self._graph = graph
        self._target = target
        self._wish = wish
        self._say = say

    def run(self, found: Offers, stock: _Stock) -> Pushed:
        """Push what the cache does not have."""
        target = self._target
        there: Mapping[StorePath, NarInfo] = {}
        exists = target.is_cache()
        if exists:
            there = target.ask(offer.path for offer in found.given)
        elif not self._wish.dry_run:
            target.introduce()
        present = tuple(offer for offer in found.given if offer.path in there)
        unsigned = [o for o in present if target.wants_signature(o, there[o.path])]
        left = [offer for offer in found.given if offer.path not in there]
        pushed: dict[Offer, NarInfo | None] = {}
        if self._wish.dry_run:
            pushed = dict.fromkeys(left)
            for offer in left:
                self._say(offer, None)
        else:
            for offer, info in self._give(left, stock.opener):
                pushed[offer] = info
                self._say(offer, info)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda offer: target.add_signature(there[offer.path]), unsigned))
        return Pushed(
            target.name,
            pushed,
            present,
            tuple(unsigned),
            found.withheld,
            found.fetched,
            tuple(offer for offer in present if not is_same(offer, there[offer.path])),
        )

    def _give(self, left: Sequence[Offer], opener: Opener) -> Iterator[tuple[Offer, NarInfo]]:
        """Push *left*, in their order as whoever reads the cache sees it."""
        if not left:
            return
        graph, compression = self._graph, self._wish.compression
        run = graph.compiler(Flavour.RUN)
        with self._bench.solving() as solver:
            solver.solve(run.collect(()))  # the helper is there then, whatever is a probe beside it
        roots = {
            offer: run.pack(graph.store_object(offer.path, Flavour.PROBE), compression)
            for offer in left
            if offer.source is None
        }
        with (
            tempfile.TemporaryDirectory(prefix="nixbk-push-") as folder,
            self._bench.solving() as solver,
            ThreadPoolExecutor(PARALLEL) as pool,
        ):
            try:
                sent = pool.map(
                    lambda offer: self._send(offer, roots.get(offer), solver, opener, Path(folder)),
                    left,
                )
                for offer, packed in zip(left, sent, strict=True):
                    yield offer, self._target.put_info(offer, packed)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                solver.abandon()
                raise

    def _send(
        self, offer: Offer, root: Output | None, solver: Solver, opener: Opener, folder: Path
    ) -> Packed:
        """Have the cache hold the archive of a path."""
        file, compression = folder / offer.path.basename, self._wish.compression
        try:
            if root is not None:
                packed = pack_output(solver, root, offer, compression, file)
            else:
                assert offer.source is not None  # noqa: S101  it is no output
                with opener(offer.source) as nar:
                    packed = pack_source(nar, offer, compression, file)
            self._target.put_archive(packed)
        except BuildFailed as error:
            if not is_miss(error):
                raise
            raise NixbkError(
                "the builder has just removed it from its cache",
                where=str(offer.path),
                hint="build it again, and push the rest then",
            ) from error
        finally:
            file.unlink(missing_ok=True)
        return packed
