from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from modicum.data.audit import audit


def codes(report) -> set[str]:
    return {f.code for f in report.findings if f.code.startswith("column")}


def test_honest_ratings_pass(frame, log_of):
    rng = np.random.default_rng(2)
    ratings = frame.with_columns(
        value=pl.Series(rng.integers(1, 6, len(frame))).cast(pl.Float64),
        behaviour=pl.Series(rng.choice(["view", "buy"], len(frame))),
    )
    assert codes(audit(log_of(ratings))) == set()


def test_constant_column(frame, log_of, severities):
    report = audit(log_of(frame.with_columns(value=pl.lit(1.0))))
    assert codes(report) == {"column-constant"} and severities(report) == {}


@pytest.mark.parametrize("role", ["user", "item"])
def test_an_id_under_another_name(frame, log_of, role):
    report = audit(log_of(frame.with_columns(value=pl.col(role) * 17 + 3)))
    finding = next(f for f in report.findings if f.code == "column-is-id")
    assert finding.severity == "warning" and finding.figures["role"] == role


def test_the_time_under_another_name(frame, log_of):
    days = frame.with_columns(pl.col("time").dt.truncate("1d"))
    report = audit(log_of(days.with_columns(value=pl.col("time").dt.epoch("s"))))
    finding = next(f for f in report.findings if f.code == "column-is-id")
    assert finding.figures["role"] == "time"


def test_the_next_item_as_a_column(frame, log_of, severities):
    ordered = frame.sort("user", "time")
    ordered = ordered.with_columns(value=pl.col("item").shift(-1).over("user"))
    assert severities(audit(log_of(ordered)))["column-is-target"] == "error"


def test_the_next_item_in_disguise(frame, log_of, severities):
    ordered = frame.sort("user", "time")
    secret = (pl.col("item").shift(-1).over("user") * 7919) % 10_007
    report = audit(log_of(ordered.with_columns(value=secret.cast(pl.Float64))))
    assert severities(report)["column-is-target"] == "error"
    assert "gives away" in report.findings[0].message


def test_the_item_itself_as_a_column(frame, log_of, severities):
    assert (
        severities(audit(log_of(frame.with_columns(value="item"))))["column-is-target"] == "error"
    )


def test_a_label_of_the_whole_history(frame, log_of, severities):
    last = pl.col("time").max().over("user")
    churned = frame.with_columns(value=(last < last.median()).cast(pl.Float64))
    assert severities(audit(log_of(churned))) == {"column-one-per-user": "warning"}
