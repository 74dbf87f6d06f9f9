"""The audit on real data: what has lost its order is found, what has not passes."""

from __future__ import annotations

import polars as pl
import pytest

import modicum as mo
from modicum.data.audit import audit
from modicum.data.log import EventLog
from modicum.data.split import Split


def cloth_and_sport(shared, part: str) -> EventLog:
    table = pl.read_csv(shared / f"unordered/imvae_cloth_sport_{part}.csv.gz")
    sides = [
        table.select(
            user="user_id",
            item=pl.col(name).str.strip_chars("[]").str.split(", "),
            domain=pl.lit(name),
        )
        .explode("item")
        .filter(pl.col("item") != "")
        for name in ("seq_d1", "seq_d2")
    ]
    return EventLog(pl.concat(sides).lazy(), f"cloth and sport, {part}")


def test_a_published_set_without_its_order_is_found(shared):
    report = audit(cloth_and_sport(shared, "train"))
    assert next(f for f in report.findings if f.code == "order-lost").severity == "error"
    assert report.figures["order"]["pairs_in_both_orders"] == 0
    assert report.figures["order"]["edges_on_cycles"] == 0


def test_a_published_set_holds_its_answers_in_training(shared):
    train, test = cloth_and_sport(shared, "train"), cloth_and_sport(shared, "test_csu")
    report = audit(Split.given(train, test, test))
    found = next(
        f for f in report.findings if f.code == "target-in-training" and f.figures["part"] == "test"
    )
    assert found.severity == "error"
    targets = report.figures["split"]["test_targets"]
    assert 0.08 < found.figures["targets"] / targets < 0.16
    assert "in the same user's training row" in found.message


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("crossdomain/beauty_5core.csv.gz", "asin"),
        ("crossdomain/sports_5core.csv.gz", "asin"),
        ("multibehaviour/khgt_yelp_events.csv.gz", "item_id"),
        ("multibehaviour/taobao_full_users.csv.gz", "item_id"),
    ],
)
def test_published_sets_in_order_pass(shared, path, item):
    table = pl.read_csv(shared / path).select(
        user="user_id", item=item, time=pl.from_epoch("timestamp").cast(pl.Datetime("us"))
    )
    report = audit(EventLog(table.lazy(), path))
    assert report.ok
    assert not {"order-lost", "order-acyclic", "ids-sorted"} & {f.code for f in report.findings}


@pytest.mark.parametrize("name", ["ml-100k", "ml-1m"])
def test_movielens_is_in_order(name):
    try:
        log = mo.load_sample(name)
    except mo.errors.ResourceError as problem:
        pytest.skip(str(problem))
    report = audit(log)
    assert report.ok
    assert not {"order-lost", "order-acyclic", "ids-sorted"} & {f.code for f in report.findings}
