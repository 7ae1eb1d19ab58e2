from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixbk.image.config import KEY_LABEL, ImageConfig, config_matches, found_config
from nixbk.image.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = ImageConfig(
    os="linux",
    architecture="arm64",
    variant="v8",
    entrypoint=("/bin/hello",),
    cmd=("-g", "hé"),
    env=(("PATH", "/bin"), ("A", "b=c")),
    working_dir="/srv",
    user="1000:100",
    labels=(("b", "2"), ("a", "1")),
    exposed_ports=("8080", "53/udp", "90-91/tcp"),
    volumes=("/data",),
    stop_signal="SIGINT",
)

JSON = (
    '{"architecture":"arm64","config":{"Cmd":["-g","hé"],"Entrypoint":["/bin/hello"],'
    '"Env":["PATH=/bin","A=b=c"],"ExposedPorts":{"53/udp":{},"8080/tcp":{},"90/tcp":{},"91/tcp":{}},'
    '"Labels":{"a":"1","b":"2"},"StopSignal":"SIGINT","User":"1000:100","Volumes":{"/data":{}},'
    '"WorkingDir":"/srv"},"created":"1970-01-01T00:00:01Z",'
    '"history":[{"created":"1970-01-01T00:00:01Z","created_by":"one"},'
    '{"created":"1970-01-01T00:00:01Z","created_by":"two"}],"os":"linux","variant":"v8"}'
)


def test_the_exporter_gets_the_same_bytes_every_time() -> None:
    """Sorted, without spaces, with a line of history for each layer."""
    assert CONFIG.to_bytes(["one", "two"]).decode() == JSON


def test_what_is_empty_is_left_out() -> None:
    """An image that says nothing has a configuration that says nothing."""
    expected = {
        "architecture": "amd64",
        "config": {},
        "created": "1970-01-01T00:00:01Z",
        "history": [],
        "os": "linux",
    }
    assert json.loads(ImageConfig("linux", "amd64").to_bytes([])) == expected


def inspected() -> dict[str, Any]:
    """What ``docker image inspect`` printed of an image of CONFIG (Docker 28.5.2, shortened)."""
    return {
        "Id": "sha256:1898b7100ab69fcff266ac94a9342d94a5a2b332487048668da16d4b46922bc3",
        "RepoTags": ["demo:latest"],
        "Created": "1970-01-01T00:00:01Z",
        "DockerVersion": "",
        "Architecture": "arm64",
        "Variant": "v8",
        "Os": "linux",
        "Size": 1082456,
        "GraphDriver": {"Data": None, "Name": "overlayfs"},
        "RootFS": {"Type": "layers", "Layers": ["sha256:97", "sha256:8c"]},
        "Config": {
            "Cmd": ["-g", "hé"],
            "Entrypoint": ["/bin/hello"],
            "Env": ["A=b=c", "PATH=/bin"],
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}},
            "Labels": {"a": "1", "b": "2"},
            "OnBuild": None,
            "StopSignal": "SIGINT",
            "User": "1000:100",
            "Volumes": {"/data": {}},
            "WorkingDir": "/srv",
        },
    }


def exported() -> dict[str, Any]:
    """An OCI configuration as BuildKit's exporter writes it."""
    rootfs = {"type": "layers", "diff_ids": ["sha256:97", "sha256:8c"]}
    return {**json.loads(JSON), "rootfs": rootfs}


def test_an_image_is_known_again() -> None:
    """By Docker's inspection, in its list or out of it, and by its OCI configuration."""
    for found in (inspected(), [inspected()], exported()):
        assert config_matches(CONFIG, found, 2) == []
    assert found_config(exported()) == (CONFIG, 2)


DIFFERENCES: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "entrypoint": (
        lambda c: c["Config"].update(Entrypoint=None),
        ["entrypoint is [], not ['/bin/hello']"],
    ),
    "user": (lambda c: c["Config"].pop("User"), ["user is '', not '1000:100'"]),
    "variables": (
        lambda c: c["Config"].update(Env=["PATH=/sbin", "B=x"]),
        [
            "variable 'A' is missing, not 'b=c'",
            "variable 'B' is 'x', not missing",
            "variable 'PATH' is '/sbin', not '/bin'",
        ],
    ),
    "key": (
        lambda c: c["Config"]["Labels"].update({KEY_LABEL: "k"}),
        ["label 'dev.nixbk.key' is 'k', not missing"],
    ),
    "platform": (
        lambda c: c.update(Architecture="amd64", Variant=""),
        ["architecture is 'amd64', not 'arm64'", "variant is '', not 'v8'"],
    ),
    "layers": (lambda c: c["RootFS"].update(Layers=None), ["it has 0 layers, not 2"]),
}


@pytest.mark.parametrize(("change", "expected"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_differences_are_told(
    change: Callable[[dict[str, Any]], object], expected: list[str]
) -> None:
    """What is there, and what should be."""
    found = inspected()
    change(found)
    assert config_matches(CONFIG, found, 2) == expected


def test_a_label_is_added_or_replaced() -> None:
    """The rest stays, sorted."""
    labels = CONFIG.with_labels({KEY_LABEL: "k", "a": "9"}).labels
    assert labels == (("a", "9"), ("b", "2"), (KEY_LABEL, "k"))


def config(**changes: Any) -> ImageConfig:
    """A configuration of Linux on amd64."""
    return ImageConfig("linux", "amd64", **changes)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "variable twice": (
        lambda: config(env=(("A", "1"), ("A", "2"))),
        "the variable 'A' is there twice",
    ),
    "relative folder": (lambda: config(working_dir="srv"), "'srv' is no absolute path"),
    "relative volume": (lambda: config(volumes=("data",)), "'data' is no absolute path"),
    "port name": (
        lambda: config(exposed_ports=("http",)),
        "'http' is no port\n  hint: write it as '8080/tcp'",
    ),
    "port 0": (
        lambda: config(exposed_ports=("0",)),
        "'0' is no port\n  hint: write it as '8080/tcp'",
    ),
    "large port": (
        lambda: config(exposed_ports=("65536/udp",)),
        "'65536/udp' is no port\n  hint: write it as '8080/tcp'",
    ),
    "range turned round": (
        lambda: config(exposed_ports=("9-8",)),
        "'9-8' is no port\n  hint: write it as '8080/tcp'",
    ),
    "found a text": (lambda: found_config("x"), "the configuration of an image is no JSON object"),
    "found two": (
        lambda: found_config([{}, {}]),
        "the configuration of an image is no JSON object",
    ),
    "found a number": (lambda: found_config({"os": 1}), "os: 1 is no text"),
    "found no list": (lambda: found_config({"config": {"Env": {}}}), "Env: {} is no list"),
    "found no object": (lambda: found_config({"config": []}), "config: [] is no object"),
}


@pytest.mark.parametrize(("make", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_no_configuration(make: Callable[[], object], expected: str) -> None:
    """Refused with the text at fault."""
    with pytest.raises(ImageError) as caught:
        make()
    assert str(caught.value) == expected
