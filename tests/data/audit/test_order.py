from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from modicum.data.audit import audit, order


def with_position(frame: pl.DataFrame) -> pl.DataFrame:
    """Give every user the times 0, 1, 2 ... days in the order of the rows."""
    day = pl.int_range(pl.len()).over("user").cast(pl.Int64) * 86_400 + 1_600_000_000
    return frame.with_columns(time=pl.from_epoch(day).cast(pl.Datetime("us")))


def test_clean_order_passes(frame, log_of, severities):
    assert severities(audit(log_of(frame))) == {}
    measured = audit(log_of(frame)).figures["order"]
    expected = measured["pairs_expected_in_both_orders"]
    assert measured["pairs_in_both_orders"] == pytest.approx(expected, rel=0.05)
    assert measured["edges_on_cycles"] > 0.99
    assert measured["steps_ascending"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("timed", [True, False])
def test_histories_in_one_global_order_are_found(frame, log_of, severities, timed):
    rank = pl.Series(np.random.default_rng(1).permutation(frame["item"].max() + 1))
    mixed = frame.with_columns(rank=rank.gather(frame["item"])).sort("user", "rank").drop("rank")
    mixed = with_position(mixed) if timed else mixed.drop("time")
    found = severities(audit(log_of(mixed)))
    assert found["order-lost"] == "error"
    assert "ids-sorted" not in found


def test_ids_sorted_inside_users_are_found(frame, log_of, severities):
    for descending in (False, True):
        rows = frame.drop("time").sort("user", "item", descending=[False, descending])
        report = audit(log_of(rows))
        found = severities(report)
        assert found["ids-sorted"] == found["order-lost"] == "error"
        direction = "descend" if descending else "ascend"
        assert report.figures["order"]["direction"] == direction


def test_ids_that_are_numbers_in_text_sort_as_numbers(frame, log_of, severities):
    rows = frame.drop("time").sort("user", "item").with_columns(pl.col("item") - 95)
    assert "ids-sorted" in severities(audit(log_of(rows.cast({"item": pl.String}))))


def test_items_that_replace_each_other_in_time_are_not_a_lost_order(log_of, severities):
    """News: each item lives a day, so no pair can occur in both orders, and that is right."""
    rng = np.random.default_rng(3)
    day = np.tile(np.arange(40), 200)
    frame = pl.DataFrame(
        {
            "user": np.repeat(np.arange(200), 40),
            "item": rng.permutation(80)[2 * day + rng.integers(0, 2, len(day))],
            "time": 1_600_000_000 + day * 86_400 + rng.integers(0, 86_400, len(day)),
        }
    ).with_columns(pl.from_epoch("time").cast(pl.Datetime("us")))
    found = severities(audit(log_of(frame)))
    assert "order-lost" not in found
    assert found.get("order-acyclic") == "warning"


def test_ties_neither_prove_nor_hide_an_order(frame, log_of, severities):
    """Whole days, rows sorted by item: the sorting inside a day is no evidence."""
    days = frame.with_columns(pl.col("time").dt.truncate("30d")).sort("user", "item")
    found = severities(audit(log_of(days)))
    assert "order-lost" not in found and "ids-sorted" not in found
    assert found["ties"] == "warning"


def test_domains_one_after_the_other_are_not_an_order(frame, log_of, severities):
    """Without time, a file may list one domain after the other; pairs across mean nothing."""
    domains = frame.drop("time").with_columns(domain=(pl.col("item") % 2).cast(pl.String))
    found = severities(audit(log_of(domains.sort("user", "domain", maintain_order=True))))
    assert found == {"no-time": "warning"}


def test_a_sample_of_pairs_finds_the_same(frame, log_of, severities, monkeypatch):
    monkeypatch.setattr(order, "MAX_PAIRS", 20_000)
    assert severities(audit(log_of(frame))) == {}
    report = audit(log_of(frame.drop("time").sort("user", "item")))
    assert severities(report)["order-lost"] == "error"
    kept = report.figures["order"]["sampled_share_of_pairs"]
    assert report.figures["order"]["pairs"] == pytest.approx(kept * 60 * 59 / 2, rel=0.25)


def test_cycles_by_hand():
    """Two histories 1 2 3 and 3 4 1: the cycle 1 2 3 4; the tail 4 5 leads out of it."""
    series = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    items = np.array([1, 2, 3, 3, 4, 1, 4, 5])
    times = np.arange(8)
    assert order._cycles(series, items, times) == pytest.approx(4 / 5)
    assert order._cycles(series[:3], items[:3], times[:3]) == 0
    assert order._cycles(series, items, np.zeros(8)) == 0


def test_chance_of_ascending_by_hand():
    """Histories of three and four items: 1/3! and 1/4! by chance."""
    series = np.array([0, 0, 0, 1, 1, 1, 1])
    items = np.array([1, 2, 3, 1, 3, 2, 4])
    found = order._ascending(series, items, np.arange(7), pl.Series([10, 20, 30, 40]))
    assert found["users_ascending"] == 1 / 2
    assert found["users_ascending_by_chance"] == pytest.approx((1 / 6 + 1 / 24) / 2)
    assert found["steps_ascending"] == 4 / 5


def test_a_sample_of_histories_finds_the_same(frame, log_of, monkeypatch):
    monkeypatch.setattr(order, "MAX_STEPS", 2_000)
    measured = audit(log_of(frame.drop("time").sort("user", "item"))).figures["order"]
    assert measured["edges_on_cycles"] == 0 and measured["edges_on_cycles_shuffled"] > 0.9
