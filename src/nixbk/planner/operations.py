"""The operations that all steps are made of: base, helpers, downloads, and the exec itself. Pure.

See :mod:`nixbk.planner.compiler` for the two flavours of each.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from nixbk.llb.exec import ExtraHost, Proxy, exec_
from nixbk.llb.mounts import Mount
from nixbk.llb.sources import http
from nixbk.planner.base import base_root
from nixbk.planner.steps import StepDocument, run_settings
from nixbk.planner.workshop import NO_PLACES, Flavour, HelperFile, Step, Workshop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixbk.llb.origin import Origin
    from nixbk.llb.vertex import Output

AGAIN_VARIABLE: Final = "NIXBK_AGAIN"
SANDBOX_VARIABLE: Final = "NIXBK_SANDBOX"
STEP_FILE: Final = "step.json"
PROBE_HOST: Final = "nixbk.invalid"
REFUSED_URL: Final = "http://127.0.0.1:1/nixbk-probe/"
FETCHED_FILE: Final = "download"
GATE: Final = "/.nixbk/gate"


class Operations:
    """Makes the operations of one flavour; each base, helper and download is one vertex."""

    def __init__(self, workshop: Workshop, flavour: Flavour) -> None:
        self._workshop = workshop
        self._flavour = flavour
        self.base = base_root()
        self._build_helper = self._helper(workshop.build_helper, "nixbk build helper")
        self._unpack_helper = self._helper(workshop.unpack_helper, "nixbk unpack helper")
        self._builtin_helper = self._helper(workshop.builtin_helper, "nixbk builtin helper")

    def _helper(self, helper: HelperFile, name: str) -> Output:
        # A download that fails stays failed for its build, and with it all steps that mount it;
        # only where what they made is in another builder's cache can it be missing itself.
        had = self._workshop.probes_have_helpers
        return http(
            helper.url if had else self._url(helper.url, helper.sha256),
            checksum=f"sha256:{helper.sha256}",
            filename="helper",
            mode=0o555,
            name=name,
        )

    def _download(self, url: str, sha256: str, name: str, origin: Origin | None) -> Output:
        return http(
            self._url(url, sha256),
            checksum=f"sha256:{sha256}",
            filename=FETCHED_FILE,
            mode=0o444,
            name=name,
            origin=origin,
        )

    def _document(self, data: bytes, name: str) -> Output:
        """A step's document as a file; its bytes go through the session when it runs."""
        digest = sha256(data).hexdigest()
        run = self._flavour is Flavour.RUN
        return http(
            self._workshop.offer(data) if run else REFUSED_URL + digest,
            checksum=f"sha256:{digest}",
            filename=STEP_FILE,
            mode=0o444,
            name=f"environment of {name}",
        )

    def _url(self, url: str, sha256: str) -> str:
        # Two operations of one URL, each in two builds, can lock each other out of BuildKit's
        # resolver caches for ever; so every download has its own.
        return REFUSED_URL + sha256 if self._flavour is Flavour.PROBE else url

    def _step(  # noqa: PLR0913  as many things differ between steps
        self,
        kind: str,
        document: StepDocument,
        mounts: Sequence[Mount],
        *,
        name: str,
        origin: Origin | None,
        network: bool = False,
        key: str = "",
        places: Mapping[str, str] = NO_PLACES,
        helper: Output | None = None,
        others: Sequence[str] = (),
    ) -> Step:
        if helper is None:
            helper = self._build_helper if kind in {"build", "fetch"} else self._unpack_helper
        step_mounts = [
            Mount("/", source=self.base, readonly=False, output=True),
            Mount(GATE, kind="cache", id="nixbk", sharing=self._flavour.sharing, first=True),
            Mount("/.nixbk/helper", source=helper, selector="/helper", content_cache="off"),
            *mounts,
            *(Mount(place, source=self.base, readonly=False, output=True) for place in others),
        ]
        if document.file:
            stored = self._document(document.file, name)
            step_mounts.append(
                Mount(
                    f"/.nixbk/{STEP_FILE}",
                    source=stored,
                    selector=f"/{STEP_FILE}",
                    content_cache="off",
                )
            )
        more = [f"{AGAIN_VARIABLE}={key}"] if key else []
        if places:
            text = json.dumps(places, sort_keys=True, separators=(",", ":"))
            more.append(f"{SANDBOX_VARIABLE}={text}")
        made = exec_(
            ["/.nixbk/helper", kind],
            env=[*document.environment, *more],
            cwd="/",
            mounts=step_mounts,
            network="sandbox" if network else "none",
            hostname="localhost",
            extra_hosts=[ExtraHost(PROBE_HOST, self._flavour.value)],
            proxy=self._proxy(network=network),
            platform=self._workshop.platform,
            name=name,
            origin=origin,
        )
        return Step(made.root, others=tuple(made.output(place) for place in others))

    def _proxy(self, *, network: bool) -> Proxy | None:
        if self._flavour is Flavour.PROBE:
            return None
        proxy = self._workshop.proxy if network else Proxy()
        settings = run_settings(
            cores=self._workshop.cores,
            timeout_s=self._workshop.timeout_s,
            max_silent_s=self._workshop.max_silent_s,
            tell=True,
        )
        return proxy._replace(no=proxy.no + settings)
