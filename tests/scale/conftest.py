"""A saved model, and events of which some users and items are new to it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import modicum as mo
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_markov
from modicum.methods.recommender import Recommender

ROLES = {"user": "uid", "item": "sku", "time": "ts"}


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """Events in no order, several at the same time, in files of many row groups."""
    log = simulate_markov(120, 40, events_per_user=14.0, seed=0).log
    known = log.frame.select(
        uid=pl.format("u{}", "user"),
        sku=pl.format("i{}", "item"),
        ts=pl.col("time").dt.epoch("s") // 20_000,
    )
    new = known.head(30).with_columns(
        uid=pl.format("new-{}", "uid"), sku=pl.format("none-{}", "sku")
    )
    half = known.head(40).with_columns(
        uid=pl.format("half-{}", "uid"),
        sku=pl.when(pl.col("ts") % 2 == 0).then(pl.format("none-{}", "sku")).otherwise("sku"),
    )
    return pl.concat([known, new, half]).sample(fraction=1.0, shuffle=True, seed=0)


@pytest.fixture(scope="session")
def events(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    table.write_parquet(path, row_group_size=37)
    return path


@pytest.fixture(scope="session")
def log(events: Path) -> EventLog:
    return mo.read_events(events, **ROLES)


@pytest.fixture(scope="session")
def fitted(table: pl.DataFrame) -> Recommender:
    known = table.filter(~pl.col("sku").str.starts_with("none"))
    shape = {"dim": 8, "layers": 1, "heads": 2, "length": 12, "epochs": 2, "device": "cpu"}
    return mo.SASRec(**shape).fit(mo.read_events(known, **ROLES), progress=False)


@pytest.fixture(scope="session")
def model(fitted: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("model"))
