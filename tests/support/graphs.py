"""Made-up graphs of derivations with scripts that use them. Pure, for a seed."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any, Final

COUNT: Final = 30
_KINDS: Final = ("plain", "plain", "plain", "structured", "floating", "floating", "fixed")
_OUTPUTS: Final = ("out", "dev", "lib", "a_b", "Z")
_NAMES: Final = ("graph", "a.b", "x+y", "_", "Case", "n-1.0", "?=")
_FILES: Final = ("x", "a b", "é", "*", ".hidden", "UPPER", "-n", "c'", '"q"', "$x", "a\\b")
_WORDS: Final = ("plain words", "é “quoted”", "it's", "a\\nb", 'say "x"', "$HOME", "", "tail ")


def specification(seed: str) -> list[dict[str, Any]]:
    """What ``cases/generated.nix`` reads: derivations that use earlier ones."""
    chance = random.Random(seed)  # noqa: S311  it is to be repeatable
    made: list[dict[str, Any]] = []
    for number in range(COUNT):
        kind = chance.choice(_KINDS)
        outputs = chance.sample(_OUTPUTS, chance.randint(1, 3)) if kind != "fixed" else ["out"]
        if kind == "structured" and "out" not in outputs:
            outputs.append("out")
        deps = []
        for _ in range(chance.randint(0, 3) if number else 0):
            index = chance.randrange(max(0, number - 8), number)
            deps.append([index, chance.choice(made[index]["outputs"])])
        spec: dict[str, Any] = {
            "name": f"{chance.choice(_NAMES)}{number}",
            "kind": kind,
            "outputs": outputs,
            "deps": deps,
            "words": chance.choice(_WORDS),
            "graph": chance.random() < 0.3,
            "hash": "",
        }
        if kind == "fixed":
            text = f"fixed {chance.random()}\n"
            digest = hashlib.sha256(text.encode()).digest()
            spec["hash"] = "sha256-" + base64.b64encode(digest).decode()
            spec["script"] = f"printf '%s\\n' '{text.strip()}' > $out"
        else:
            spec["script"] = "\n".join(_script(chance, spec))
        made.append(spec)
    return made


def _script(chance: random.Random, spec: dict[str, Any]) -> list[str]:
    inputs = [f"d{n}" for n in range(len(spec["deps"]))]
    outputs: list[str] = spec["outputs"]
    lines = []
    if spec["kind"] == "structured":
        lines = [f"{name}=${{outputs[{name}]}}" for name in outputs]
    # outputs refer to themselves and to those behind them, so there is no cycle
    order = chance.sample(outputs, len(outputs))
    for index, name in enumerate(order):
        reach = [*inputs, *order[index:]]
        refers = [f"${one}" for one in chance.sample(reach, chance.randint(0, len(reach)))]
        match chance.choice(("file", "program", "folder", "folder", "link")):
            case "file":
                lines.append(f'echo "{name} {" ".join(refers)}" > "${name}"')
            case "program":
                lines.append(f'echo "{name} {":".join(refers)}" > "${name}"; chmod 755 "${name}"')
            case "link":
                lines.append(f'ln -s "{refers[0] if refers else "nowhere"}/x" "${name}"')
            case _:
                lines.append(f'mkdir -p "${name}/sub"')
                for n, file in enumerate(chance.sample(_FILES, chance.randint(0, 4))):
                    quoted = "'" + file.replace("'", "'\\''") + "'"
                    text = f"{refers[n]}/{n}" if n < len(refers) else str(n)
                    if chance.random() < 0.3:
                        lines.append(f'ln -s "{text}" "${name}"/sub/{quoted}')
                    else:
                        lines.append(f'echo "{text}" > "${name}"/{quoted}')
    first = order[0]
    tail = 'echo "$words" >> "$%s"' if spec["kind"] == "structured" else 'cat "$wordsPath" >> "$%s"'
    lines.append(f'if [ -f "${first}" ] && [ ! -L "${first}" ]; then {tail % first}; fi')
    if spec["graph"] and inputs and spec["kind"] != "structured":
        lines.append(f'if [ -d "${first}" ] && [ ! -L "${first}" ]; then cp graph "${first}"; fi')
    # a missing input, or one more than there should be, changes what is seen
    lines.append(
        f'if [ -d "${first}" ] && [ ! -L "${first}" ]; then'
        f" ls /nix/store | sed 's/^[^-]*-//' | sort > \"${first}/seen\"; fi"
    )
    return lines
