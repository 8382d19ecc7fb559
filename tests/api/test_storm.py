"""A small storm (trials/storm): every request ends, none is paid twice, and what was lost is reported."""

from pathlib import Path

import pytest

from trials.storm import trial
from trials.storm.report import render
from trials.storm.server import FAULTS
from trials.storm.trial import naive, ours, storm


def test_through_a_storm_every_request_ends_and_none_is_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "NAIVE_PAUSE_S", 0.01)
    with storm(seed=7) as url:
        chat = ours(url, 300, tmp_path / "chat")
        batch = ours(url, 60, tmp_path / "batch", mode="batch")
        peer = naive(url, 12)
    assert (chat.faults(), batch.faults()) == ([], [])
    assert sum(chat.ended.values()) == 300
    assert sum(batch.ended.values()) == 60
    assert set(chat.ended) >= {"row", "context_length", "empty", "language"}
    assert chat.sent / 300 < 1.5
    # the storm was one: most kinds of fault were met, and answers were lost
    assert len(set(chat.met) & set(FAULTS)) >= 7
    assert chat.lost > 5
    assert chat.most_under_way > 100
    assert peer.sent >= 12
    text = render(chat, batch, peer, 7)
    assert "**Every request ended, none was paid twice.**" in text
    assert f"| calls sent | {chat.sent} | {batch.sent} | {peer.sent} |" in text


def test_a_client_that_pays_twice_or_loses_a_request_is_at_fault(tmp_path: Path) -> None:
    with storm(seed=7) as url:
        done = ours(url, 5, tmp_path / "one")
        assert done.faults() == []
        again = ours(url, 5, tmp_path / "two")  # another ledger, so everything is paid for once more
    assert again.faults()[0].endswith("were answered whole more than once")
    again.ended["row"] -= 1
    assert "1 requests did not end" in again.faults()
