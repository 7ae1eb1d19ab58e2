"""The root file system every step starts from. Pure.

A step's own root is this one with ``/nix/store/<outputs>`` added, so that the difference of the
two is nothing but store objects. What the container runtime would otherwise create and leave
behind (``/dev``, ``/etc`` …) is therefore in it from the start.

Source: ``etc/passwd`` and its neighbours as Nix's sandbox has them,
``ChrootLinuxDerivationBuilder::prepareSandbox``, Nix ``src/libstore/linux/build``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixbk.llb.file import Copy, Mkdir, Mkfile, file

if TYPE_CHECKING:
    from nixbk.llb.vertex import Output

MTIME_S: Final = 1
FOLDERS: Final = (
    "/.nixbk", "/.nixbk/result", "/bin", "/build", "/dev", "/etc", "/nix", "/nix/store", "/proc",
    "/sys", "/tmp",  # noqa: S108  a folder of the sandbox
)  # fmt: skip
FOLDER_MODES: Final = {"/etc": 0o555}
TEXTS: Final = {
    "/etc/group": b"root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
    "/etc/passwd": (
        b"root:x:0:0:Nix build user:/build:/noshell\n"
        b"nixbld:x:1000:100:Nix build user:/build:/noshell\n"
        b"nobody:x:65534:65534:Nobody:/:/noshell\n"
    ),
}


def base_root() -> Output:
    """The root file system every step starts from, whatever its platform.

    Making a file moves its folder's time on, so all is made first and then copied with one time.
    """
    made = file(
        None,
        [
            *(Mkdir(path, FOLDER_MODES.get(path, 0o755), mtime_s=MTIME_S) for path in FOLDERS),
            *(Mkfile(path, data, mtime_s=MTIME_S) for path, data in TEXTS.items()),
        ],
        name="files of every step",
    )
    return file(
        None,
        [Copy(made, "/", "/", contents=True, mtime_s=MTIME_S)],
        name="base of every step",
    )
