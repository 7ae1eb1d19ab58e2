"""The steps that need no other: sources and substitutes, unpacked. Pure, but choices are kept.

A step is named by the store path that it unpacks, or by the first of several. A ``.drv`` file may
be unpacked for one derivation while another is built from it. Then the step has a name of its own.

Several caches may have a substitute, in files that differ by their compression. One of them is the
*choice*: the first, unless another was found in BuildKit's cache or could be fetched.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from nixbk.nix.content_address import content_address
from nixbk.nix.store_path import StorePath, compress_hash
from nixbk.planner.groups import groups
from nixbk.planner.realisation import RealisedOutput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nixbk.schema.lock import Lock, LockedArchive, LockedSource, LockedSubstitute

LEAF_OUTPUT: Final = ""
"""What the output of a step is called that unpacks one store path."""

Wanted: TypeAlias = tuple[StorePath, str]
"""A step and one of its outputs."""


class Choice(NamedTuple):
    """Where the NAR of a substitute comes from.

    Attributes:
        archive: number of the archive in the lock.
        through_session: whether the client fetches it, and not the builder itself.
    """

    archive: int = 0
    through_session: bool = False


FIRST: Final = Choice()
"""What is taken of a substitute unless something else was chosen."""


class Unpacking(NamedTuple):
    """A substitute, the archive that is taken of it, and the root of its step that it lies in."""

    substitute: LockedSubstitute
    archive: LockedArchive
    through_session: bool
    root: int = 0


class Leaves:
    """The unpacking steps of a lock."""

    def __init__(self, lock: Lock) -> None:
        self._sources = {_name(lock, path): found for path, found in lock.sources.items()}
        together = {_name(lock, group[0][0]): group for group in groups(lock)}
        self._groups = {
            step: tuple(lock.substitutes[path] for root in group for path in root)
            for step, group in together.items()
        }
        self._substitutes = lock.substitutes
        self._choices: dict[StorePath, Choice] = {}
        self._steps = {found.path: step for step, found in self._sources.items()}
        for step, members in self._groups.items():
            for found in members:
                self._steps.setdefault(found.path, step)
        # asked for once for each member, so they are made once
        self._outputs = {
            step: {found.path.basename: found.path for found in members}
            for step, members in self._groups.items()
            if len(members) > 1
        }
        self._roots = {
            path: (number, root)
            for step in self._outputs
            for number, root in enumerate(together[step])
            for path in root
        }

    def __contains__(self, step: object) -> bool:
        return step in self._sources or step in self._groups

    def is_fetched(self, step: StorePath) -> bool:
        """Whether a step unpacks substitutes."""
        return step in self._groups

    def step(self, path: StorePath) -> StorePath:
        """The step that unpacks a store path."""
        return self._steps[path]

    def has(self, path: StorePath) -> bool:
        """Whether a store path is unpacked from something."""
        return path in self._steps

    def wanted(self, path: StorePath) -> Wanted:
        """The step and the output that a store path is."""
        step = self._steps[path]
        return step, (path.basename if step in self._outputs else LEAF_OUTPUT)

    def outputs(self, step: StorePath) -> Mapping[str, StorePath]:
        """What a step unpacks, by output."""
        if step in self._outputs:
            return self._outputs[step]
        source = self._sources.get(step)
        return {LEAF_OUTPUT: source.path if source else self._groups[step][0].path}

    def root(self, path: StorePath) -> tuple[int, tuple[StorePath, ...]]:
        """Which root of its step a store path lies in, and all paths that do, sorted."""
        return self._roots.get(path) or (0, (path,))

    def source(self, step: StorePath) -> LockedSource | None:
        """The source that a step unpacks; None when it unpacks substitutes."""
        return self._sources.get(step)

    def unpackings(self, step: StorePath) -> tuple[Unpacking, ...]:
        """The substitutes that a step unpacks, each with what was chosen."""
        return tuple(self._unpacking(found) for found in self._groups[step])

    def infos(self) -> Iterator[tuple[StorePath, RealisedOutput]]:
        """What the lock tells of every store path that is unpacked, and the step that does."""
        for path, step in self._steps.items():
            found = self._sources.get(step) or self._substitutes[path]
            yield (
                step,
                RealisedOutput(
                    path,
                    found.nar_hash,
                    found.nar_size,
                    found.references,
                    found.file_type,
                    found.target,
                ),
            )

    def content_address(self, path: StorePath) -> str:
        """How a path follows from its content, or empty."""
        step = self._steps[path]
        source = self._sources.get(step)
        if source is not None:
            return content_address(source.method, source.content_hash or source.nar_hash)
        return self._substitutes[path].content_address

    @property
    def chosen(self) -> Mapping[StorePath, str]:
        """Of substitutes that do not come from their first file, which one they do come from."""
        found = {}
        for path in self._choices:
            member = self._substitutes[path]
            taken = file_of(self._unpacking(member).archive)
            if taken != file_of(member.archives[0]):
                found[path] = taken
        return found

    def undecided(self) -> tuple[LockedSubstitute, ...]:
        """The substitutes of which several files are known."""
        members = (found for group in self._groups.values() for found in group)
        return tuple(found for found in members if len(_files(found)) > 1)

    def choices(self, step: StorePath) -> Mapping[StorePath, Choice]:
        """What was chosen of the substitutes that a step unpacks."""
        return {found.path: self.choice(found.path) for found in self._groups.get(step, ())}

    def choice(self, path: StorePath) -> Choice:
        """What was chosen of one substitute."""
        return self._choices.get(path, FIRST)

    def choose(self, path: StorePath, choice: Choice) -> None:
        """Take a substitute from elsewhere."""
        self._choices[path] = choice

    def alternatives(self, step: StorePath) -> int:
        """How many files are known of what a step unpacks, at most; 1 when there is no choice."""
        return max((len(_files(found)) for found in self._groups.get(step, ())), default=1)

    def alternative(self, step: StorePath, number: int) -> Mapping[StorePath, Choice]:
        """To take the file *number* of all that a step unpacks, the first of what has no such."""
        found = {}
        for member in self._groups[step]:
            files = _files(member)
            found[member.path] = Choice(files[number] if number < len(files) else 0)
        return found

    def _unpacking(self, found: LockedSubstitute) -> Unpacking:
        choice = self.choice(found.path)
        archive = found.archives[choice.archive]
        return Unpacking(found, archive, choice.through_session, self.root(found.path)[0])


def file_of(archive: LockedArchive) -> str:
    """What tells archives apart, wherever they come from: hash and compression.

    A cache may lie about the latter; what it says is not signed.
    """
    return f"{archive.compression} {archive.file_hash.sri()}"


def _files(found: LockedSubstitute) -> list[int]:
    """The archives that are not the same file as an earlier one."""
    first: dict[str, int] = {}
    for number, archive in enumerate(found.archives):
        first.setdefault(file_of(archive), number)
    return list(first.values())


def _name(lock: Lock, path: StorePath) -> StorePath:
    if path not in lock.derivations:
        return path
    return StorePath(compress_hash(sha256(f"source:{path}".encode()).digest()), path.name)
