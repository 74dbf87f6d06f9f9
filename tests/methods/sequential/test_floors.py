"""Popularity and transitions, against values counted by hand."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modicum
from modicum.data.log import EventLog
from modicum.errors import SettingError

HISTORIES = ["abac", "abc", "ca"]


def log_of(histories: list[str]) -> EventLog:
    events = [(user, item) for user, history in enumerate(histories) for item in history]
    return EventLog(pl.LazyFrame(events, schema=["user", "item"], orient="row"), source="test")


def scores(model, history: str) -> dict[str, float]:
    top = model.recommend([list(history)], k=10, exclude_seen=False)
    return dict(zip(top["item"], top["score"], strict=True))


def test_popularity_counts_events():
    model = modicum.Popularity().fit(log_of(HISTORIES))
    assert scores(model, "b") == {"a": 4, "c": 3, "b": 2}
    assert scores(model, "") == scores(model, "abc") == {"a": 4, "c": 3, "b": 2}


def test_transitions_are_shares_of_what_followed():
    """After a: b twice, c once. After b: a once, c once. After c: a once."""
    model = modicum.Transitions(recent=1).fit(log_of(HISTORIES))
    assert scores(model, "a") == pytest.approx({"b": 2 / 3, "c": 1 / 3, "a": 0}, abs=1e-6)
    assert scores(model, "ba") == pytest.approx({"b": 2 / 3, "c": 1 / 3, "a": 0}, abs=1e-6)
    assert scores(model, "c") == pytest.approx({"a": 1, "b": 0, "c": 0}, abs=1e-6)


def test_older_items_weigh_less():
    model = modicum.Transitions(recent=2, decay=0.5).fit(log_of(HISTORIES))
    expected = {"a": 1, "b": 0.5 * 2 / 3, "c": 0.5 / 3}
    assert scores(model, "ac") == pytest.approx(expected, abs=1e-6)
    assert scores(model, "bac") == pytest.approx(expected, abs=1e-6)


def test_popularity_orders_what_no_transition_tells_apart():
    model = modicum.Transitions(recent=1).fit(log_of(HISTORIES))
    assert list(scores(model, "c")) == ["a", "c", "b"]
    never_followed = modicum.Transitions(recent=1).fit(log_of([*HISTORIES, "d"]))
    assert list(scores(never_followed, "d")) == ["a", "c", "b", "d"]


@given(
    st.lists(st.text("abcde", min_size=1, max_size=30), min_size=1, max_size=5),
    st.text("abcde", min_size=1, max_size=40),
    st.integers(1, 12),
)
def test_transitions_are_what_a_loop_counts(histories, query, recent):
    model = modicum.Transitions(recent=recent, decay=0.5).fit(log_of(histories))
    steps = [pair for history in histories for pair in pairwise(history)]
    known = [item for item in query if any(item in history for history in histories)]
    if not known:
        return
    expected = dict.fromkeys(set("".join(histories)), 0.0)
    for age, item in enumerate(reversed(known[-recent:])):
        followers = [after for before, after in steps if before == item]
        for after in followers:
            expected[after] += 0.5**age / len(followers)
    assert scores(model, query) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"recent": 0}, {"recent": 2.5}, {"decay": 0.0}, {"decay": 1.5}], ids=str
)
def test_settings_out_of_range(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        modicum.Transitions(**wrong).fit(log_of(HISTORIES))


def test_no_follower_is_forgotten_in_a_large_catalogue():
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(300), 20), rng.integers(0, 2000, 6000)
    frame = pl.DataFrame({"user": users, "item": items})
    model = modicum.Transitions(recent=1).fit(EventLog(frame.lazy(), source="test"))
    shares = model.fitted_network.shares.sum()
    left = len(np.unique(items.reshape(300, 20)[:, :-1]))
    assert float(shares) == pytest.approx(left, rel=1e-5)
