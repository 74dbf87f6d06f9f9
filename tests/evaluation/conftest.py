"""A small simulated log, its split, and rankers that score every item outright."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from modicum.data.log import EventLog
from modicum.data.split import Queries, Split, split
from modicum.data.vocabulary import Vocabulary
from modicum.evaluation.ranking import Ranking

NUM_USERS, NUM_ITEMS, NUM_EVENTS = 60, 80, 1500


@dataclass
class Scorer:
    """Rank by ``score(queries, rng) -> (Q, N)`` over the items of the queries' vocabulary."""

    name: str
    vocabulary: Vocabulary
    score: Callable[[Queries, np.random.Generator], np.ndarray]

    def rank(
        self,
        queries: Queries,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: np.ndarray | None = None,
    ) -> Ranking:
        known, size = len(self.vocabulary), queries.histories.num_items
        scores = self.score(queries, np.random.default_rng(0)).astype(float)
        scores[:, known:] = -np.inf
        rows = np.arange(len(queries))
        if exclude_seen:
            for row, (start, end) in enumerate(zip(queries.starts, queries.targets, strict=True)):
                scores[row, queries.histories.item_rows[start:end] - 1] = -np.inf
        target = queries.target_rows - 1
        if candidates is not None:
            kept = np.zeros((len(queries), size), dtype=bool)
            kept[rows[:, None], candidates - 1] = True
            kept[rows, target] = True
            scores[~kept] = -np.inf
        own = scores[rows, target][:, None]
        ties = (scores == own).sum(axis=1) - 1
        ranks = np.where(np.isneginf(own[:, 0]), np.inf, 1 + (scores > own).sum(axis=1) + ties / 2)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        top = np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), 0, order + 1)
        padded = np.zeros((len(queries), k), dtype=np.int32)
        padded[:, : top.shape[1]] = top
        return Ranking(ranks, padded)


def simulate(num_users: int, num_items: int, num_events: int, seed: int = 0) -> EventLog:
    """Popular items and busy users are drawn more often; some of both appear late."""
    generator = np.random.default_rng(seed)
    late = np.linspace(0.6, 1.0, num_events)
    users = (num_users * late * generator.random(num_events) ** 1.5).astype(int)
    items = (num_items * late * generator.random(num_events) ** 2).astype(int)
    start = datetime(2024, 1, 1)
    frame = pl.LazyFrame(
        {
            "user": users,
            "item": pl.Series(items).cast(pl.String),
            "time": [start + timedelta(hours=hour) for hour in range(num_events)],
        }
    )
    return EventLog(frame, "simulated")


@pytest.fixture(scope="session")
def parts() -> Split:
    return split(simulate(NUM_USERS, NUM_ITEMS, NUM_EVENTS))


@pytest.fixture(scope="session")
def scorer(parts: Split) -> Callable[..., Scorer]:
    """Make a ranker over the training items from a scoring function."""

    def make(name: str, score: Callable[..., np.ndarray]) -> Scorer:
        return Scorer(name, parts.train.vocabulary, score)

    return make


def _one_hot(queries: Queries, _: np.random.Generator) -> np.ndarray:
    items = np.arange(1, queries.histories.num_items + 1)
    return (queries.target_rows[:, None] == items).astype(float)


def _random(queries: Queries, generator: np.random.Generator) -> np.ndarray:
    return generator.random((len(queries), queries.histories.num_items))


def _popular(queries: Queries, _: np.random.Generator) -> np.ndarray:
    return np.tile(queries.item_events[1:], (len(queries), 1))


def _constant(queries: Queries, _: np.random.Generator) -> np.ndarray:
    return np.zeros((len(queries), queries.histories.num_items))


@pytest.fixture(scope="session")
def perfect(scorer: Callable[..., Scorer]) -> Scorer:
    return scorer("perfect", _one_hot)


@pytest.fixture(scope="session")
def chance(scorer: Callable[..., Scorer]) -> Scorer:
    return scorer("chance", _random)


@pytest.fixture(scope="session")
def popular(scorer: Callable[..., Scorer]) -> Scorer:
    return scorer("popular", _popular)


@pytest.fixture(scope="session")
def constant(scorer: Callable[..., Scorer]) -> Scorer:
    return scorer("constant", _constant)
