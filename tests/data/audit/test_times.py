from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from modicum.data.audit import audit, times
from modicum.data.histories import Histories

US = 1_000_000


def at(seconds: pl.Expr) -> pl.Expr:
    return (seconds * US).cast(pl.Int64).cast(pl.Datetime("us"))


def every(n: int) -> pl.Expr:
    return pl.int_range(pl.len()) % n == 0


EPOCH = pl.col("time").dt.epoch("s")


@pytest.mark.parametrize(
    ("wrong", "factor"), [(EPOCH / 1000, 1000), (EPOCH * 1000, 0.001), (EPOCH / 1e6, 1e6)]
)
def test_two_units_in_one_column(frame, log_of, severities, wrong, factor):
    mixed = frame.with_columns(time=pl.when(every(5)).then(at(wrong)).otherwise("time"))
    report = audit(log_of(mixed))
    assert severities(report)["time-units-mixed"] == "error"
    finding = next(f for f in report.findings if f.code == "time-units-mixed")
    assert finding.figures["factor"] == factor
    assert finding.figures["share"] == pytest.approx(0.2)


def test_one_wrong_unit_throughout_is_a_warning(frame, log_of, severities):
    report = audit(log_of(frame.with_columns(time=at(EPOCH / 1000))))
    assert severities(report) == {"time-implausible": "warning"}
    assert "Multiplied by 1000" in report.findings[0].message


@pytest.mark.parametrize(("n", "severity"), [(100, "error"), (3000, "warning")])
def test_impossible_times(frame, log_of, severities, n, severity):
    for stamp in (0, 4_000_000_000):
        some = frame.with_columns(
            time=pl.when(every(n)).then(at(pl.lit(stamp))).otherwise(pl.col("time"))
        )
        assert severities(audit(log_of(some)))["time-impossible"] == severity


def test_the_present_is_an_argument(frame, log_of):
    events = Histories.from_log(log_of(frame))
    before = datetime(2021, 1, 1, tzinfo=UTC)
    codes = [finding.code for finding in times.check(events, now=before)[0]]
    assert codes == ["time-impossible"]
    assert times.check(events, now=datetime(2022, 1, 1, tzinfo=UTC))[0] == []


def test_one_constant_time(frame, log_of, severities):
    constant = frame.with_columns(time=at(pl.lit(1_600_000_000)))
    found = severities(audit(log_of(constant)))
    assert found["time-constant"] == "error"
    assert "order-lost" not in found


def test_users_with_one_time(frame, log_of, severities):
    bulk = frame.with_columns(
        time=pl.when(pl.col("user") % 4 == 0)
        .then(pl.col("time").first().over("user"))
        .otherwise("time")
    )
    report = audit(log_of(bulk))
    assert severities(report)["time-one-per-user"] == "warning"
    assert report.figures["times"]["users_with_one_time"] == 0.25


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        (86_400 * US, "day"),
        (3_600 * US, "hour"),
        (60 * US, "minute"),
        (US, "second"),
        (1000, "millisecond"),
        (1, "microsecond"),
    ],
)
def test_resolution_in_any_time_zone(unit, name):
    values = np.random.default_rng(0).integers(0, 10_000, 5_000) * unit + 7_200 * US
    assert times.resolution(values) == name


def test_ties_by_hand(log_of):
    """User 1 ends on a tie of two items, user 2 on a tie of one item, user 3 on none."""
    rows = [(1, "a", 1), (1, "b", 2), (1, "c", 2), (2, "a", 5), (2, "a", 5), (3, "a", 1)]
    rows += [(3, "b", 1), (3, "c", 2)]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    frame = frame.with_columns(at(pl.col("time") + 1_600_000_000))
    findings, measured = times.ties(Histories.from_log(log_of(frame)))
    assert measured == {"tied_events": 6 / 8, "users_whose_last_item_is_tied": 1 / 3}
    assert [f.severity for f in findings] == ["warning"]


def test_ties_count_the_users_whose_last_item_a_policy_changes(frame, log_of):
    days = frame.with_columns(pl.col("time").dt.truncate("5d"))
    last = [
        rows.sort("time", maintain_order=True).group_by("user").agg(pl.col("item").last())
        for rows in (days, days.reverse())
    ]
    changed = last[0].join(last[1], on="user").filter(pl.col("item") != pl.col("item_right"))
    _, measured = times.ties(Histories.from_log(log_of(days)))
    assert measured["users_whose_last_item_is_tied"] == len(changed) / 300
