"""From realised store paths to one image: closure, layers, configuration, key. Pure."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from nixbk.image.config import KEY_LABEL
from nixbk.image.layers import PathInfo, plan_layers
from nixbk.image.state import Fragment, image_state, layer_name
from nixbk.image.wanted import image_config
from nixbk.llb.origin import Origin
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from nixbk.image.config import ImageConfig
    from nixbk.llb.platforms import Platform
    from nixbk.llb.vertex import Output
    from nixbk.nix.store_path import StorePath
    from nixbk.planner.build_graph import BuildGraph
    from nixbk.planner.leaves import Wanted
    from nixbk.schema.lock import LockedImage
    from nixbk.schema.manifest import Image


class ImageBlueprint(NamedTuple):
    """An image whose content is known.

    Attributes:
        key: its table in the manifest.
        layers: store paths of each layer, the lowest first.
        config: how it runs; its key label names layers, content and configuration.
        nar_size: bytes of all its store paths.
    """

    key: str
    layers: tuple[tuple[StorePath, ...], ...]
    config: ImageConfig
    nar_size: int

    @property
    def config_bytes(self) -> bytes:
        """The configuration as exporters take it."""
        return self.config.to_bytes([layer_name(layer) for layer in self.layers])


def wanted(graph: BuildGraph, locked: LockedImage) -> tuple[Wanted, ...]:
    """The steps and outputs that an image's installables stand for."""
    found = chain.from_iterable(graph.wanted(installable) for installable in locked.installables)
    return tuple(dict.fromkeys(found))


def blueprint(graph: BuildGraph, key: str, image: Image, platform: Platform) -> ImageBlueprint:
    """What the image *key* is made of; the closure of its installables must be known."""
    locked = graph.located(graph.lock.images[key])
    closure = graph.closure(path for found in locked.installables for path in found.paths.values())
    infos = [graph.info(path) for path in sorted(closure)]
    layers = plan_layers(
        [PathInfo(info.path, info.nar_size_bytes, info.references) for info in infos],
        image.layers.max,
    )
    config = image_config(image, locked, platform)
    names = [layer_name(layer) for layer in layers]
    content = {
        "layers": [[str(path) for path in layer] for layer in layers],
        "narHashes": {str(info.path): info.nar_hash.sri() for info in infos},
        "config": config.to_json(names),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return ImageBlueprint(
        key=key,
        layers=layers,
        config=config.with_labels({KEY_LABEL: f"sha256:{digest}"}),
        nar_size=sum(info.nar_size_bytes for info in infos),
    )


def compile_image(
    graph: BuildGraph, image: ImageBlueprint, capabilities: AbstractSet[str]
) -> Output | None:
    """The operations that put the image's layers together; None for an image of nothing."""
    compiler = graph.compiler(Flavour.RUN)
    fragments = []
    for layer in image.layers:
        for path in layer:
            found = graph.store_object(path, Flavour.RUN)
            unpacked = graph.is_leaf(graph.producer(path))  # by a step that leaves no result file
            base = compiler.base if unpacked else compiler.below(found.root)
            fragments.append(Fragment(path, found.root, base, found.members))
    return image_state(
        fragments,
        image.layers,
        capabilities,
        name=image.key,
        origin=Origin(f"images.{image.key}"),
    )
