"""What Docker has is looked for while BuildKit is asked, and each name once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from nixbk.apply.targets import looks
from nixbk.buildkit.errors import BuilderError

if TYPE_CHECKING:
    from nixbk.buildkit.client import Client


@dataclass
class Engine:
    """A client of an engine, and the names it was asked for."""

    is_docker: bool = True
    asked: list[str] = field(default_factory=list)

    @property
    def docker(self) -> Engine:
        """Its API."""
        return self

    def inspect_image(self, name: str) -> dict[str, str] | None:
        """What there is under a name."""
        self.asked.append(name)
        if name == "broken":
            raise BuilderError("docker refuses")
        return {"Id": name} if name == "demo:latest" else None


def test_each_name_is_looked_for_once() -> None:
    """However often what was found is wanted."""
    engine = Engine()
    begun = looks(("demo:latest", "web:1"), cast("Client", engine))
    found = {name: look.result() for _ in range(2) for name, look in begun.items()}
    assert found == {"demo:latest": {"Id": "demo:latest"}, "web:1": None}
    assert sorted(engine.asked) == ["demo:latest", "web:1"]


def test_other_builders_have_no_images() -> None:
    """BuildKit alone is not asked."""
    engine = Engine(is_docker=False)
    assert looks(("demo:latest",), cast("Client", engine)) == {}
    assert engine.asked == []


def test_nobody_hears_of_faults_that_do_not_matter() -> None:
    """What goes wrong is told to who wants what was found, and to nobody else."""
    begun = looks(("broken",), cast("Client", Engine()))
    with pytest.raises(BuilderError, match="docker refuses"):
        begun["broken"].result()
