"""Options that several commands share. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Manifest = Annotated[
    Path, typer.Option("--manifest", "-f", help="The manifest.", metavar="FILE", show_default=True)
]
LockFile = Annotated[
    Path | None,
    typer.Option("--lock", help="The lock. Default: beside the manifest.", metavar="FILE"),
]
Builder = Annotated[
    str | None,
    typer.Option(
        "--builder",
        help="Address of BuildKit or Docker. Default: NIXBK_BUILDER, BUILDKIT_HOST, then Docker.",
        metavar="ADDRESS",
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Argument(help="Images of the manifest. Default: all.", metavar="[IMAGE]..."),
]
MaxJobs = Annotated[
    int | None,
    typer.Option(
        "--max-jobs", "-j", min=1, help="Derivations built at once. Default: one for each CPU.",
        metavar="N",
    ),
]  # fmt: skip
Cores = Annotated[
    int | None,
    typer.Option(
        "--cores", min=1, help="CPUs each builder may use. Default: all.", metavar="N"
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Logs = Annotated[bool, typer.Option("--print-build-logs", "-L", help="Print what builders print.")]
