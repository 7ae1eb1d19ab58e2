"""From the text of ``nixbk.toml`` to a manifest, with every error at its place.

All problems of a file are reported at once. What a single value does not tell (names of
images that need a reference, inputs that do not exist, expansions) is checked here, once
each value is what it should be. Pure.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

import tomli

from nixbk.nix.signatures import PublicKey
from nixbk.schema.expand import ExpansionError, references
from nixbk.schema.installable import Installable, InstallableKind
from nixbk.schema.manifest_reader import read_document
from nixbk.schema.problems import KeyPath, ManifestError, Problem, locate_problems, show_key
from nixbk.schema.sandbox import SHELL_TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixbk.schema.manifest import Image, Manifest


class ManifestFile(NamedTuple):
    """A manifest with the text it was read from.

    Attributes:
        manifest: what the file says.
        text: the file.
        filename: what errors call the file.
    """

    manifest: Manifest
    text: bytes
    filename: str

    def where(self, *path: str | int) -> str:
        """The place of a key, as errors name it: ``nixbk.toml:12:5: images.web.platforms[0]``.

        Imports tree-sitter, and so is for the way of errors alone. Without a text, as for a
        manifest that was put together elsewhere, there are no lines.
        """
        if not self.text:
            match path:
                case ("images", str(key), "installables", int(number)):
                    return self.manifest.images[key].installables[number]
                case _:
                    return f"{self.filename}: {show_key(path)}"
        return locate_problems([Problem(path, "")], self.text, self.filename)[0].where


def parse_manifest(text: bytes, filename: str = "nixbk.toml") -> ManifestFile:
    """The manifest that *text* is.

    Raises:
        ManifestError: it is none; with a problem for each key at fault.
    """
    document = _toml(text, filename)
    manifest = read_document(document)
    if manifest is None:
        from nixbk.schema.manifest_problems import refuse  # noqa: PLC0415 - pydantic is slow

        refuse(document, text, filename)
    problems = list(_semantics(manifest))
    if problems:
        raise ManifestError(locate_problems(problems, text, filename))
    return ManifestFile(manifest, text, filename)


def _toml(text: bytes, filename: str) -> dict[str, Any]:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        place = (text.count(b"\n", 0, error.start) + 1, 1)
        problem = Problem((), "expected UTF-8 text", position=place)
        raise ManifestError(locate_problems([problem], text, filename)) from error
    try:
        return tomli.loads(decoded)
    except tomli.TOMLDecodeError as error:
        message = error.msg[:1].lower() + error.msg[1:]
        problem = Problem((), message, position=(error.lineno, error.colno))
        raise ManifestError(locate_problems([problem], text, filename)) from error
    except RecursionError as error:
        problem = Problem((), "values are nested too deeply")
        raise ManifestError(locate_problems([problem], text, filename)) from error


# What no single value tells ---------------------------------------------------------------


def _semantics(manifest: Manifest) -> Iterator[Problem]:
    yield from _keys(manifest)
    for problem in _sandbox(manifest):
        yield Problem(("sandbox", *problem.path), problem.message, problem.hint, problem.at_key)
    for key, image in manifest.images.items():
        for check in CHECKS:
            for problem in check(manifest, key, image):
                yield Problem(
                    ("images", key, *problem.path), problem.message, problem.hint, problem.at_key
                )


def _names(_manifest: Manifest, key: str, image: Image) -> Iterator[Problem]:
    """An image without a name is called by its key, which then has to be one."""
    if image.name is None and (key != key.lower() or not key[-1].isalnum()):
        yield Problem((), f"{key!r} is no image name", f"write 'images.{key}.name'", at_key=True)


def _platforms(_manifest: Manifest, _key: str, image: Image) -> Iterator[Problem]:
    if len(image.platforms) > 1:
        yield Problem(("platforms", 1), "an image can have one platform for now")


def _inputs(manifest: Manifest, _key: str, image: Image) -> Iterator[Problem]:
    """Nothing is looked up in a registry: a bare name is an input's."""
    for number, text in enumerate(image.installables):
        if text in image.installables[:number]:
            yield Problem(("installables", number), f"{text!r} is listed twice")
        yield from _not_there(manifest, ("installables", number), Installable.parse(text))


NO_CACHE = "there is no substituter to fetch it from"
NO_CACHE_HINT = "declare one as 'substituters.<name>.url', or name the '.drv' that makes this path"


def _not_there(manifest: Manifest, path: KeyPath, installable: Installable) -> Iterator[Problem]:
    """An installable that nothing in the manifest can give."""
    if installable.kind is InstallableKind.PATH and not manifest.substituters:
        yield Problem(path, NO_CACHE, NO_CACHE_HINT)
    if installable.kind is not InstallableKind.INPUT or installable.target in manifest.inputs:
        return
    target = installable.target
    near = difflib.get_close_matches(target, list(manifest.inputs), n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"declare it as 'inputs.{target}.url', or write './{target}' for a folder"
    )
    yield Problem(path, f"{target!r} is no input", hint)


def _keys(manifest: Manifest) -> Iterator[Problem]:
    """A signature tells its key by the name alone."""
    known: dict[str, str] = {}
    for name, entry in manifest.substituters.items():
        for number, text in enumerate(entry.public_keys):
            key = PublicKey.parse(text)
            if known.setdefault(key.name, str(key)) != str(key):
                path = ("substituters", name, "public-keys", number)
                yield Problem(path, f"there are two different keys with the name {key.name!r}")


def _sandbox(manifest: Manifest) -> Iterator[Problem]:
    """Everything in the sandbox has a place of its own, and inputs that exist."""
    sandbox = manifest.sandbox
    if sandbox.shell is not None and SHELL_TARGET in sandbox.paths:
        yield Problem(("paths", SHELL_TARGET), "'sandbox.shell' is there, too", at_key=True)
    for target, (key, source) in sandbox.sources.items():
        if source.installable is not None:
            yield from _not_there(manifest, key, source.installable)
        for other in sandbox.sources:
            if target.startswith(f"{other}/"):
                yield Problem(key, f"{target!r} is below {other!r}", at_key=True)


def _expansions(_manifest: Manifest, _key: str, image: Image) -> Iterator[Problem]:
    """What stands in ``${…}`` is an installable of the same image."""
    for path, text in expandable(image):
        try:
            names = references(text)
        except ExpansionError as error:
            yield Problem(path, error.message, error.hint)
            continue
        for name in names:
            if name not in image.installables:
                near = difflib.get_close_matches(name, image.installables, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "add it to 'installables'"
                yield Problem(path, f"{name!r} is no installable of this image", hint)


CHECKS: tuple[Callable[[Manifest, str, Image], Iterator[Problem]], ...] = (
    _names,
    _platforms,
    _inputs,
    _expansions,
)


def expandable(image: Image) -> Iterator[tuple[KeyPath, str]]:
    """Every text of an image in which ``${…}`` is expanded, with its key."""
    for name, values in (("entrypoint", image.entrypoint), ("cmd", image.cmd)):
        for number, text in enumerate(values):
            yield (name, number), text
    for name, table in (("env", image.env), ("labels", image.labels)):
        for key, text in table.items():
            yield (name, key), text
    if image.workdir is not None:
        yield ("workdir",), image.workdir
