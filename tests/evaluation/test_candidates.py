"""Sampled candidates are what they say: unseen, different, uniform."""

import numpy as np
import polars as pl
import pytest

from modicum.data.log import EventLog
from modicum.data.split import split
from modicum.errors import SettingError
from modicum.evaluation import candidates
from modicum.evaluation.candidates import sample_negatives, sample_size
from modicum.evaluation.evaluate import evaluate
from modicum.methods.sequential.popularity import Popularity


def _unseen(queries, query):
    histories = queries.histories
    user = queries.users[query]
    had = histories.item_rows[histories.offsets[user] : histories.offsets[user + 1]]
    return set(np.flatnonzero(queries.item_events).tolist()) - set(had.tolist())


@pytest.mark.parametrize("size", [1, 7, 25])
def test_candidates_are_different_training_items_that_the_user_never_had(parts, size):
    sampled = sample_negatives(parts.test, size, seed=0)
    assert sampled.shape == (len(parts.test), size)
    assert sampled.dtype == np.int32
    for query, row in enumerate(sampled.tolist()):
        assert len(set(row)) == size
        assert set(row) <= _unseen(parts.test, query)
        assert parts.test.target_rows[query] not in row


def test_where_fewer_are_left_all_are_taken(parts):
    fewest = min(len(_unseen(parts.test, query)) for query in range(len(parts.test)))
    query = next(q for q in range(len(parts.test)) if len(_unseen(parts.test, q)) == fewest)
    sampled = sample_negatives(parts.test, fewest, seed=0)
    assert set(sampled[query].tolist()) == _unseen(parts.test, query)
    for more in (fewest + 3, parts.train.num_items + 9):
        for number, row in enumerate(sample_negatives(parts.test, more, seed=0).tolist()):
            unseen = _unseen(parts.test, number)
            there = [item for item in row if item]
            assert row == there + [0] * (min(more, parts.train.num_items) - len(there))
            assert len(set(there)) == len(there) == min(more, len(unseen))
            assert set(there) <= unseen


def test_what_is_sampled_takes_no_more_room_than_the_catalogue(parts):
    sampled = sample_negatives(parts.test, 10**8, seed=0)
    assert sampled.shape == (len(parts.test), parts.train.num_items)


def test_a_report_says_where_fewer_were_left(parts):
    model = Popularity().fit(parts.train)
    enough = evaluate(model, parts.test, candidates="sampled-2")
    assert "fewer candidates" not in enough.protocol
    assert (
        evaluate(model, parts.test, candidates="sampled-999999").protocol["fewer candidates"] == 1
    )


def test_where_nothing_is_left_the_target_stands_alone():
    users, items = np.divmod(np.arange(40), 4)
    frame = pl.LazyFrame({"user": users, "item": items, "time": items * 10 + users})
    parts = split(EventLog(frame.cast({"time": pl.Datetime("us")}), "example"))
    assert not sample_negatives(parts.test, 2, seed=0).any()
    report = evaluate(Popularity().fit(parts.train), parts.test, candidates="sampled-2")
    assert (report.per_user["hr@1"] == 1).all()
    assert "for 100 % of the queries fewer items were left" in report.warnings[0]


def test_every_unseen_item_is_as_likely(parts):
    queries = parts.test.take(np.zeros(20_000, dtype=int))
    size = 10
    counts = np.bincount(sample_negatives(queries, size, seed=0).ravel())
    unseen = sorted(_unseen(queries, 0))
    expected = len(queries) * size / len(unseen)
    assert (np.abs(counts[unseen] - expected) < 5 * np.sqrt(expected)).all()


def test_candidates_are_seeded_and_drawn_in_parts(parts, monkeypatch):
    first = sample_negatives(parts.test, 5, seed=1)
    np.testing.assert_array_equal(first, sample_negatives(parts.test, 5, seed=1))
    assert (first != sample_negatives(parts.test, 5, seed=2)).any()
    monkeypatch.setattr(candidates, "_CELLS", 35)
    for query, row in enumerate(sample_negatives(parts.test, 5, seed=1).tolist()):
        assert set(row) <= _unseen(parts.test, query)


@pytest.mark.parametrize("name", ["sampled", "sampled-0", "sampled--3", "999", "sampled-9.5", 999])
def test_other_names_are_refused(name):
    with pytest.raises(SettingError, match="sampled-999"):
        sample_size(name)
