"""Whatever the closure, its layers hold it, keep to the budget, and are always the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nixbk.image.config import ImageConfig, config_matches, found_config
from nixbk.image.layers import MAX_LAYERS, PathInfo, plan_layers
from nixbk.nix.store_path import StorePath


@st.composite
def closures(draw: st.DrawFn) -> list[PathInfo]:
    """Up to 150 store paths that refer to earlier ones and themselves."""
    count = draw(st.integers(0, 150))
    digests = draw(
        st.lists(st.binary(min_size=20, max_size=20), min_size=count, max_size=count, unique=True)
    )
    paths = [StorePath(digest, "x") for digest in digests]
    indices = st.integers(0, 1_000_000)
    return [
        PathInfo(
            path,
            draw(st.integers(0, 50)),
            tuple(paths[draw(indices) % (i + 1)] for _ in range(draw(st.integers(0, 2)))),
        )
        for i, path in enumerate(paths)
    ]


@given(closures(), st.integers(1, MAX_LAYERS), st.data())
def test_layers_hold_the_closure(infos: list[PathInfo], budget: int, data: st.DataObject) -> None:
    """Each path once, none empty, at most the budget, all of it used where it can be."""
    layers = plan_layers(infos, budget)
    assert sorted(path for layer in layers for path in layer) == sorted(i.path for i in infos)
    assert len(layers) == min(budget, len(infos))
    assert all(layers)
    assert all(len(layer) == 1 for layer in layers[:-1])
    assert plan_layers(data.draw(st.permutations(infos)), budget) == layers
    single = {layer[0]: i for i, layer in enumerate(layers) if len(layer) == 1}
    for info in infos:
        for other in set(info.references) - {info.path}:
            if info.path in single and other in single:
                assert single[other] < single[info.path]


TEXT = st.text(max_size=8)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
NAMES = st.text(st.characters(exclude_characters="="), min_size=1, max_size=5)
PAIRS = st.dictionaries(NAMES, TEXT, max_size=3).map(lambda d: tuple(d.items()))


@given(
    st.builds(
        ImageConfig,
        os=st.just("linux"),
        architecture=st.sampled_from(["amd64", "arm64"]),
        variant=st.sampled_from(["", "v7"]),
        entrypoint=WORDS,
        cmd=WORDS,
        env=PAIRS,
        working_dir=TEXT.map(lambda text: f"/{text}"),
        user=TEXT,
        labels=PAIRS,
        exposed_ports=st.lists(st.integers(1, 65535).map(str), max_size=3).map(tuple),
        volumes=st.lists(TEXT.map(lambda text: f"/{text}"), max_size=3).map(tuple),
        stop_signal=TEXT,
    ),
    WORDS,
)
def test_a_configuration_is_known_again(config: ImageConfig, layers: tuple[str, ...]) -> None:
    """What is written, with the root file system the exporter adds, is what is found."""
    found = {**config.to_json(layers), "rootfs": {"type": "layers", "diff_ids": list(layers)}}
    assert found_config(found) == (config, len(layers))
    assert config_matches(config, found, len(layers)) == []
