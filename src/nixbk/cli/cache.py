"""``nixbk cache``: binary caches. Effects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from nixbk.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixbk.apply.push import Pushed
    from nixbk.nix.narinfo import NarInfo
    from nixbk.planner.offers import Offer

LISTED: Final = 10

app = typer.Typer(
    name="cache",
    help="Give what was built to binary caches.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _common() -> None:
    """Give what was built to binary caches."""


@app.command()
def push(
    url: Annotated[
        str,
        typer.Argument(
            help="The cache: https://HOST/PATH, http://HOST/PATH, s3://BUCKET/PREFIX, "
            "file:///FOLDER or file:./FOLDER.",
            metavar="URL",
        ),
    ],
    installables: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to push, with all it refers to. Default: all of the lock that is built.",
            metavar="[INSTALLABLE]...",
        ),
    ] = None,
    secret_key_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-key-file",
            help="Sign with this key, as Nix writes it. What is not content-addressed needs one.",
            metavar="FILE",
        ),
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Push without signatures.")] = False,
    compression: Annotated[
        Literal["zstd", "xz", "gzip", "none"],
        typer.Option("--compression", help="How archives are compressed.", show_default=True),
    ] = "zstd",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say what would be pushed.")
    ] = False,
    manifest: options.Manifest = Path("nixbk.toml"),
    lock: options.LockFile = None,
    builder: options.Builder = None,
    netrc_file: options.NetrcFile = None,
    json: options.Json = False,
) -> None:
    """Push what was built on BuildKit to a binary cache.

    Nix and nixbk fetch it from there. Nothing is built, and nothing is pushed whose path does
    not follow from recipes in the lock or from its content. What the cache has already is left
    as it is.
    """
    import os

    from nixbk.apply.cache_places import cache_settings
    from nixbk.apply.push import Wish
    from nixbk.apply.push import push as push_all
    from nixbk.apply.secret_key import read_secret_key
    from nixbk.apply.workbench import Settings
    from nixbk.cli.show import print_json, say_beside

    if unsigned and secret_key_file is not None:
        raise typer.BadParameter("--unsigned and --secret-key-file exclude each other")
    key = read_secret_key(secret_key_file, say_beside) if secret_key_file is not None else None
    settings = Settings(
        builder=builder,
        environ=os.environ,
        netrc_file=netrc_file,
        cache=cache_settings(manifest, None, None, os.environ, Path.cwd()),
        say=say_beside,
    )
    wish = Wish(url, tuple(installables or ()), key, unsigned, compression, dry_run)

    def say(offer: Offer, info: NarInfo | None) -> None:
        typer.echo(pushed_line(offer, info), err=json)

    found = push_all(manifest, lock, wish, settings, say)
    for line in note_lines(found):
        say_beside(line)
    if json:
        print_json(document(found, written=not dry_run))
    else:
        typer.echo(summary(found, written=not dry_run))


def pushed_line(offer: Offer, info: NarInfo | None) -> str:
    """One path that was pushed, or would be: then there is no file of it."""
    from nixbk.apply.sizes import size_text

    if info is None:
        return f"would push {offer.path.name} ({size_text(offer.info.nar_size_bytes)} unpacked)"
    return f"pushed {offer.path.name} ({size_text(info.file_size or 0)})"


def note_lines(found: Pushed) -> Iterator[str]:
    """What a person is to know beside what was pushed."""
    from nixbk.apply.failures import derivation_name, few
    from nixbk.planner.offers import UNPROVEN

    left = sorted(found.withheld, key=lambda path: (path.name, path))
    for path in left[:LISTED]:
        yield f"{derivation_name(path)} is not pushed: {found.withheld[path]}"
    if len(left) > LISTED:
        yield f"{len(left) - LISTED} more are not pushed; --json has them all"
    if UNPROVEN in found.withheld.values():
        yield "with 'fallback = true' in the manifest, a lock has all recipes"
    if found.fetched:
        names = few([path.name for path in found.fetched])
        yield f"what comes from binary caches is not pushed, though it is referred to: {names}"
    if found.differing:
        names = few([offer.path.name for offer in found.differing])
        yield f"the cache has other content, and keeps it: {names}"


def summary(found: Pushed, *, written: bool) -> str:
    """What became of all of it."""
    from nixbk.apply.sizes import size_text
    from nixbk.cli.show import count_text

    size = sum(info.file_size or 0 for info in found.pushed.values() if info)
    paths = count_text(len(found.pushed), "path")
    text = f"Pushed {paths} ({size_text(size)})" if written else f"{paths} to push"
    text += f" to {found.cache}; {len(found.present)} there already"
    if found.signed:
        text += f", {len(found.signed)} of them {'signed now' if written else 'to be signed'}"
    return f"{text}."


def document(found: Pushed, *, written: bool) -> dict[str, object]:
    """What ``--json`` prints."""
    return {
        "version": 1,
        "cache": found.cache,
        "written": written,
        "pushed": [_entry(offer, info) for offer, info in found.pushed.items()],
        "present": [str(offer.path) for offer in found.present],
        "signed": [str(offer.path) for offer in found.signed],
        "differing": [str(offer.path) for offer in found.differing],
        "withheld": {str(path): why for path, why in found.withheld.items()},
        "fetched": [str(path) for path in found.fetched],
    }


def _entry(offer: Offer, info: NarInfo | None) -> dict[str, object]:
    file = {"url": info.url, "fileSize": info.file_size} if info else {}
    return {
        "path": str(offer.path),
        "narHash": offer.info.nar_hash.sri(),
        "narSize": offer.info.nar_size_bytes,
        "references": [str(path) for path in offer.info.references],
        **file,
    }
