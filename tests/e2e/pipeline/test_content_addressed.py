"""Images of what has no path before it is built."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from projects import MakeProject, Project


@pytest.fixture
def floating(make_project: MakeProject) -> Project:
    """A project with one image of a floating output."""
    project = make_project({"floating": ["floating"]})
    project.lock()
    return project


def test_an_image_of_a_floating_output(floating: Project) -> None:
    """It is built, runs from its own path, and then there is nothing to do, whoever asks."""
    done = floating.apply()
    assert done.built == ("above-float", "float", "floating")
    text, _, place = floating.printed("floating").partition(" of ")
    assert text == f"lib {floating.salt}"
    assert place.startswith("/nix/store/")
    assert place.endswith("-floating/bin/floating")
    assert not floating.plan()["changes"]
    shutil.rmtree(floating.home / "cache")
    assert not floating.plan()["changes"]


def test_equal_content_cuts_rebuilds_off(floating: Project) -> None:
    """Another recipe of the same content is built, and nothing above it, whoever asks."""
    floating.apply()
    before = floating.printed("floating")
    for how in ("another way", "a third way"):
        floating.set(how=how)
        floating.lock()
        done = floating.apply()
        assert done.built == ("float",)
        assert floating.printed("floating") == before
        shutil.rmtree(floating.home / "cache")
    assert not floating.plan()["changes"]


def test_other_content_goes_upwards(floating: Project) -> None:
    """What was built of other content is built anew, at other paths."""
    floating.apply()
    before = floating.printed("floating")
    floating.set(lib="other")
    floating.lock()
    assert floating.apply().built == ("above-float", "float", "floating")
    after = floating.printed("floating")
    assert after.startswith(f"other {floating.salt} of /nix/store/")
    assert after.partition(" of ")[2] != before.partition(" of ")[2]
    floating.set(lib="lib")
    floating.lock()
    assert floating.apply().built == ()
    assert floating.printed("floating") == before


def test_impure_derivations_are_built_each_time(make_project: MakeProject) -> None:
    """Every command builds them, and the image is what the last one built."""
    project = make_project({"impure": ["impure"]})
    project.lock()
    printed = set()
    for _ in range(2):
        assert project.planned() == ("impure",)
        assert project.apply().built == ("impure",)
        printed.add(project.printed("impure"))
    assert len(printed) == 2
