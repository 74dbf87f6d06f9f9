from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from modicum.data.audit import audit, drift, sizes
from modicum.data.histories import Histories
from modicum.data.split import split


def test_no_drift_where_nothing_moves(frame, log_of):
    findings, measured = drift.check(split(log_of(frame)))
    assert findings == []
    assert measured["items_jensen_shannon_bits"] == pytest.approx(
        measured["items_jensen_shannon_by_chance"], abs=0.02
    )


def test_new_items_and_users_are_noted(frame, log_of):
    late = pl.col("time") > pl.col("time").quantile(0.85)
    moved = frame.with_columns(
        item=pl.when(late & (pl.col("item") % 2 == 0))
        .then(pl.col("item") + 1000)
        .otherwise("item"),
        user=pl.when(late & (pl.col("user") % 2 == 0))
        .then(pl.col("user") + 1000)
        .otherwise("user"),
    )
    report = audit(log_of(moved))
    assert {"drift", "cold-items", "cold-users"} <= {f.code for f in report.findings}
    assert all(f.severity == "note" for f in report.findings if "cold" in f.code)
    assert report.figures["drift"]["test_targets: unseen item"] == pytest.approx(0.5, abs=0.1)


def test_jensen_shannon_by_hand():
    """p = (1, 0), q = (1/2, 1/2): 1/2 log2(4/3) + 1/2 (1/2 log2(2/3) + 1/2 log2 2)."""
    expected = 0.5 * np.log2(4 / 3) + 0.25 * np.log2(2 / 3) + 0.25
    assert drift.jensen_shannon(np.array([3, 0]), np.array([2, 2])) == pytest.approx(expected)
    assert drift.jensen_shannon(np.array([3, 1]), np.array([6, 2])) == 0


def test_newcomers_by_hand(log_of):
    frame = pl.DataFrame({"user": [1, 2, 1, 2], "item": ["a", "a", "b", "c"], "time": [1, 2, 3, 4]})
    events = Histories.from_log(log_of(frame.with_columns(pl.col("time").cast(pl.Datetime("us")))))
    assert drift.newcomers(events, bins=2)["new_items"].to_list() == [0.5, 1.0]


def test_sizes_by_hand(log_of):
    frame = pl.DataFrame({"user": [1, 1, 1, 2], "item": ["a", "a", "b", "c"]})
    measured, tables = sizes.measure(Histories.from_log(log_of(frame)), timed=False)
    assert (measured["events"], measured["users"], measured["items"]) == (4, 2, 3)
    assert measured["sparsity"] == pytest.approx(1 - 3 / 6)
    assert measured["events_per_user_median"] == 2
    assert measured["items_in_tail"] == 1
    assert tables["lengths"]["users"].sum() == 2
    assert tables["popularity"].rows() == [(1, 2), (2, 1), (3, 1)]
