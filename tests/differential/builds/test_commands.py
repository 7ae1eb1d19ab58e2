"""What users do with builds, beside having them, is what real Nix does."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from projects import SEED

if TYPE_CHECKING:
    from beside_nix import Project

SELECTIONS: Final = (
    "parts", "parts^lib", "parts^out,doc", "parts^*", "bare^a,b", "bare^*",
)  # fmt: skip


def test_outputs_are_selected(project: Project) -> None:
    """What is in front of and behind ``^`` means the same outputs."""
    for selection in SELECTIONS:
        done = project.nix("nix", "build", "--no-link", "--json", "-f", "default.nix", selection)
        expected = {
            name: path for built in json.loads(done.out) for name, path in built["outputs"].items()
        }
        found = project.nixbk("build", "--json", f"./default.nix#{selection}")
        assert {built["output"]: built["path"] for built in found.document} == expected, selection
    for selection in ("bare", "parts.doc"):  # nothing says what to install: as nix-build has it
        real = project.nix("nix-build", "--no-out-link", "default.nix", "-A", selection)
        assert project.nixbk("build", f"./default.nix#{selection}").out.split() == real.out.split()
    drv = project.drv("parts")
    found = project.nixbk("build", f"{drv}^doc")
    assert found.out.split() == project.nix("nix-store", "--realise", f"{drv}!doc").out.split()


LATE_S: Final = 60
"""How long the derivation ``late`` sleeps."""
ENDINGS: Final = (
    ("good",), ("status",), ("mismatch",), ("late",), ("missing",), ("feature", "above"),
    ("status", "mismatch"), ("good", "late", "status"), ("good", "missing", "refers"),
)  # fmt: skip


@pytest.mark.parametrize("wanted", ENDINGS, ids="+".join)
def test_exit_codes(project: Project, wanted: tuple[str, ...]) -> None:
    """A command that goes on ends with Nix's exit code, and has built what it could."""
    options = ("--keep-going", "--timeout", "3")
    drvs = [project.drv(name) for name in wanted]
    real = project.nix("nix-store", "--realise", *options, *drvs)
    found = project.nixbk("build", "--json", *options, *(f"{drv}^*" for drv in drvs), code=None)
    assert found.code == real.code, f"{found.err}\n{real.err}"
    failed = {entry["derivation"] for entry in found.document if "failure" in entry}
    assert failed >= {drv for drv, name in zip(drvs, wanted, strict=True) if name != "good"}


def test_what_was_built_stays(project: Project) -> None:
    """A failure beside it takes nothing out of the cache, and a later build finds it."""
    good = f"{project.drv('good')}^*"
    failed = project.nixbk(
        "build", "--json", "--keep-going", good, f"{project.drv('status')}^*", code=100
    )
    (first,) = [entry for entry in failed.document if "path" in entry]
    (second,) = project.nixbk("build", "--json", good).document
    assert second["narHash"] == first["narHash"]


def test_the_first_failure_ends_a_build(project: Project) -> None:
    """Without --keep-going what runs beside a failure is stopped, as Nix does."""
    drvs = [project.drv(name) for name in ("late", "status")]
    real = project.nix("nix-store", "--realise", "-j2", *drvs)
    begun = time.monotonic()
    found = project.nixbk("build", "-j2", *(f"{drv}^*" for drv in drvs), code=None)
    assert time.monotonic() - begun < LATE_S
    assert found.code == real.code == 100
    assert "exit code 3" in found.err


def test_logs(project: Project) -> None:
    """A log holds all that a builder printed, of what failed and of what did not."""
    for name, code in (("talks", 0), ("talks-and-fails", 100)):
        drv = project.drv(name)
        project.nix("nix-store", "--realise", drv)
        project.nixbk("build", f"{drv}^*", code=code)
        expected = project.nix("nix-store", "--read-log", drv).out
        assert project.nixbk("log", drv).out.rstrip("\n") == expected.rstrip("\n"), name
        assert project.nixbk("log", f"./default.nix#{name}").out.count("\n") >= 200


