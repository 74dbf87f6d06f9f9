"""Explaining: each event's part by hand, and for every kind of history."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import modicum as mo
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_domains, simulate_markov
from modicum.data.vocabulary import Vocabulary
from modicum.data.windows import Prefixes
from modicum.methods.explaining import reasons

VALUES = torch.tensor([[4.0, 0.0, 0.0], [1.0, 0.0, 5.0], [0.0, -3.0, 0.0]])
"""What an event of each item adds to the score of each item."""


def added(prefixes: Prefixes):
    """Score every item by the sum of what the events add."""
    query, rows = prefixes.events()
    scores = torch.zeros(len(prefixes), 3).index_add(
        0, torch.from_numpy(query), VALUES[torch.from_numpy(rows) - 1]
    )
    half = len(prefixes) // 2
    yield np.arange(half, len(prefixes)), scores[half:]
    yield np.arange(half), scores[:half]


def test_shares_by_hand():
    vocabulary = Vocabulary(pl.Series(["a", "b", "c"]), np.array([0, 1, 1]), ("x", "y"))
    rows = np.array([1, 2, 3, 2, 1, 2])
    prefixes = Prefixes(rows, np.array([0, 3, 4, 6]), np.array([3, 4, 6, 6]))
    asked, items = np.array([0, 0, 1, 2, 3]), np.array([1, 3, 2, 1, 1])
    found = reasons(added, prefixes, asked, items, vocabulary).to_list()
    centred = VALUES - VALUES.mean(1, keepdim=True)
    for at, (first, last, item) in enumerate([(0, 3, 1), (0, 3, 3), (3, 4, 2), (4, 6, 1)]):
        events = rows[first:last]
        part = centred[events - 1, item - 1].numpy()
        part = part / np.abs(part).sum() if len(events) > 1 else np.ones(1)
        order = np.argsort(-part, kind="stable")
        assert [x["event"] for x in found[at]] == [" abc"[row] for row in events[order]]
        assert [x["domain"] for x in found[at]] == [" xyy"[row] for row in events[order]]
        np.testing.assert_allclose([x["share"] for x in found[at]], part[order], atol=1e-6)
    assert found[4] == []  # nothing was known


@pytest.mark.parametrize(
    "model",
    [
        mo.SASRec(dim=8, layers=1, length=8, epochs=1),
        mo.Merged(encoder={"method": "sasrec", "dim": 8}, history="target", length=8, epochs=1),
        mo.Merged(encoder={"method": "sasrec", "dim": 8}, history="appended", length=8, epochs=1),
        mo.MACD(encoder={"method": "sasrec", "dim": 8}, length=8, epochs=1),
    ],
    ids=["sasrec", "target", "appended", "macd"],
)
def test_just_what_is_read_is_left_out(model):
    simulated = simulate_domains(60, 30, overlap=1.0, seed=0)
    model.fit(EventLog(simulated.log.scan, "two"), progress=False)
    long = [("d1", 1), ("d1", 2), *(("d0", item) for item in range(3, 18))]
    asked = {"domain": "d1", "k": 3, "exclude_seen": False}
    top = model.recommend([long], explain=True, **asked)
    for number, because in zip(top["item"], top["because"], strict=True):
        read = {(x["domain"], x["event"]) for x in because}
        assert 1 < len(read) <= 8
        for at, event in enumerate(long):
            other = list(long)
            other[at] = (event[0], 25)
            found = model.recommend([other], **asked | {"k": 30}).filter(item=number)
            plain = top.filter(item=number)["score"][0]
            unread = found["score"][0] == pytest.approx(plain, abs=1e-7)
            assert unread == (event not in read)
    if model.name != "sasrec":
        assert ("d1", 1) in read  # the events of the domain asked for, however long ago


@pytest.mark.parametrize("method", [mo.Transitions, mo.Popularity])
def test_any_recommender_explains(method):
    log = simulate_markov(20, 8, events_per_user=6.0, seed=0).log
    model = method().fit(log)
    plain = model.recommend([[1, 2, 5], [], [3]], k=3)
    top = model.recommend([[1, 2, 5], [], [3]], k=3, explain=True)
    assert top.drop("because").equals(plain)
    shares = top.explode("because").unnest("because").group_by("query").agg(pl.col("share").sum())
    known = dict(shares.iter_rows())
    assert known[2] == pytest.approx(3)
    assert top.filter(pl.col("query") == 1)["because"].list.len().sum() == 0
    if method is mo.Popularity:
        assert known[0] == 0  # no event matters
    else:
        first = top["because"].to_list()[0]
        assert first[0]["event"] == 5 and first[0]["share"] > 0.5  # the latest says most
    assert model.recommend([], explain=True).is_empty()


def test_events_of_the_other_domain_carry_what_a_new_user_gets():
    simulated = simulate_domains(60, 10, overlap=1.0, seed=0)
    model = mo.MACD(encoder={"method": "sasrec", "dim": 8, "layers": 1}, epochs=1, device="cpu")
    model.fit(EventLog(simulated.log.scan, "two"), progress=False)
    top = model.recommend([[("d0", 1), ("d0", 2)]], domain="d1", k=2, explain=True)
    events = top.explode("because").unnest("because", separator=" ")
    assert events["because domain"].to_list() == ["d0"] * 4
    np.testing.assert_allclose(
        events.group_by("rank").agg(pl.col("because share").abs().sum())["because share"],
        1,
        rtol=1e-5,
    )
