"""Places for a cache, made ready for builds."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from nixbk.buildkit.content_folder import ContentFolder
from nixbk.buildkit.protocols import CacheOption
from nixbk.buildkit.shared_cache import SharedCache, shared_cache
from nixbk.schema.cache import CacheEntry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OUTSIDE = (
    "ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL are not set, as they are in jobs of "
    "GitHub Actions"
)
GITHUB: dict[str, tuple[str, Mapping[str, str], Mapping[str, str] | None]] = {
    "outside": ("type=gha", {}, None),
    "token alone": ("type=gha", {"ACTIONS_RUNTIME_TOKEN": "t"}, None),
    "first version": (
        "type=gha",
        {"ACTIONS_RUNTIME_TOKEN": "t", "ACTIONS_CACHE_URL": "u"},
        {"token": "t", "url": "u"},
    ),
    "second version": (
        "type=gha,scope=s",
        {
            "ACTIONS_RUNTIME_TOKEN": "t",
            "ACTIONS_RESULTS_URL": "r",
            "ACTIONS_CACHE_SERVICE_V2": "True",
        },
        {"scope": "s", "token": "t", "url_v2": "r", "url": "r"},
    ),
    "what is written counts": (
        "type=gha,token=mine,url=here",
        {"ACTIONS_RUNTIME_TOKEN": "t", "ACTIONS_CACHE_URL": "u"},
        {"token": "mine", "url": "here"},
    ),
}


def _made(
    sources: tuple[str, ...] = (),
    targets: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    *,
    folder: Path,
) -> SharedCache:
    return shared_cache(
        [(CacheEntry.parse(text, "from"), folder) for text in sources],
        [(CacheEntry.parse(text, "to"), folder) for text in targets],
        environ or {},
    )


@pytest.mark.parametrize(("text", "environ", "attrs"), GITHUB.values(), ids=GITHUB)
def test_github_actions_tell_what_is_needed(
    tmp_path: Path, text: str, environ: Mapping[str, str], attrs: Mapping[str, str] | None
) -> None:
    """Address and token come from the environment, and without them the place is left out."""
    made = _made((text,), environ=environ, folder=tmp_path)
    if attrs is None:
        assert (made.imports, made.notes) == ((), (f"no cache is taken from {text}: {OUTSIDE}",))
    else:
        assert (made.imports, made.notes) == ((CacheOption("gha", attrs),), ())
        assert "mine" not in repr(made)


def test_targets_keep_all_steps(tmp_path: Path) -> None:
    """The mode is max unless it is written; what is inline belongs to images."""
    texts = ("type=registry,ref=a", "type=registry,ref=b,mode=min", "type=inline")
    made = _made(targets=texts, folder=tmp_path)
    assert [target.option for target in made.targets] == [
        CacheOption("registry", {"mode": "max", "ref": "a"}),
        CacheOption("registry", {"mode": "min", "ref": "b"}),
    ]
    assert [target.text for target in made.targets] == list(texts[:2])
    assert made.of_images == (CacheOption("inline"),)


def test_a_folder_is_found_by_its_tag(tmp_path: Path) -> None:
    """The builder is told the digest, and which folder the session serves."""
    digest = f"sha256:{sha256(b'x').hexdigest()}"
    store = ContentFolder(tmp_path / "cache")
    with store.writing("r") as writing:
        writing.write(b"x")
        store.commit(writing)
    store.tag({"digest": digest, "size": 1}, "main")
    made = _made(("type=local,src=cache,tag=main",), folder=tmp_path)
    place = str(tmp_path / "cache")
    assert made.imports == (CacheOption("local", {"src": place, "digest": digest}),)
    assert list(made.stores) == [f"local:{place}"]


def test_a_folder_without_cache_is_left_out(tmp_path: Path) -> None:
    """A folder that is not there, or has no such tag, is noted."""
    made = _made(("type=local,src=cache",), ("type=local,dest=cache",), folder=tmp_path)
    assert made.imports == ()
    assert made.notes == (
        "no cache is taken from type=local,src=cache: nothing is called 'latest' there",
    )
    assert made.targets[0].option.attrs["dest"] == str(tmp_path / "cache")


RESETS = {"": False, ",reset=true": True, ",reset=T": True, ",reset=0": False}


@pytest.mark.parametrize("text", RESETS)
def test_a_folder_may_be_reset(tmp_path: Path, text: str) -> None:
    """That is done here, so no builder is told."""
    (target,) = _made(targets=(f"type=local,dest=cache{text}",), folder=tmp_path).targets
    assert target.reset is RESETS[text]
    assert target.option.attrs == {"mode": "max", "dest": str(tmp_path / "cache")}
