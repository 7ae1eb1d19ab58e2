"""Many claims are decided on at once, each as it would be alone."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from memory_caches import KEYS, STRANGER, cache, nar_info

from nixbk.resolve.caches.judge import Answer, Claim, claim_of, judge
from nixbk.resolve.caches.jury import WORTH_A_THREAD, Jury

GOOD = [nar_info(f"g{number}") for number in range(40)]
WRONG = [replace(info, nar_size=9) for info in GOOD]
STRANGE = [nar_info(f"s{number}", key=STRANGER) for number in range(40)]
MANY = [info for three in zip(GOOD, WRONG, STRANGE, strict=True) for info in three]


@pytest.mark.parametrize("count", [1, WORTH_A_THREAD, len(MANY)])
@pytest.mark.parametrize("processors", [1, 2, 64])
def test_each_as_it_would_be_alone(
    count: int, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order in which they were heard, however many threads take part."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(processors))
    jury, told = Jury(KEYS), list[Answer]()
    infos = MANY[:count]
    for info in infos:
        claim = claim_of(cache(), info.store_path, info.to_bytes())
        assert isinstance(claim, Claim)
        assert claim.needs_signature
        jury.hear(claim, told.append)
    assert told == []
    assert jury.decide()
    alone = [judge(cache(), info.store_path, info.to_bytes(), KEYS) for info in infos]
    assert [(one.status, str(one.error)) for one in told] == [
        (one.status, str(one.error)) for one in alone
    ]
    assert not jury.decide()


def test_who_is_told_may_bring_more() -> None:
    """What is heard meanwhile is decided on next."""
    jury, told = Jury(KEYS), list[Answer]()
    first, second = (claim_of(cache(), info.store_path, info.to_bytes()) for info in GOOD[:2])
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    jury.hear(first, lambda _: jury.hear(second, told.append))
    assert jury.decide()
    assert told == []
    assert jury.decide()
    assert [answer.status for answer in told] == ["accepted"]


def test_what_was_dismissed_is_not_told() -> None:
    """Nobody waits for it."""
    jury, told = Jury(KEYS), list[Answer]()
    claim = claim_of(cache(), GOOD[0].store_path, GOOD[0].to_bytes())
    assert isinstance(claim, Claim)
    jury.hear(claim, told.append)
    jury.dismiss()
    assert not jury.decide()
    assert told == []


def test_what_fails_in_a_thread_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """No claim is taken for unsigned, or for signed, because of a fault of ours."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))

    def fail(*_: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(Claim, "is_signed", fail)
    jury = Jury(KEYS)
    for info in GOOD:
        claim = claim_of(cache(), info.store_path, info.to_bytes())
        assert isinstance(claim, Claim)
        jury.hear(claim, lambda _: None)
    with pytest.raises(MemoryError):
        jury.decide()
