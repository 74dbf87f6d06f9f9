"""What a network that must know the domain asked for finds in its batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch

from modicum.data.log import EventLog
from modicum.data.split import split
from modicum.errors import DataError
from modicum.methods.inputs import of_queries
from modicum.methods.network import Catalogue, CountedNetwork
from modicum.methods.recommender import Recommender

ITEMS = 6


@dataclass(kw_only=True)
class Told(Recommender):
    """Gives as a user vector what the batch says: domain, events, auxiliary events."""

    target: str | None = "buy"

    @property
    def length(self) -> int:
        return 50

    @property
    def target_behaviour(self) -> str | None:
        return self.target

    def network(self, catalogue: Catalogue) -> Network:
        return Network(len(catalogue))


class Network(CountedNetwork):
    by_domain = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("nothing", torch.zeros(1))

    def count(self, histories) -> None:
        pass

    def encode(self, batch):
        domain = batch.extra.get("domain", torch.full((len(batch.items),), -1))
        auxiliary = batch.extra.get("auxiliary", torch.zeros_like(batch.items))
        assert not (auxiliary.bool() & ~batch.real).any()
        told = torch.stack([domain, batch.lengths, auxiliary.sum(1)], dim=1)
        return told.float()

    def scores(self, users):
        self.told = users
        return users[:, :1] * 100 + users[:, 1:2] * 10 + users[:, 2:] + torch.zeros(self.size)


def log_of(*, domains: bool, behaviours: bool) -> EventLog:
    rng = np.random.default_rng(0)
    size = 300
    table = {
        "user": rng.integers(0, 12, size),
        "item": rng.integers(0, ITEMS, size),
        "time": pl.Series(np.arange(size)).cast(pl.Datetime("us")),
    }
    if domains:
        table["domain"] = rng.choice(["x", "y"], size)
    if behaviours:
        table["behaviour"] = rng.choice(["buy", "view"], size)
    return EventLog(pl.LazyFrame(table), "example")


def test_batches_say_domain_and_auxiliary_events():
    parts = split(log_of(domains=True, behaviours=True))
    model = Told().fit(parts.train)
    queries = parts.test
    told = {}
    views = ~queries.histories.where(behaviour="buy")
    rows = model.vocabulary.rows_of(queries.histories.vocabulary)[queries.histories.item_rows - 1]
    for which, scores in model._scores(
        of_queries(queries, rows, model.vocabulary, views), None, None
    ):
        for query, row in zip(which, scores, strict=True):
            told[int(query)] = float(row[torch.isfinite(row)][0])
    assert len(told) == len(queries)
    for query, value in told.items():
        start, end = queries.starts[query], queries.targets[query]
        expected = 100 * queries.domains[query] + 10 * (end - start) + views[start:end].sum()
        assert value == expected


def test_a_domain_must_be_named():
    parts = split(log_of(domains=True, behaviours=False))
    model = Told(target=None).fit(parts.train)
    with pytest.raises(DataError, match="one of x, y"):
        model.recommend([[("x", 1)]])
    top = model.recommend([[("x", 1)], [("y", 2), ("x", 3)]], domain="y", k=1)
    assert top["score"].to_list() == [110.0, 120.0]
    assert not model.reads_all


def test_a_log_without_domains_says_none():
    model = Told(target=None).fit(split(log_of(domains=False, behaviours=False)).train)
    assert model.recommend([[1, 2]], k=1)["score"].to_list() == [-80.0]


def test_an_unknown_target_behaviour_is_named():
    parts = split(log_of(domains=False, behaviours=True))
    with pytest.raises(DataError, match="did you mean 'buy'"):
        Told(target="bui").fit(parts.train)
