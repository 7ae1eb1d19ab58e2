"""What may be given to others, and what not, for which reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from benches import WORKSHOP, Bench
from fetched import GLIBC, entry, fetched
from locks import floating_lock
from proven import SETUP, lock, source

from nixbk.nix.content_address import content_address
from nixbk.planner.images import wanted
from nixbk.planner.offers import ABSENT, FOREIGN, PASSING, UNPROVEN, offers
from nixbk.schema.lock import Lock, LockedPath

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nixbk.nix.store_path import StorePath

GRAPH = {"bash": [], "zlib": ["bash"], "hello": ["zlib", "bash"]}
WHOLE = lock(GRAPH)
SHOP = WORKSHOP._replace(archive_url=lambda found: f"http://{found.substituter}/{found.url}")


class Built:
    """A lock of which everything has been built.

    Args:
        held: the lock.
        refers: the names of what each output refers to, by its own name.
    """

    def __init__(self, held: Lock, refers: Mapping[str, Sequence[str]] | None = None) -> None:
        outputs = [path for drv in held.derivations for path in held.outputs(drv).values()]
        by_name = {path.name: path for path in (*outputs, *held.sources, *held.substitutes)}
        references = {
            str(by_name[name]): tuple(by_name[other] for other in others)
            for name, others in (refers or {}).items()
        }
        bench = Bench(held, references, SHOP)
        bench.apply()
        self.graph, _, self.survey = bench.survey()

    def offered(self, absent: Collection[str] = ()) -> tuple[list[str], dict[str, str], list[str]]:
        """What of all outputs may be given, what not, and what comes from caches, by name."""
        graph = self.graph
        order = graph.build_order(
            [step for image in graph.lock.images.values() for step, _ in wanted(graph, image)]
        )
        paths = [path for drv in order for path in graph.outputs(drv).values()]
        cached = {drv for drv in order if drv.name.removesuffix(".drv") not in absent}
        found = offers(graph, paths, cached)
        return (
            [offer.path.name for offer in found.given],
            {path.name: why for path, why in found.withheld.items()},
            [path.name for path in found.fetched],
        )


def with_source(held: Lock, **changes: Any) -> Lock:
    """*held* with its source changed."""
    return replace(held, sources={SETUP.path: held.sources[SETUP.path]._replace(**changes)})


REFERS = {"zlib": ["bash"], "hello": ["hello", "setup.sh", "zlib"]}
PART = fetched(WHOLE, ["zlib"], [GLIBC])
FALLBACK = fetched(replace(WHOLE, fallback=True), ["zlib"], [GLIBC])


def test_what_is_referred_to_comes_first() -> None:
    """And sources come along."""
    given, withheld, others = Built(WHOLE, REFERS).offered()
    assert sorted(given) == ["bash", "hello", "setup.sh", "zlib"]
    assert given.index("bash") < given.index("zlib") < given.index("hello") > 0
    assert given.index("setup.sh") < given.index("hello")
    assert (withheld, others) == ({}, [])


def test_sources_that_nothing_refers_to_stay() -> None:
    """They were needed to build, and no more."""
    assert "setup.sh" not in Built(WHOLE).offered()[0]


def test_what_an_offer_tells() -> None:
    """The derivation it was built from, and the source it is a copy of."""
    built = Built(WHOLE, REFERS)
    hello = built.graph.lock.roots[0]
    (path,) = built.graph.lock.outputs(hello).values()
    found = {offer.path.name: offer for offer in offers(built.graph, [path], {hello}).given}
    assert set(found) == {"setup.sh"}  # the rest is not in the builder's cache
    steps = built.survey.cached | set(built.graph.lock.derivations)
    found = {offer.path.name: offer for offer in offers(built.graph, [path], steps).given}
    assert (found["hello"].deriver, found["hello"].content_address) == (hello, "")
    assert found["setup.sh"].source == SETUP
    assert found["setup.sh"].content_address == content_address("nar", SETUP.nar_hash)


def test_what_is_absent_takes_along_what_refers_to_it() -> None:
    """Nothing is given without what it refers to."""
    given, withheld, _ = Built(WHOLE, REFERS).offered(absent=["zlib"])
    assert sorted(given) == ["bash", "setup.sh"]
    assert withheld == {"zlib": ABSENT, "hello": "it refers to zlib, which is not pushed"}


PROOFS: dict[str, tuple[Lock, list[str], dict[str, str]]] = {
    "fetched": (PART, ["bash"], {"hello": UNPROVEN}),
    "fetched, with its recipe": (FALLBACK, ["bash", "hello"], {}),
    "a source of no content": (
        with_source(WHOLE, method="none"),
        [],
        {
            "bash": f"it is made of setup.sh; {FOREIGN}",
            "zlib": UNPROVEN,
            "hello": UNPROVEN,
        },
    ),
}


@pytest.mark.parametrize("name", PROOFS)
def test_proofs(name: str) -> None:
    """A path has to follow from recipes, and from sources that follow from their content."""
    held, expected, reasons = PROOFS[name]
    given, withheld, _ = Built(held).offered()
    assert (sorted(given), withheld) == (expected, reasons)


def test_what_caches_have_counts_as_there() -> None:
    """It is named, and not given again."""
    given, withheld, others = Built(FALLBACK, {"hello": ["zlib"]}).offered()
    assert (sorted(given), withheld) == (["bash", "hello"], {})
    assert others == ["zlib"]


def test_a_fetched_source_proves_nothing() -> None:
    """Unless its path follows from its content."""
    found = entry(SETUP.path, [])
    address = content_address("nar", found.nar_hash)
    held = replace(WHOLE, sources={}, substitutes={SETUP.path: found})
    assert Built(held).offered()[0] == []
    good = found._replace(content_address=address)
    held = replace(WHOLE, sources={}, substitutes={SETUP.path: good})
    assert sorted(Built(held).offered()[0]) == ["bash", "hello", "zlib"]


def test_an_edited_recipe_proves_nothing() -> None:
    """Nor does what is made of it."""
    path = WHOLE.roots[0]
    edited = replace(WHOLE.derivations[path], args=("another",))
    held = replace(WHOLE, derivations={**WHOLE.derivations, path: edited})
    given, withheld, _ = Built(held).offered()
    assert sorted(given) == ["bash", "zlib"]
    assert withheld == {"hello": UNPROVEN}


CHAIN = {"gcc": [], "lib": ["gcc"], "app": ["lib"]}


def test_floating_outputs_are_what_they_are() -> None:
    """Whatever their recipes say, their paths follow from their content."""
    held = floating_lock(CHAIN, {"gcc": "floating", "lib": "floating", "app": "floating"})
    given, withheld, _ = Built(held).offered()
    assert (sorted(given), withheld) == (["app", "gcc", "lib"], {})


def test_impure_outputs_stay() -> None:
    """With all that depends on them."""
    held = floating_lock(CHAIN, {"gcc": "floating", "lib": "impure", "app": "impure"})
    given, withheld, _ = Built(held).offered()
    assert given == ["gcc"]
    assert withheld == {"lib": PASSING, "app": PASSING}


def test_what_the_sandbox_has_is_no_recipe() -> None:
    """As with Nix, what a machine gives all builds counts as a part of it."""
    shell = source("sandboxed")
    held = replace(
        WHOLE,
        sources={**WHOLE.sources, shell.path: shell},
        locked_paths={"/bin/sh": LockedPath("sandboxed", shell.path)},
    )
    assert sorted(Built(held).offered()[0]) == ["bash", "hello", "zlib"]


def test_no_paths_are_no_offers() -> None:
    """Nothing comes of nothing."""
    nothing: list[StorePath] = []
    found = offers(Built(WHOLE).graph, nothing, set())
    assert (found.given, found.withheld, found.fetched) == ((), {}, ())