def test_a_failed_build_is_kept(project: Project) -> None:
    """The folder of a failed build comes back, with what the builder left there."""
    drv = project.drv("leaves")
    project.nixbk("build", "--keep-failed", f"{drv}^*", code=100)
    (archive,) = project.folder.glob("*.build.tar")
    unpacked = project.folder / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xpf", archive, "-C", unpacked], check=True)
    real = project.nix("nix-store", "--realise", "--keep-failed", drv)
    found = re.search(r"keeping build directory ['\"](/[^'\"]+)", real.err)
    assert found is not None, real.err
    kept = Path(found[1])
    assert _tree(unpacked) == _tree(kept)
    shutil.rmtree(kept.parent if kept.name == "build" else kept)


def _tree(root: Path) -> dict[str, tuple[str, str]]:
    """Mode and content, or target, of everything below a folder that is named build or is it."""
    top = root / "build" if (root / "build").is_dir() else root

    def content(path: Path) -> str:
        if path.is_symlink():
            return str(path.readlink())
        return path.read_text() if path.is_file() else ""

    return {
        str(path.relative_to(top)): (stat.filemode(path.lstat().st_mode), content(path))
        for path in sorted(top.rglob("*"))
    }


def test_builds_are_checked(project: Project) -> None:
    """What comes out the same passes; what does not fails as with Nix, and names the files."""
    for name in ("steady", "unsteady"):
        drv = project.drv(name)
        assert project.nix("nix-store", "--realise", drv).code == 0
        real = project.nix("nix-store", "--realise", "--check", drv)
        project.nixbk("build", f"{drv}^*")
        found = project.nixbk("build", "--check", f"{drv}^*", code=None)
        assert found.code == real.code, f"{found.err}\n{real.err}"
    assert found.code == 104
    assert re.search(r"\bbin/x\b", found.err), found.err
    assert not re.search(r"\bsame\b", found.err)


def _built(text: str, names: tuple[str, ...]) -> set[str]:
    """The derivations that a command says it builds."""
    return {name for name in names if re.search(rf"^building .*\b{name}-", text, re.MULTILINE)}


def test_equal_content_rebuilds_nothing_above(project: Project) -> None:
    """A changed recipe with the same content is where a rebuild of floating derivations ends."""
    chain = ("low", "middle", "high")
    found, real = {}, {}
    for recipe in (1, 2):
        project.set(recipe=recipe)
        drv = project.drv("high")
        done = project.nix("nix", "build", "--no-link", "--json", f"{drv}^*")
        real[recipe] = (json.loads(done.out)[0]["outputs"], _built(done.err, chain))
        ours = project.nixbk("build", "--json", f"{drv}^*")
        found[recipe] = (
            ours.document[0]["path"],
            ours.document[0]["narHash"],
            _built(ours.err, chain),
        )
        assert found[recipe][0] == real[recipe][0]["out"]
        assert found[recipe][2] == real[recipe][1]
    assert found[2][2] == {"low"}
    assert found[2][1] == found[1][1]


def test_impure_derivations_are_built_each_time(project: Project) -> None:
    """Neither they nor what is made of them comes from a cache."""
    drv = project.drv("of-source")
    for _ in range(2):
        done = project.nix("nix", "build", "--no-link", "--json", f"{drv}^*")
        assert _built(done.err, ("source", "of-source")) == {"source", "of-source"}
    hashes = set()
    for _ in range(3):
        (built,) = project.nixbk("build", "--json", f"{drv}^*").document
        hashes.add(built["narHash"])
    assert len(hashes) == 3


def test_import_from_derivation_while_locking(project: Project) -> None:
    """What is read from a build is built while locking, and nixbk goes on from there."""
    text = (project.folder / "nixbk.toml").read_text()
    (project.folder / "nixbk.toml").write_text(text.replace("#good", "#imported"))
    project.nixbk("lock", "--quiet")
    (built,) = project.nixbk("build", "--json", "./default.nix#imported").document
    assert built["derivation"] == project.drv("imported")
    real = project.nix("nix-build", "--no-out-link", "default.nix", "-A", "imported").out.strip()
    assert built["path"] == real
    assert built["narHash"] == project.info(real)["narHash"]


