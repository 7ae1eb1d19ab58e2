"""A disk that is really full fails the build that fills it, as with Nix, and no other."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Final

import pytest
from engines import ENGINES
from far_engines import parts, tcp_buildkitd

if TYPE_CHECKING:
    from pathlib import Path

    from beside_nix import Project

SIZE_MB: Final = 200
PATIENCE_S: Final = 300
"""BuildKit removes what a failed build left once a minute."""
BUILDKITD: Final = [name for name in ENGINES if name.startswith("buildkit")][:1]
NOTE: Final = "note: build failure may have been caused by lack of free disk space"
# a store of its own, on a disk that ends with the shell
STORE: Final = f"""
set -eu
mount -t tmpfs -o mode=755,size={SIZE_MB}m tmpfs /mnt
nix copy --no-check-sigs --derivation --to /mnt "$1" "$2"
status=0; nix-store --store /mnt --realise "$1" || status=$?
nix-store --store /mnt --realise "$2"
exit $status
"""


@pytest.mark.parametrize("engine", BUILDKITD)
@pytest.mark.parametrize("name", ["fills-folder", "fills-output"])
def test_a_full_disk(project: Project, tmp_path: Path, name: str) -> None:
    """The failure is the builder's and says why."""
    drv, good = project.drv(name), project.drv("good")
    with tcp_buildkitd(_new(tmp_path), None, SIZE_MB) as port:
        real = project.nix("unshare", "--mount", "sh", "-c", STORE, "sh", drv, good)
        assert real.code == 1, real.err  # the next try may go well, says Nix
        environ = {"NIXBK_BUILDER": f"tcp://127.0.0.1:{port}"}
        command = ("build", "--json", "--keep-going", f"{drv}^*")
        (entry,) = project.nixbk(*command, code=100, environ=environ).document
        failure = entry["failure"]
        assert failure["kind"] == "builder-failed"
        for text in ("builder failed with exit code 1", NOTE):
            assert text in real.err
            assert text in failure["message"]
        assert any(line.endswith("No space left on device") for line in failure["log"])


@pytest.mark.slow
@pytest.mark.parametrize("engine", BUILDKITD)
def test_there_is_room_again(project: Project, tmp_path: Path) -> None:
    """Afterwards others are built; until then who does as told gets there."""
    drv, good = project.drv("fills-folder"), project.drv("good")
    with tcp_buildkitd(_new(tmp_path), None, SIZE_MB) as port:
        real = project.nix("unshare", "--mount", "sh", "-c", STORE, "sh", drv, good)
        address = f"tcp://127.0.0.1:{port}"
        environ = {"NIXBK_BUILDER": address}
        buildctl = (f"{parts()['buildkit']}/buildctl", "--addr", address)
        project.nixbk("build", f"{drv}^*", code=100, environ=environ)
        begun = time.monotonic()
        while (done := project.nixbk("build", f"{good}^*", code=None, environ=environ)).code:
            assert "hint: the builder's " in done.err
            if "prune it" in done.err:
                # may find the disk full once more; then the next round tells
                subprocess.run([*buildctl, "prune"], capture_output=True, check=False)
            else:
                assert "disk is full: make room there, then run the same again" in done.err
            assert time.monotonic() - begun < PATIENCE_S, done.err
            time.sleep(1)
        assert done.out.strip() == real.out.strip()


@pytest.mark.parametrize("engine", BUILDKITD)
@pytest.mark.parametrize("lost", ["*/fs", "*/fs/dev"])
def test_files_that_a_cache_lost(project: Project, tmp_path: Path, lost: str) -> None:
    """What a full disk can leave of a cache is named, and who does as told gets there."""
    first, second = (f"{project.drv(name)}^*" for name in ("good", "parts"))
    folder = _new(tmp_path)
    with tcp_buildkitd(folder, None) as port:
        address = f"tcp://127.0.0.1:{port}"
        environ = {"NIXBK_BUILDER": address}
        project.nixbk("build", first, environ=environ)
        snapshots = folder / "root/runc-overlayfs/snapshots/snapshots"
        for path in list(snapshots.glob(lost)):
            shutil.rmtree(snapshots / path.relative_to(snapshots).parts[0])
        done = project.nixbk("build", second, code=1, environ=environ)
        assert "hint: the builder's cache is damaged" in done.err
        buildctl = (f"{parts()['buildkit']}/buildctl", "--addr", address)
        subprocess.run([*buildctl, "prune"], capture_output=True, check=True)
        project.nixbk("build", second, environ=environ)


def _new(folder: Path) -> Path:
    made = folder / "disk"
    made.mkdir()
    return made
