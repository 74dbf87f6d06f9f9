"""The audit on real data: what has lost its order is found, what has not passes."""

from __future__ import annotations

import polars as pl
import pytest

import modicum as mo
from modicum.data.audit import audit
from modicum.data.log import EventLog


def test_a_published_set_without_its_order_is_found(shared):
    table = pl.read_csv(shared / "unordered/imvae_cloth_sport_train.csv.gz")
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
    report = audit(EventLog(pl.concat(sides).lazy(), "cloth and sport"))
    assert next(f for f in report.findings if f.code == "order-lost").severity == "error"
    assert report.figures["order"]["pairs_in_both_orders"] == 0
    assert report.figures["order"]["edges_on_cycles"] == 0


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
