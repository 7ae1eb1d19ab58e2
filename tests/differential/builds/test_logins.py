"""What downloads within a step need beside their address comes as with Nix, and leaves no trace."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest
from downloads import PASSWORD, own_address, serve
from engines import ENGINES
from far_engines import Certificates, tcp_buildkitd

from nixbk.apply.realise import evaluate
from nixbk.apply.workbench import Settings, open_workbench
from nixbk.planner.workshop import Flavour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beside_nix import Project

    from nixbk.schema.lock import LockedSource

RAN = re.compile("^(?:building|fetching) ", re.MULTILINE)
STEPS = ("private-sha512", "private-executable", "private-unpacked")
SECRETS = (PASSWORD.encode(), base64.b64encode(f"somebody:{PASSWORD}".encode()))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of a server that nobody trusts unless told to."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    return Certificates(tmp_path_factory.mktemp("tls"), own_address())


@pytest.fixture(scope="module")
def closed_server(certificates: Certificates) -> Iterator[str]:
    """The address of a server with one of these certificates."""
    _, certificate, key = certificates.server
    with serve((Path(certificate), Path(key))) as url:
        yield url


def telling(folder: Path) -> list[Path]:
    """The files below *folder* that have the password, as it is or as it is sent."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(word in path.read_bytes() for word in SECRETS)]


def definition(project: Project, drv: str, netrc: Path) -> bytes:
    """What BuildKit is sent to build *drv*."""

    def opener(_source: LockedSource) -> BinaryIO:
        pytest.fail("nothing is built")

    locked = evaluate(project.folder / "nixbk.toml", [f"{drv}^*"])
    environ = project.subject.environ
    settings = Settings(environ["NIXBK_BUILDER"], environ, netrc_file=netrc)
    with open_workbench(locked.lock, opener, settings) as bench:
        (path,) = locked.lock.derivations
        step = bench.graph().step(path, Flavour.RUN)
        return bench.definitions.marshal(step.root)[0].SerializeToString()


@pytest.mark.parametrize("name", STEPS)
def test_a_login_within_a_step(
    project: Project, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login of a netrc file opens the door, and is in no file and no definition."""
    drv, somebody = project.drv(name), project.oracle.home / ".netrc"
    nobody = project.folder / "nobody"
    nobody.write_text("machine elsewhere.example\nlogin x\npassword y\n")

    real = project.nix("nix-store", "--realise", drv, "--option", "netrc-file", str(nobody))
    command = ("build", "--json", "--keep-going", f"{drv}^*", "--netrc-file")
    (refused,) = project.nixbk(*command, str(nobody), code=100).document
    assert real.code == 1  # the next try may go well, says Nix
    assert "HTTP error 401" in real.err
    assert refused["failure"]["kind"] == "builder-failed"
    assert "HTTP error 401" in "\n".join(refused["failure"]["log"])

    real = project.nix("nix-store", "--realise", drv, "--option", "netrc-file", str(somebody))
    assert real.code == 0, real.err
    done = project.nixbk(*command, str(somebody))
    (found,) = done.document
    assert RAN.search(done.err)
    assert found["narHash"] == project.info(real.out.strip())["narHash"]
    again = project.nixbk(*command, str(nobody))
    assert again.document == done.document
    assert not RAN.search(again.err)

    assert telling(Path(project.subject.environ["XDG_CACHE_HOME"])) == []
    assert telling(project.folder) == []
    monkeypatch.setenv("PATH", project.subject.environ["PATH"])
    monkeypatch.setenv("NIX_CONFIG", project.subject.environ["NIX_CONFIG"])
    sent = definition(project, drv, somebody)
    assert b"nixbk-netrc" in sent
    assert [word for word in SECRETS if word in sent] == []
    assert sent == definition(project, drv, nobody)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name.startswith("buildkit")][:1])
def test_a_login_is_in_no_file_of_the_builder(project: Project, tmp_path: Path) -> None:
    """BuildKit hands it to the step, and keeps it nowhere: not in its cache, not in its history."""
    folder = tmp_path / "buildkitd"
    folder.mkdir()
    drvs = [f"{project.drv(name)}^*" for name in STEPS]
    with tcp_buildkitd(folder, None) as port:
        environ = {"NIXBK_BUILDER": f"tcp://127.0.0.1:{port}"}
        assert RAN.search(project.nixbk("build", *drvs, environ=environ).err)
        # the folder has what was built, so a password in it would have been found
        built = [path for path in folder.rglob("*-private-executable-*") if path.is_file()]
        assert [path.read_bytes() for path in built] == [b"executable"]
        assert telling(folder) == []


@pytest.mark.parametrize("name", STEPS)
def test_a_certificate_within_a_step(
    project: Project, certificates: Certificates, closed_server: str, name: str
) -> None:
    """A server is trusted by the certificates of NIX_SSL_CERT_FILE, and by no others."""
    project.set(url=closed_server)
    drv = project.drv(name)
    trusting = {"NIX_SSL_CERT_FILE": str(certificates.folder / "ca.pem")}
    # what fails to connect is tried again and again
    once = ("--option", "download-attempts", "1")
    real = project.nix("nix-store", "--realise", drv, *once)
    command = ("build", "--json", "--keep-going", f"{drv}^*")
    (refused,) = project.nixbk(*command, code=100).document
    assert real.code == 1
    assert "certificate" in real.err
    assert refused["failure"]["kind"] == "builder-failed"
    assert "certificate signed by unknown authority" in "\n".join(refused["failure"]["log"])

    real = project.nix("nix-store", "--realise", drv, environ=trusting)
    assert real.code == 0, real.err
    done = project.nixbk(*command, environ=trusting)
    assert done.document[0]["narHash"] == project.info(real.out.strip())["narHash"]
    again = project.nixbk(*command)
    assert again.document == done.document
    assert not RAN.search(again.err)
