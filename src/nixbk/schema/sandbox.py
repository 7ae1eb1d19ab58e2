"""What ``[sandbox]`` of a manifest names: files beside it, and what is in installables.

::

    source  = file | place
    file    = a path relative to the manifest, without "#"
    place   = installable [ "/" path ]

The path within begins at the first slash behind the attribute, or behind the ``.drv`` of a store
path: ``nixpkgs#busybox-sandbox-shell/bin/busybox``, ``./default.nix#tools^bin/bin/env``. Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from nixbk.errors import NixbkError
from nixbk.schema.installable import ALL_OUTPUTS, Installable

SHELL_TARGET = "/bin/sh"
"""Where builds find their shell."""

OURS = ("/.nixbk", "/build", "/dev", "/etc", "/nix", "/proc", "/sys", "/tmp")  # noqa: S108  names
"""Folders of the sandbox that nothing of the user's can be put into."""

_STORE = re.compile(r"(/nix/store/[^/^]+(?:\^[^/]*)?)(/.*)?", re.DOTALL)


class SandboxError(NixbkError):
    """The text names nothing that can be in a sandbox."""


class SandboxSource(NamedTuple):
    """Something of the user's that builds find.

    Attributes:
        text: as the user wrote it.
        installable: what it is in; None for a file beside the manifest.
        path: where in there; empty for all of it. Of a file, its path.
    """

    text: str
    installable: Installable | None
    path: str

    @classmethod
    def parse(cls, text: str) -> SandboxSource:
        """Take *text* apart.

        Raises:
            NixbkError: it is neither a file nor a place in an installable.
        """
        body, path = _split(text)
        if body is None:
            if path.startswith(("/", "~")) or not path or "\0" in path:
                raise SandboxError(
                    f"expected a file relative to the manifest, or an installable, found {text!r}"
                )
            return cls(text, None, path)
        if path and any(step in ("", ".", "..") for step in path.split("/")):
            raise SandboxError(f"expected a path without '.' and '..' in it, found {path!r}")
        installable = Installable.parse(body)
        outputs = installable.outputs
        if outputs is not None and (outputs == ALL_OUTPUTS or len(outputs) > 1):
            raise SandboxError(f"expected one output, found {','.join(outputs)!r}")
        return cls(text, installable, path)


def _split(text: str) -> tuple[str | None, str]:
    """The installable, None for a file, and the path within it."""
    store = _STORE.fullmatch(text)
    if store:
        return store[1], (store[2] or "").removeprefix("/")
    target, hash_sign, fragment = text.partition("#")
    if not hash_sign:
        return None, text
    quoted = False
    for index, char in enumerate(fragment):
        if char == '"':
            quoted = not quoted
        elif char == "/" and not quoted:
            return f"{target}#{fragment[:index]}", fragment[index + 1 :]
    return text, ""


def check_target(target: str) -> None:
    """See that builds can have something at *target*.

    Raises:
        SandboxError: they cannot.
    """
    steps = target.split("/")
    if steps[0] or len(steps) < 2 or any(step in ("", ".", "..") for step in steps[1:]):  # noqa: PLR2004
        raise SandboxError(f"expected an absolute path without '.' and '..', found {target!r}")
    for folder in OURS:
        if f"{target}/".startswith(f"{folder}/"):
            raise SandboxError(f"{folder!r} is the sandbox's own")
