"""Where cache is shared with other builders, as builds are told of it.

Folders are looked into and the environment is asked once, when a command begins.

Source: ``parseCacheOptions``, BuildKit ``client/solve.go``; ``addGithubToken``, buildx
``util/buildflags/cache.go``. Effect: reads indexes of folders.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from nixbk.buildkit.content_folder import DEFAULT_TAG, ContentError, ContentFolder
from nixbk.buildkit.protocols import CacheOption
from nixbk.schema.cache import YES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nixbk.schema.cache import CacheEntry

STORE_PREFIX: Final = "local:"
INLINE: Final = CacheOption("inline")
NO_STORES: Final[Mapping[str, ContentFolder]] = MappingProxyType({})


class CacheTarget(NamedTuple):
    """One place that cache is kept in.

    Attributes:
        text: as it is written, without secrets.
        option: the same for the builder.
        folder: the folder of a local one.
        tag: what it is called in there.
        reset: whether what nothing in there needs any more is removed.
    """

    text: str
    option: CacheOption
    folder: ContentFolder | None = None
    tag: str = DEFAULT_TAG
    reset: bool = False


class SharedCache(NamedTuple):
    """Places that cache is taken from and kept in.

    Attributes:
        imports: where builds look beyond the builder's own cache.
        targets: where cache is kept after a command.
        inline: whether images carry cache of their own.
        stores: folders of local places, by the id that the builder knows them by.
        notes: what was left out, and why; a line each.
    """

    imports: tuple[CacheOption, ...] = ()
    targets: tuple[CacheTarget, ...] = ()
    inline: bool = False
    stores: Mapping[str, ContentFolder] = NO_STORES
    notes: tuple[str, ...] = ()

    @property
    def of_images(self) -> tuple[CacheOption, ...]:
        """What is exported together with an image."""
        return (INLINE,) if self.inline else ()

    @property
    def is_shared(self) -> bool:
        """Whether other builders have a part in this."""
        return bool(self.imports or self.targets)


NOT_SHARED: Final = SharedCache()


def shared_cache(
    sources: Iterable[tuple[CacheEntry, Path]],
    targets: Iterable[tuple[CacheEntry, Path]],
    environ: Mapping[str, str],
) -> SharedCache:
    """Make entries ready for builds.

    Args:
        sources: where cache is taken from, each with the folder that its paths are relative to.
        targets: where it is kept.
        environ: the user's environment, for GitHub Actions.
    """
    stores: dict[str, ContentFolder] = {}
    notes: list[str] = []
    imports, kept, inline = [], [], False
    for entry, folder in sources:
        attrs = dict(entry.attrs)
        if entry.type == "local":
            why = _source_folder(attrs, folder, stores)
        else:
            why = _github(entry, attrs, environ)
        if why:
            notes.append(f"no cache is taken from {entry}: {why}")
        else:
            imports.append(CacheOption(entry.type, attrs))
    for entry, folder in targets:
        if entry.type == "inline":
            inline = True
            continue
        attrs = {"mode": "max", **entry.attrs}
        if why := _github(entry, attrs, environ):
            notes.append(f"no cache is kept in {entry}: {why}")
            continue
        store = None
        if entry.type == "local":
            store = _store(attrs["dest"], folder, stores)
            attrs["dest"] = str(store.folder)
        reset = entry.type == "local" and attrs.pop("reset", "").lower() in YES
        option = CacheOption(entry.type, attrs)
        tag = attrs.get("tag", DEFAULT_TAG)
        kept.append(CacheTarget(str(entry), option, store, tag, reset))
    return SharedCache(tuple(imports), tuple(kept), inline, stores, tuple(notes))


def _store(name: str, folder: Path, stores: dict[str, ContentFolder]) -> ContentFolder:
    place = (folder / name).absolute()
    return stores.setdefault(f"{STORE_PREFIX}{place}", ContentFolder(place))


def _source_folder(
    attrs: dict[str, str], folder: Path, stores: dict[str, ContentFolder]
) -> str | None:
    """Find the digest of what a local place has; why it has none."""
    store = _store(attrs["src"], folder, stores)
    attrs["src"] = str(store.folder)
    tag = attrs.pop("tag", DEFAULT_TAG)
    try:
        digest = attrs.get("digest") or store.tagged(tag)
        if digest is None:
            return f"nothing is called {tag!r} there"
        store.find(digest)
    except ContentError as error:
        return str(error)
    attrs["digest"] = digest
    return None


def _github(entry: CacheEntry, attrs: dict[str, str], environ: Mapping[str, str]) -> str | None:
    """Add what a job of GitHub Actions knows of its cache; why that cannot be used."""
    if entry.type != "gha":
        return None
    version = attrs.get("version", "")
    if not version and environ.get("ACTIONS_CACHE_SERVICE_V2", "").lower() in YES:
        version = "2"
    results = environ.get("ACTIONS_RESULTS_URL", "")
    found = {
        "token": environ.get("ACTIONS_RUNTIME_TOKEN", ""),
        "url_v2": results if version == "2" else "",
        "url": environ.get("ACTIONS_CACHE_URL", "") or results,
    }
    for name, value in found.items():
        if value:
            attrs.setdefault(name, value)
    if attrs.get("token") and (attrs.get("url") or attrs.get("url_v2")):
        return None
    return (
        "ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL are not set, as they are in jobs of "
        "GitHub Actions"
    )