def test_paths_of_the_sandbox(project: Project) -> None:
    """The manifest's sandbox paths are Nix's sandbox-paths, and no references come of them."""
    tool = project.nix("nix-build", "--no-out-link", "default.nix", "-A", "tool").out.strip()
    option = f"/usr/bin/tool={tool}/bin/tool /lib={tool}/lib /bin/sh={SEED.resolve()}/bin/busybox"
    drv = project.drv("uses-tool")
    real = project.nix("nix-store", "--realise", drv, "--option", "sandbox-paths", option)
    assert real.code == 0, real.err
    (project.folder / "nixbk.toml").write_text(
        '[sandbox]\nshell = "seed/bin/busybox"\n[sandbox.paths]\n'
        '"/usr/bin/tool" = "./default.nix#tool/bin/tool"\n"/lib" = "./default.nix#tool/lib"\n'
        '[images.x]\ninstallables = ["./default.nix#good"]\n'
    )
    (found,) = project.nixbk("build", "--json", f"{drv}^*").document
    expected = project.info(real.out.strip())
    assert found["narHash"] == expected["narHash"]
    assert sorted(found["references"]) == sorted(expected["references"])


@pytest.mark.parametrize("shell", ["bash", "busybox"])
def test_another_shell(project: Project, shell: str) -> None:
    """The shell is the one that the manifest says, and builds are new with another one."""
    drv = project.drv("uses-shell")
    option = f"/bin/sh={SEED.resolve()}/bin/{shell}"
    real = project.nix("nix-store", "--realise", drv, "--option", "sandbox-paths", option)
    assert real.code == 0, real.err
    text = (project.folder / "nixbk.toml").read_text()
    (project.folder / "nixbk.toml").write_text(text.replace("bin/busybox", f"bin/{shell}"))
    (found,) = project.nixbk("build", "--json", f"{drv}^*").document
    assert found["narHash"] == project.info(real.out.strip())["narHash"]


def test_system_features_are_granted(project: Project) -> None:
    """A feature that the manifest grants is no reason to refuse, as Nix's system-features."""
    drv = project.drv("feature")
    real = project.nix(
        "nix-store", "--realise", drv, "--option", "extra-system-features", "tractor"
    )
    assert real.code == 0, real.err
    text = (project.folder / "nixbk.toml").read_text()
    (project.folder / "nixbk.toml").write_text(
        text.replace("[sandbox]\n", '[sandbox]\nsystem-features = ["tractor"]\n')
    )
    (found,) = project.nixbk("build", "--json", f"{drv}^*").document
    assert found["narHash"] == project.info(real.out.strip())["narHash"]


def test_proxies_reach_builders_and_no_keys(project: Project) -> None:
    """A proxy that ``impureEnvVars`` names is used; with another one nothing is built again."""
    proxy = {"http_proxy": project.oracle.url}
    drvs = [project.drv(name) for name in ("proxied", "of-proxied")]
    real = project.nix("nix-store", "--realise", drvs[0], environ=proxy)
    assert real.code == 0, real.err
    wanted = [f"{drv}^*" for drv in drvs]
    first = project.nixbk("build", "--json", *wanted, environ=proxy)
    assert _built(first.err, ("proxied", "of-proxied")) == {"proxied", "of-proxied"}
    assert first.document[0]["narHash"] == project.info(real.out.strip())["narHash"]
    for other in ({"http_proxy": "http://127.0.0.1:9"}, {}):
        again = project.nixbk("build", "--json", *wanted, environ=other)
        assert again.document == first.document
        assert "building" not in again.err
    drv = project.drv("unproxied")
    real = project.nix("nix-store", "--realise", drv, environ=proxy)
    assert real.code == 1  # the next try may go well, says Nix
    assert "http_proxy: unbound variable" in real.err
    failed = project.nixbk("build", f"{drv}^*", code=100, environ=proxy)
    assert "http_proxy: unbound variable" in failed.err
