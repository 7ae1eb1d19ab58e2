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
Timeout = Annotated[
    int | None,
    typer.Option(
        "--timeout", min=0, help="Stop a build after so many seconds. Default, and 0: never.",
        metavar="S",
    ),
]  # fmt: skip
MaxSilentTime = Annotated[
    int | None,
    typer.Option(
        "--max-silent-time", min=0,
        help="Stop a build that printed nothing for so many seconds. Default, and 0: never.",
        metavar="S",
    ),
]  # fmt: skip
KeepGoing = Annotated[
    bool,
    typer.Option(
        "--keep-going", "-k", help="After a failure, build what does not need what failed."
    ),
]
KeepFailed = Annotated[
    bool,
    typer.Option(
        "--keep-failed", "-K",
        help="Run a build that failed again and write its folder beside the manifest, as "
        "NAME-HASH.build.tar.",
    ),
]  # fmt: skip
NetrcFile = Annotated[
    Path | None,
    typer.Option(
        "--netrc-file",
        help="Logins of servers that are downloaded from. Default: NETRC, then ~/.netrc.",
        metavar="FILE",
    ),
]
CacheFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--cache-from",
        help="Take BuildKit's cache from there, too, as in 'type=registry,ref=NAME'. May be given "
        "several times. Default: 'cache.from' of the manifest.",
        metavar="PLACE",
    ),
]
CacheTo = Annotated[
    list[str] | None,
    typer.Option(
        "--cache-to",
        help="Keep BuildKit's cache there, as in 'type=registry,ref=NAME'. May be given several "
        "times. Default: 'cache.to' of the manifest.",
        metavar="PLACE",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Logs = Annotated[bool, typer.Option("--print-build-logs", "-L", help="Print what builders print.")]
