from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from modicum.data.audit import floors
from modicum.data.split import Split, split
from modicum.data.vocabulary import Vocabulary


def by_hand(parts: Split, floor: str, left_out: bool) -> dict[str, float]:
    """The same floors, one query after the other, ranking every item."""
    train, queries = parts.train, parts.test
    catalogue = train.vocabulary.ids.to_list()
    count = Counter(train.vocabulary.names(train.item_rows).to_list())
    after: dict = {}
    for a, b in zip(train.offsets[:-1], train.offsets[1:], strict=True):
        history = train.vocabulary.names(train.item_rows[a:b]).to_list()
        for last, following in pairwise(history):
            after.setdefault(last, Counter())[following] += 1
    users: dict = {}
    for user, start, end in zip(queries.users, queries.starts, queries.targets, strict=True):
        *history, target = queries.histories.vocabulary.names(
            queries.histories.item_rows[start : end + 1]
        ).to_list()
        last = history[-1] if history else None
        if floor == "popularity":
            score = {item: (0, count[item]) for item in catalogue}
        elif floor == "transitions":
            score = {item: (after.get(last, Counter())[item], count[item]) for item in catalogue}
        else:
            score = {last: (1, 0)} if last in catalogue else {}
        if left_out:
            score = {item: s for item, s in score.items() if item not in history}
        rank = np.inf
        if target in score:
            others = [s for item, s in score.items() if item != target]
            above = sum(s > score[target] for s in others)
            rank = 1 + above + sum(s == score[target] for s in others) / 2
        users.setdefault(user, []).append(rank)
    hit = [np.mean([r <= 10 for r in ranks]) for ranks in users.values()]
    gain = [
        np.mean([1 / np.log2(r + 1) if r <= 10 else 0.0 for r in ranks]) for ranks in users.values()
    ]
    return {"HR@10": float(np.mean(hit)), "NDCG@10": float(np.mean(gain))}


@pytest.fixture
def repeating(log_of) -> Split:
    """Few users, repeats, ties in popularity, new items and new users in the test."""
    rng = np.random.default_rng(5)
    n = 900
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 25, n) + np.arange(n) // 150,
            "item": np.minimum(rng.geometric(0.06, n), 45) + np.arange(n) // 120,
            "time": 1_600_000_000 + np.arange(n) * 60,
        }
    )
    return split(log_of(frame.with_columns(pl.from_epoch("time").cast(pl.Datetime("us")))))


def test_floors_equal_a_ranking_of_every_item(repeating):
    table = floors.measure(repeating)
    assert len(table) == 5
    for row in table.iter_rows(named=True):
        expected = by_hand(repeating, row["floor"], row["seen_items"] == "left out")
        assert row["HR@10"] == pytest.approx(expected["HR@10"])
        assert row["NDCG@10"] == pytest.approx(expected["NDCG@10"])
        assert row["NDCG@10_low"] <= row["NDCG@10"] <= row["NDCG@10_high"]
        assert row["queries"] == len(repeating.test)


def test_floors_read_ids_when_training_numbers_items_otherwise(repeating):
    """A hand-made split may number the training items in its own way."""
    train = repeating.train
    size = train.num_items
    other = replace(
        train,
        vocabulary=Vocabulary(train.vocabulary.ids.reverse()),
        item_rows=(size + 1 - train.item_rows).astype(np.int32),
    )
    assert floors.measure(replace(repeating, train=other)).equals(floors.measure(repeating))


def test_a_sample_reaches_every_user(repeating, monkeypatch):
    users = len(np.unique(repeating.test.users))
    monkeypatch.setattr(floors, "MAX_QUERIES", users)
    table = floors.measure(repeating)
    assert table["users"].to_list() == table["queries"].to_list() == [users] * 5
    assert table.equals(floors.measure(repeating))


def test_the_input_of_a_sample_is_bounded(repeating, monkeypatch):
    monkeypatch.setattr(floors, "MAX_INPUT_EVENTS", 100)
    sample = floors._sample(repeating.test)
    assert len(sample) >= 1
    assert (sample.targets - sample.starts).sum() <= 100
