"""The installables of a manifest, and what they stand for in a lock. Pure, but for `platform_of`.

Effect of that: asks what machine this is.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, NamedTuple

from nixbk.nix.store_path import StorePath
from nixbk.resolve.locking import LockingError
from nixbk.schema.installable import ALL_OUTPUTS, Installable
from nixbk.schema.lock import LockedImage, LockedInstallable, LockedPath
from nixbk.schema.platform import MACHINES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nixbk.nix.derivation import Derivation
    from nixbk.resolve.evaluator import Evaluated
    from nixbk.resolve.recipes import StoreRecipes
    from nixbk.schema.manifest import Manifest
    from nixbk.schema.manifest_file import ManifestFile
    from nixbk.schema.problems import KeyPath


class Row(NamedTuple):
    """Something that the manifest names, and what it stands for.

    Attributes:
        where: its key.
        text: as the user wrote it.
        drv_path: the derivation; None for a store path.
        names: the outputs that are wanted.
        paths: their store paths, as far as they are known.
    """

    where: KeyPath
    text: str
    drv_path: StorePath | None
    names: tuple[str, ...]
    paths: Mapping[str, StorePath]


def named(manifest: Manifest) -> Iterator[tuple[KeyPath, Installable]]:
    """All installables of images and of the sandbox, by their keys."""
    for key, image in manifest.images.items():
        for number, text in enumerate(image.installables):
            yield ("images", key, "installables", number), Installable.parse(text)
    for below, source in manifest.sandbox.sources.values():
        if source.installable is not None:
            yield ("sandbox", *below), source.installable


def platform_of(file: ManifestFile, key: str) -> str:
    """The platform of an image: the one that it names, or else this machine's.

    Raises:
        LockingError: nobody knows the platform of this machine.
    """
    platforms = file.manifest.images[key].platforms
    if platforms:
        return platforms[0]
    machine = platform.machine()
    found = MACHINES.get(machine)
    if found is None:
        raise LockingError(
            f"no platform is known for machines of the kind {machine!r}",
            where=file.where("images", key),
            hint=f"write 'images.{key}.platforms'",
        )
    return found


def rows_of(
    file: ManifestFile, evaluated: Mapping[KeyPath, Evaluated], recipes: StoreRecipes
) -> list[Row]:
    """Everything that the manifest names, in its order.

    Raises:
        LockingError: a derivation does not have an output that is asked for.
    """
    rows: list[Row] = []
    for where, installable in named(file.manifest):
        text = installable.text
        if where not in evaluated:
            path = StorePath.parse(installable.target)
            rows.append(Row(where, text, None, ("out",), {"out": path}))
            continue
        drv_path = evaluated[where].drv_path
        derivation = recipes.read(drv_path)
        names = _names(file, where, installable.outputs or evaluated[where].outputs, derivation)
        if where[0] == "sandbox":
            names = ("out",) if "out" in names else names[:1]
        paths = {
            name: StorePath.parse(derivation.outputs[name].path)
            for name in names
            if derivation.outputs[name].path
        }
        rows.append(Row(where, text, drv_path, names, paths))
    return rows


def _names(
    file: ManifestFile, where: KeyPath, names: tuple[str, ...], derivation: Derivation
) -> tuple[str, ...]:
    """The outputs that an installable stands for."""
    if names == ALL_OUTPUTS:
        names = tuple(derivation.outputs)
    for name in names:
        if name not in derivation.outputs:
            raise LockingError(
                f"{derivation.name!r} has no output {name!r}",
                where=file.where(*where),
                hint=f"it has {', '.join(derivation.outputs)}",
            )
    return names


def images_of(file: ManifestFile, rows: Iterable[Row]) -> dict[str, LockedImage]:
    """The images of a lock."""
    installables: dict[str, list[LockedInstallable]] = {key: [] for key in file.manifest.images}
    for row in rows:
        if row.where[0] == "images":
            entry = LockedInstallable(row.text, row.drv_path, row.names, row.paths)
            installables[str(row.where[1])].append(entry)
    return {
        key: LockedImage((platform_of(file, key),), tuple(found))
        for key, found in installables.items()
    }


def made_paths(file: ManifestFile, rows: Iterable[Row]) -> dict[str, LockedPath]:
    """What of the sandbox is in installables, by where builds find it.

    Raises:
        LockingError: nobody knows a store path before it is built.
    """
    by_key = {row.where: row for row in rows if row.where[0] == "sandbox"}
    paths: dict[str, LockedPath] = {}
    for target, (below, source) in file.manifest.sandbox.sources.items():
        if source.installable is None:
            continue
        row = by_key["sandbox", *below]
        (name,) = row.names
        path = row.paths.get(name)
        if path is None:
            raise LockingError(
                "its store path is known only when it is built",
                where=file.where("sandbox", *below),
                hint="name what is not content-addressed, or a file",
            )
        output = name if row.drv_path else ""
        paths[target] = LockedPath(source.text, path, source.path, row.drv_path, output)
    return paths
