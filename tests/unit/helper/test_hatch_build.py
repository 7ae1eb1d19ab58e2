"""The build hook's own rules, as far as they need no Go."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hook() -> ModuleType:
    """The hook's module, which is a script beside the package."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sums_name_every_program(hook: ModuleType) -> None:
    """SHA256SUMS has one line for each program, in their order."""
    lines = (ROOT / "helper" / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == hook.program_names()


def test_toolchain_is_pinned(hook: ModuleType) -> None:
    """go.mod names one release exactly."""
    assert hook.toolchain() == "go1.26.8"


def test_environment_is_pinned(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user set for Go does not reach the build, but for where modules come from."""
    for name, value in {
        "GOFLAGS": "-tags=x",
        "GOEXPERIMENT": "y",
        "CGO_ENABLED": "1",
        "GOAMD64": "v3",
        "GOPROXY": "https://proxy.example",
        "HOME": "/home/user",
    }.items():
        monkeypatch.setenv(name, value)
    environment = hook.go_environment("amd64")
    assert {name: environment.get(name) for name in ("GOFLAGS", "GOEXPERIMENT", "CGO_ENABLED")} == {
        "GOFLAGS": "-mod=readonly",
        "GOEXPERIMENT": "",
        "CGO_ENABLED": "0",
    }
    assert environment["GOAMD64"] == "v1"
    assert environment["GOPROXY"] == "https://proxy.example"
    assert environment["GOTOOLCHAIN"] == "go1.26.8"
    assert environment["HOME"] == "/home/user"


def test_go_is_missing(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Go the error says what to install."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(hook.HelperError) as caught:
        hook.compile_programs(tmp_path)
    assert str(caught.value) == (
        "nixbk's helper programs are compiled with Go, and there is no 'go' on PATH.\n"
        "Install Go 1.21 or newer (it fetches the pinned toolchain itself): https://go.dev/dl/"
    )


def test_other_bytes_are_refused(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Programs with other bytes than agreed are an error that shows both."""
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("1  linux-amd64/build\n")
    monkeypatch.setattr(hook, "SUMS", sums)
    hook.compare("1  linux-amd64/build\n")
    with pytest.raises(hook.HelperError) as caught:
        hook.compare("2  linux-amd64/build\n")
    assert str(caught.value) == (
        "the helper programs came out with other bytes than helper/SHA256SUMS has.\n"
        "expected:\n1  linux-amd64/build\ngot:\n2  linux-amd64/build\n"
        "After a change of helper/: python hatch_build.py --update. Otherwise this Go is not "
        "the release go1.26.8 of go.dev; put that one first on PATH."
    )


def test_built_once(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The programs are built when their source changed or one of them is gone."""
    built: list[Path] = []

    def compile_programs(target: Path, *_: Any) -> None:
        built.append(target)
        for name in hook.program_names():
            (target / name).parent.mkdir(exist_ok=True)
            (target / name).write_text(name)

    monkeypatch.setattr(hook, "compile_programs", compile_programs)
    monkeypatch.setattr(hook, "compare", lambda _: None)
    monkeypatch.setattr(hook, "TARGET", tmp_path / "_helper")
    hook.ensure()
    hook.ensure()
    assert len(built) == 1
    assert (tmp_path / "_helper" / "linux-arm64" / "unpack").read_text() == "linux-arm64/unpack"
    assert (tmp_path / "_helper" / "SHA256SUMS").read_text() == hook.SUMS.read_text()
    (tmp_path / "_helper" / "linux-arm64" / "unpack").unlink()
    hook.ensure()
    assert len(built) == 2
    monkeypatch.setattr(hook, "source_digest", lambda: "another")
    hook.ensure()
    assert len(built) == 3
