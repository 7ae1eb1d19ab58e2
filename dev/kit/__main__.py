"""Real engines for development and tests.

    dev/engines start NAME...   fetch what is missing, start, wait, print the address
    dev/engines stop NAME...    end them and all they started; `all` for every one
    dev/engines reset NAME...   stop them and forget their images and caches
    dev/engines env NAME...     print the address alone, as shell assignments
    dev/engines status          what runs, and where it answers
    dev/engines bin             the folder of wrappers to put on PATH

`docker` is the machine's own Docker where one answers, else docker-28; `buildkit`
is the machine's own buildkitd, else one compiled here.
`nix`, `qemu` and `tools` (crane, skopeo, docker with buildx) are no daemons: to
start them is to install them.

Effect: everything the engines do; stdout is for programs, stderr for people.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dev.kit.engines import ENGINES, machine_buildkitd, machine_docker
from dev.kit.places import BIN, CACHE, KitError
from dev.kit.programs import buildkit, nix, qemu, system_nix, tools

# name -> the engine that stands in where the machine has none of its own
ALIASES = {"buildkit": "buildkitd", "docker": "docker-28"}


def _start_nix() -> dict[str, str]:
    nix()
    return {"NIX": str(system_nix() or BIN / "nix")}


def _start_tools() -> dict[str, str]:
    tools()
    return {"NIXBK_DEV_BIN": str(BIN)}


def _start_buildctl() -> dict[str, str]:
    buildkit()
    return {"NIXBK_DEV_BIN": str(BIN)}


def _start_qemu() -> dict[str, str]:
    return {"QEMU_AARCH64": str(qemu())}


# name -> (what it is, what installs it and tells the variables)
PROGRAMS: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "buildctl": ("BuildKit's own client", _start_buildctl),
    "nix": ("a nix command on the machine's own /nix", _start_nix),
    "qemu": ("runs aarch64 programs", _start_qemu),
    "tools": ("crane, skopeo, docker with buildx", _start_tools),
}
NAMES = (*ALIASES, *ENGINES, *PROGRAMS)


def machine(alias: str) -> dict[str, str]:
    """The variables of the machine's own engine of that kind; empty when none answers."""
    if alias == "docker":
        host = machine_docker()
        return {"DOCKER_HOST": host} if host else {}
    host = machine_buildkitd()
    return {"BUILDKIT_HOST": host} if host else {}


def start(name: str) -> dict[str, str]:
    """Start or install *name* and return the variables by which it is found."""
    if name in ALIASES:
        return machine(name) or start(ALIASES[name])
    if name in PROGRAMS:
        return PROGRAMS[name][1]()
    ENGINES[name].start()
    return dict(ENGINES[name].environment)


def environment(name: str) -> dict[str, str]:
    """The variables by which *name* is found, whether it runs or not."""
    if name in ALIASES:
        return machine(name) or environment(ALIASES[name])
    if name in PROGRAMS:
        return PROGRAMS[name][1]()
    return dict(ENGINES[name].environment)


def every(names: list[str]) -> list[str]:
    """The engines that *names* stand for; programs and the machine's own Docker are left out."""
    if "all" in names:
        return list(ENGINES)
    return [name for name in (ALIASES.get(n, n) for n in names) if name in ENGINES]


def status() -> str:
    """One line per engine."""
    rows = []
    for name, engine in ENGINES.items():
        where = " ".join(f"{k}={v}" for k, v in engine.environment.items())
        rows.append(f"{name:18} {'up' if engine.up() else '-':4} {engine.about}\n{'':24}{where}")
    for alias in ALIASES:
        own = " ".join(machine(alias).values())
        rows.append(f"{alias:18} {'up' if own else '-':4} the machine's own: {own or 'none'}")
    rows.append(f"fetched things and state: {CACHE}")
    return "\n".join(rows)


def show(found: dict[str, dict[str, str]], *, as_json: bool) -> None:
    """Print the variables of engines by name."""
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for variables in found.values():
        for variable, value in variables.items():
            print(f"{variable}={shlex.quote(value)}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="dev/engines", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in ("start", "env"):
        one = commands.add_parser(command)
        one.add_argument("names", nargs="+", choices=NAMES, metavar="NAME")
        one.add_argument("--json", action="store_true", help="{name: {variable: value}}")
    for command in ("stop", "reset"):
        one = commands.add_parser(command)
        one.add_argument("names", nargs="+", choices=(*NAMES, "all"), metavar="NAME")
    commands.add_parser("status")
    commands.add_parser("bin")
    return top


def main() -> int:
    """Carry out the command line."""
    options = parser().parse_args()
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            match options.command:
                case "start":
                    found = dict(zip(options.names, pool.map(start, options.names), strict=True))
                    show(found, as_json=options.json)
                case "env":
                    show({n: environment(n) for n in options.names}, as_json=options.json)
                case "stop":
                    list(pool.map(lambda name: ENGINES[name].stop(), every(options.names)))
                case "reset":
                    list(pool.map(lambda name: ENGINES[name].reset(), every(options.names)))
                case "status":
                    print(status())
                case _:
                    print(BIN)
    except (KitError, subprocess.TimeoutExpired) as error:
        print(f"engines: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
