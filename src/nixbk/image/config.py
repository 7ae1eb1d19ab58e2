"""The configuration of an image: how a container of it runs. Pure.

BuildKit's exporters take it as the metadata ``containerimage.config`` of a result. They
write ``rootfs`` themselves, and ``history`` where it is shorter than the layers, with the
time of the build in it; so every layer has its line here.

Source: the OCI image specification, ``config.md``; ``patchImageConfig`` and
``normalizeLayersAndHistory``, BuildKit ``exporter/containerimage/writer.go``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nixbk.image.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CREATED: Final = "1970-01-01T00:00:01Z"
"""When everything of Nix's was made."""

CONFIG_METADATA: Final = "containerimage.config"
"""The key of a result's metadata under which the exporters look for it."""

KEY_LABEL: Final = "dev.nixbk.key"
"""The label by which an image is known again, wherever it is found."""

_PORT: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How a container of the image runs, and on what.

    Attributes:
        os: ``linux``.
        architecture: Go's name: ``amd64``.
        variant: of the architecture, or nothing.
        entrypoint: the program and its first arguments.
        cmd: arguments when the user gives none.
        env: variables and their values, in order, each once.
        working_dir: absolute, or nothing.
        user: user and perhaps ``:`` and group, or nothing.
        labels: names and values, sorted.
        exposed_ports: ``80/tcp``, sorted.
        volumes: absolute paths, sorted.
        stop_signal: ``SIGTERM``, or nothing.

    Raises:
        ImageError: a variable twice, or a port or path that is none.
    """

    os: str
    architecture: str
    variant: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""

    def __post_init__(self) -> None:
        for name, pairs in (("variable", self.env), ("label", self.labels)):
            keys = [key for key, _ in pairs]
            if len(set(keys)) != len(keys):
                twice = min(key for key in keys if keys.count(key) > 1)
                raise ImageError(f"the {name} {twice!r} is there twice")
        for path in (self.working_dir, *self.volumes):
            if path and not path.startswith("/"):
                raise ImageError(f"{path!r} is no absolute path")
        object.__setattr__(self, "labels", tuple(sorted(self.labels)))
        object.__setattr__(self, "volumes", tuple(sorted(set(self.volumes))))
        object.__setattr__(self, "exposed_ports", _ports(self.exposed_ports))

    def with_labels(self, labels: Mapping[str, str]) -> ImageConfig:
        """The same with more labels; a name that is there gets the new value."""
        values = {key: getattr(self, key) for key in self.__slots__}
        values["labels"] = tuple((dict(self.labels) | dict(labels)).items())
        return ImageConfig(**values)

    def to_bytes(self, layers: Sequence[str]) -> bytes:
        """JSON for the exporter, the same bytes for the same configuration.

        Args:
            layers: what each layer is called in the history, the lowest first.
        """
        return _json(self.to_json(layers))

    def to_json(self, layers: Sequence[str]) -> dict[str, Any]:
        """What `to_bytes` writes; what is empty is left out."""
        run = {
            "Cmd": list(self.cmd),
            "Entrypoint": list(self.entrypoint),
            "Env": [f"{key}={value}" for key, value in self.env],
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "User": self.user,
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.working_dir,
        }
        return {
            "architecture": self.architecture,
            "config": {key: value for key, value in run.items() if value},
            "created": CREATED,
            "history": [{"created": CREATED, "created_by": text} for text in layers],
            "os": self.os,
            **({"variant": self.variant} if self.variant else {}),
        }


def found_config(found: Any) -> tuple[ImageConfig, int]:
    """The configuration of an image that is somewhere already, and how many layers it has.

    Args:
        found: parsed JSON: what ``docker image inspect`` prints, in its list or out of it,
            or the OCI configuration that a manifest points at.

    Raises:
        ImageError: it is neither.
    """
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise ImageError("the configuration of an image is no JSON object")
    lower = {str(key).lower(): value for key, value in found.items()}
    run = _mapping(lower.get("config"), "config")
    root = {k.lower(): v for k, v in _mapping(lower.get("rootfs"), "rootfs").items()}
    layers = root.get("diff_ids", root.get("layers"))
    config = ImageConfig(
        os=_text(lower.get("os"), "os"),
        architecture=_text(lower.get("architecture"), "architecture"),
        variant=_text(lower.get("variant"), "variant"),
        entrypoint=_texts(run.get("Entrypoint"), "Entrypoint"),
        cmd=_texts(run.get("Cmd"), "Cmd"),
        env=tuple(_pair(text) for text in _texts(run.get("Env"), "Env")),
        working_dir=_text(run.get("WorkingDir"), "WorkingDir"),
        user=_text(run.get("User"), "User"),
        labels=tuple(
            (k, _text(v, "Labels")) for k, v in _mapping(run.get("Labels"), "Labels").items()
        ),
        exposed_ports=tuple(_mapping(run.get("ExposedPorts"), "ExposedPorts")),
        volumes=tuple(_mapping(run.get("Volumes"), "Volumes")),
        stop_signal=_text(run.get("StopSignal"), "StopSignal"),
    )
    return config, len(_texts(layers, "rootfs"))


def config_matches(wanted: ImageConfig, found: Any, layer_count: int | None = None) -> list[str]:
    """How an image that is somewhere already differs from the wanted one; empty: not at all.

    The order of variables and what BuildKit adds, such as times, do not count.

    Args:
        wanted: the configuration the image should have.
        found: as for `found_config`.
        layer_count: how many layers it should have; None when that does not matter.

    Raises:
        ImageError: *found* is no configuration.
    """
    config, layers = found_config(found)
    differences = [
        f"{key} is {_shown(getattr(config, key))}, not {_shown(getattr(wanted, key))}"
        for key in ImageConfig.__slots__
        if key not in _MAPPINGS and getattr(config, key) != getattr(wanted, key)
    ]
    for key, noun in _MAPPINGS.items():
        there, ours = dict(getattr(config, key)), dict(getattr(wanted, key))
        for name in sorted(there.keys() | ours.keys()):
            if there.get(name) != ours.get(name):
                texts = [repr(d[name]) if name in d else "missing" for d in (there, ours)]
                differences.append(f"{noun} {name!r} is {texts[0]}, not {texts[1]}")
    if layer_count is not None and layers != layer_count:
        differences.append(f"it has {layers} layers, not {layer_count}")
    return differences


_MAPPINGS: Final = {"env": "variable", "labels": "label"}


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _ports(texts: Iterable[str]) -> tuple[str, ...]:
    """Every port of *texts*, ranges spread out, numbers first, as ``number/protocol``."""
    ports: set[tuple[int, str]] = set()
    for text in texts:
        match = _PORT.fullmatch(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= _MAX_PORT:
            raise ImageError(f"{text!r} is no port", hint="write it as '8080/tcp'")
        ports.update((number, match[3] or "tcp") for number in range(first, last + 1))
    return tuple(f"{number}/{protocol}" for number, protocol in sorted(ports))


def _pair(variable: str) -> tuple[str, str]:
    name, _, value = variable.partition("=")
    return name, value


def _text(value: Any, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ImageError(f"{value!r} is no text", where=key)
    return value


def _texts(value: Any, key: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise ImageError(f"{value!r} is no list", where=key)
    return tuple(_text(item, key) for item in value)


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ImageError(f"{value!r} is no object", where=key)
    return value
