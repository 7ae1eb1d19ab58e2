"""Hypothesis strategies for what Nix's formats hold. Pure."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from nixbk.nix.derivation import Derivation, DerivationOutput
from nixbk.nix.hashes import Hash, HashAlgorithm
from nixbk.nix.nar import Data, Directory, Event, RegularFile, Symlink
from nixbk.nix.store_path import StorePath

_NAME_CHARACTERS: Final = "abcXYZ019+-._?="
_TRICKY: Final = st.sampled_from(
    [
        '"',
        "\\",
        "\n",
        "\r",
        "\t",
        '\\"',
        "\\n",
        '("out","',
        '")',
        '"])',
        ")],[",
        "é",
        "\udcff",
        "\0",
    ]
)

nix_strings = st.one_of(
    st.text(max_size=8),
    st.lists(st.one_of(_TRICKY, st.text("ab ", max_size=3)), max_size=5).map("".join),
    st.binary(max_size=8).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
"""Nix strings: bytes, as Python writes them."""


def _is_name(text: str) -> bool:
    return text not in {".", ".."} and not text.startswith((".-", "..-"))


names = st.text(_NAME_CHARACTERS, min_size=1, max_size=12).filter(_is_name)
output_names = st.sampled_from(["out", "dev", "bin", "lib", "a", "Z", "out2"]) | names
digests = st.binary(min_size=20, max_size=20)
store_paths = st.builds(StorePath, digests, names)
drv_paths = st.builds(StorePath, digests, names.map(lambda name: name + ".drv"))


@st.composite
def hashes(draw: st.DrawFn) -> Hash:
    """Hashes of any algorithm."""
    algorithm = draw(st.sampled_from(HashAlgorithm))
    size = algorithm.size_bytes
    return Hash(algorithm, draw(st.binary(min_size=size, max_size=size)))


@st.composite
def outputs(draw: st.DrawFn, name: str) -> dict[str, DerivationOutput]:
    """The outputs of a derivation of any kind."""
    kind = draw(st.sampled_from(["input-addressed", "fixed", "floating", "deferred", "impure"]))
    if kind == "fixed":
        content = draw(hashes())
        method = draw(st.sampled_from(["", "r:"])) + content.algorithm
        fixed = DerivationOutput(str(draw(store_paths)), method, content.base16())
        if draw(st.booleans()):
            right = fixed.fixed_path(name, "out")
            fixed = DerivationOutput(str(right), method, content.base16())
        return {"out": fixed}
    wanted = draw(st.lists(output_names, min_size=1, max_size=4, unique=True))
    algorithm = draw(st.sampled_from(["r:sha256", "sha1", "text:sha256", "git:sha1"]))
    fields = {
        "input-addressed": ("", "", ""),
        "floating": ("", algorithm, ""),
        "deferred": ("", "", ""),
        "impure": ("", algorithm, "impure"),
    }[kind]
    if kind == "input-addressed":
        return {output: DerivationOutput(str(draw(store_paths))) for output in wanted}
    return {output: DerivationOutput(*fields) for output in wanted}


@st.composite
def derivations(draw: st.DrawFn) -> Derivation:
    """Derivations of any kind, whose output paths are mostly not their own."""
    name = draw(names)
    wanted = st.lists(output_names, min_size=1, max_size=3, unique=True).map(tuple)
    env_names = nix_strings | st.sampled_from(["out", "dev", "name", "builder"])
    return Derivation(
        name=name,
        outputs=draw(outputs(name)),
        input_drvs=draw(st.dictionaries(drv_paths, wanted, max_size=4)),
        input_srcs=tuple(draw(st.lists(store_paths, max_size=3))),
        system=draw(st.sampled_from(["x86_64-linux", "builtin", ""])),
        builder=draw(nix_strings),
        args=tuple(draw(st.lists(nix_strings, max_size=3))),
        env=draw(st.dictionaries(env_names, nix_strings, max_size=6)),
    )


_FILE_NAMES: Final = st.one_of(
    st.text("ab.é-", min_size=1, max_size=5),
    st.binary(min_size=1, max_size=6)
    .map(lambda data: data.replace(b"/", b"_").replace(b"\0", b"_"))
    .map(lambda data: data.decode("utf-8", "surrogateescape")),
).filter(lambda name: name not in {".", ".."})


def _without_null(text: str) -> str:
    # as bytes: what a null byte parted may be one character then
    data = text.encode("utf-8", "surrogateescape").replace(b"\0", b"")
    return data.decode("utf-8", "surrogateescape")


@st.composite
def trees(draw: st.DrawFn, path: str = "", depth: int = 0) -> list[Event]:
    """File trees, as the events of an archive."""
    kinds = ["file", "symlink"] if depth > 3 else ["directory", "file", "symlink"]
    match draw(st.sampled_from(kinds)):
        case "symlink":
            targets = nix_strings.map(_without_null).filter(bool)
            return [Symlink(path, draw(targets))]
        case "file":
            content = draw(st.binary(max_size=40))
            file = RegularFile(path, len(content), draw(st.booleans()))
            return [file, Data(content)] if content else [file]
        case _:
            events: list[Event] = [Directory(path)]
            found = draw(st.lists(_FILE_NAMES, max_size=4, unique=True))
            for name in sorted(found, key=lambda name: name.encode("utf-8", "surrogateescape")):
                events += draw(trees(f"{path}/{name}" if path else name, depth + 1))
            return events


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """*data*, cut, doubled, or changed in some places."""
    mutated = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(mutated)))
        span = draw(st.integers(0, 40))
        match draw(st.sampled_from(["cut", "drop", "insert", "change", "copy"])):
            case "cut":
                del mutated[at:]
            case "drop":
                del mutated[at : at + span]
            case "insert":
                piece = draw(
                    st.binary(max_size=8)
                    | st.sampled_from([b'"', b"\\", b"(", b"]", b",", b'("', b"\xff" * 8])
                )
                mutated[at:at] = piece
            case "change":
                mutated[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                mutated[at:at] = mutated[at : at + span]
    return bytes(mutated)
